"""Knobs that all systems of `thesis` have. Source: `thesis`."""

from search_spaces.knob import Choice, Interval, Space

PLACES = "section 1.1"
FUTURE = "chapter 4"
NOT_GIVEN = "not given in the source"
PLACEMENTS = ("as_measured", "centre", "random_square", "random_rectangle")
FILLS = ("ring_mean", "telea", "navier_stokes", "biharmonic")

SHARED: Space = {
    "first_stage": Choice(("none", *FILLS), "none", "", FUTURE, "'combine the traditional method and the deep learning method'"),
    "hole_weight": Interval(0.0, 20.0, 1.0, "factor", FUTURE, "0 leaves the hole out; known pixels have 1"),
    "border_weight": Interval(0.0, 20.0, 1.0, "factor", FUTURE, "'larger weights'; 1 = the plain mean"),
    "border_px": Interval(0, 8, 1, "px", FUTURE, "no width given; 8 is most of a 12 px hole's inside", kind="int"),
    "overlap_px": Interval(0, 8, 0, "px", FUTURE, "'overlap ... a bit', no width given; 0 = none", kind="int"),
    "train_placement": Choice(PLACEMENTS, "as_measured", "", PLACES, "a random square in the source"),
    "train_hole_px": Interval(0, 512, 0, "px", PLACES, "12 px in the source; 0 = as in measuring", kind="int"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", NOT_GIVEN, "two decades below Adam's default, one above", log=True),
    "decay_factor": Interval(0.1, 1.0, 1.0, "factor", NOT_GIVEN, "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.5, 100.0, 10.0, "epochs", NOT_GIVEN, "several decays within any usual budget", log=True),
    "batch_images": Choice((8, 16, 32, 64, 128, 256), 32, "images", NOT_GIVEN, "what fits a laptop and a GPU"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual augmentation"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
