"""Knobs of `completion_gan`. Source: `thesis`."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.reconstruction import SHARED

GAN = "section 3.4"
IIZUKA = "section 3.4.1"
GENERATOR = "Table 3.7"
DISCRIMINATOR = "Table 3.8"
NOT_GIVEN = "not given in the source"

SPACE: Space = SHARED | {
    "alpha": Interval(0.0, 1.0, 0.1, "share", GAN, "all of it; 'we need to adjust alpha', no value in the source"),
    "generator": Choice(("direct", "autoencoder"), "direct", "", IIZUKA, "both were tried, the direct one 'worked much better'"),
    "filters": Interval(8, 256, 64, "filters", GENERATOR, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "autoencoder_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "the widths of Table 3.2, and around", kind="int", log=True),
    "filter_px": Choice((3, 5, 7), 5, "px", GENERATOR, "the source's, one smaller, one larger"),
    "hole_weight": Interval(0.0, 20.0, 0.0, "factor", GAN, "the source's error is of the known pixels; 1 = of the whole image"),
    "discriminator_sees": Choice(("hole", "image"), "hole", "", IIZUKA, "the masked area, or the composited image"),
    "known_discriminator": Choice((True, False), False, "", IIZUKA, "the second discriminator that the source leaves out"),
    "discriminator_steps": Interval(1, 20, 1, "steps", NOT_GIVEN, "per generator step", kind="int"),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 2e-4, "per step", NOT_GIVEN, "two decades around the usual 1e-4", log=True),
    "discriminator_dropout": Interval(0.0, 0.9, 0.5, "probability", DISCRIMINATOR, "the layer is in the table, the value is not"),
    "label_smoothing": Interval(0.0, 0.5, 0.0, "label", NOT_GIVEN, "true images' label below 1; at 0.5 it means nothing"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
}
