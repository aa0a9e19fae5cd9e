"""Knobs of `lsgan_autoencoder`: those of `lsgan`, and of the refinement. Source: `lsgan`."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.lsgan import NOT_GIVEN, TRAINING
from search_spaces.lsgan import SPACE as GAN

CODE = "section 2.2.4, Table 2.1"

SPACE: Space = GAN | {
    "gan_epochs": Interval(
        0.0, 1000.0, 160.0, "epochs", TRAINING, "100,000 batches of 32 from 20,000 images; the rest is the second stage"
    ),
    "refine_images": Interval(1, 20000, 1000, "images", NOT_GIVEN, "each costs a search, up to the source's 20,000", kind="int", log=True),
    "autoencoder_filters": Choice((4, 8, 16, 32, 64, 128), 64, "filters", CODE, "64 makes 8192 values of 64 px; a sixteenth to twice it"),
    "refine_learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", NOT_GIVEN, "two decades below Adam's default, one above", log=True),
}
