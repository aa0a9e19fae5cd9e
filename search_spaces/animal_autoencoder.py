"""Knobs of `animal_autoencoder`. Source: `animal_faces`; those of `search_spaces.reconstruction` that it does not have: `thesis`."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.patch_game import GAME, NOT_GIVEN
from search_spaces.reconstruction import PLACEMENTS

MODEL = "section 4.3"
TRAINING = "section 4.4"
WISHES = "section 6"

SPACE: Space = GAME | {
    "stages": Interval(1, 6, 3, "poolings", MODEL, "the image's side must be a multiple of 2 to this power", kind="int"),
    "base_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "dense": Interval(32, 4096, 2048, "units", MODEL, "a 64th for quick looks; the first layer holds most weights", kind="int", log=True),
    "decoder_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "batch_norm": Choice((True, False), False, "", NOT_GIVEN, "trains faster at the same rate; the source names no norm"),
    "dropout": Interval(0.0, 0.8, 0.0, "probability", NOT_GIVEN, "0 = none; the dense layers can learn a few thousand images by heart"),
    "discriminator_epoch": Interval(-1.0, 200.0, -1.0, "epochs", WISHES, "below 0 = never, 0 = from the start, four times its 50 epochs"),
    "momentum": Interval(0.0, 0.95, 0.9, "factor", NOT_GIVEN, "none, as in spectral GANs, to a little more than Adam's own"),
    "train_placement": Choice(PLACEMENTS, "as_measured", "", "section 4.2", "'random size and random place', section 6: random_rectangle"),
    "train_hole_px": Interval(0, 512, 0, "px", "section 4.2", "0 = as in measuring", kind="int"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", TRAINING, "two decades below the source's, one above", log=True),
    "batch_images": Choice((5, 8, 10, 16, 20, 32, 64), 10, "images", TRAINING, "half the source's to what fills a GPU"),
    "crop_px": Interval(0, 64, 0, "px", NOT_GIVEN, "random shifts; half a 128 px image", kind="int"),
}
