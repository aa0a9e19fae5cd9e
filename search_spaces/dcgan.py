"""Knobs of `dcgan`: those of `cnn_autoencoder` and of the game. Source: `beyond_cnns`."""

from search_spaces import cnn_autoencoder
from search_spaces.knob import Choice, Interval, Space

GANS = "section Deep Convolutional GANs"
TRICKS = "section Learning Tricks"
OVERLAP = "section Reducing Continuity Errors"
NOT_GIVEN = "not given in the source"
OBJECTIVES = (("l2_hole", "min"), ("realism_gap", "min"))

SPACE: Space = cnn_autoencoder.SPACE | {
    "alpha": Interval(
        0.0, 1.0, 0.999, "share", GANS, "all of it; no value in the source, useful ones lie close to 1 (narrow it in the spec)"
    ),
    "discriminator_steps": Interval(1, 20, 1, "steps", GANS, "per generator step; 10 in section WGANs, twice that as bound", kind="int"),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 2e-4, "per step", NOT_GIVEN, "two decades around the usual 1e-4", log=True),
    "discriminator_backbone": Choice(
        ("plain", "vgg", "inception", "resnet"), "plain", "", GANS, "six stride-2 layers, and the three others"
    ),
    "discriminator_filters": Choice((16, 32, 64), 32, "filters", GANS, "'reduced' in the source; the encoder's widths"),
    "discriminator_batch_norm": Choice((True, False), True, "", NOT_GIVEN, "as the encoder; separate batches matter only with it"),
    "discriminator_sees": Choice(("hole", "image"), "hole", "", OVERLAP, "both were tried; the image with the overlap trick"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
    "separate_batches": Choice((True, False), True, "", TRICKS, "the trick on and off"),
    "real_label_low": Interval(0.7, 1.0, 0.9, "label", TRICKS, "1 switches softness off; below 0.7 it nears the flipped class"),
    "real_label_high": Interval(1.0, 1.3, 1.1, "label", TRICKS, "1 switches it off; as far above 1 as the low end below"),
    "fake_label_low": Interval(-0.3, 0.0, 0.0, "label", TRICKS, "the true labels' interval mirrored"),
    "fake_label_high": Interval(0.0, 0.3, 0.2, "label", TRICKS, "0 switches it off; the true labels' interval mirrored"),
    "label_flip": Interval(0.0, 0.5, 0.05, "probability", TRICKS, "'occasionally' in the source; at 0.5 labels mean nothing"),
    "generator_loss": Choice(("non_saturating", "saturating"), "non_saturating", "", TRICKS, "log D against log(1 - D)"),
}
