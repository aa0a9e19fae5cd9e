"""Knobs of `neighbour_network`. Source: `animal_faces`."""

from search_spaces.knob import Choice, Interval, Space

SECTION = "section 7.2"
NOT_GIVEN = "not given in the source"
SPACE: Space = {
    "window_px": Choice((3, 5, 7), 5, "px", SECTION, "5 in the source, 3 as in its linear regression"),
    "hidden": Choice((16, 32, 64, 128, 256), 64, "units", NOT_GIVEN, "less than the 24 inputs to ten times as many"),
    "depth": Interval(1, 4, 2, "layers", NOT_GIVEN, "hidden layers; 'a neural network' in the source", kind="int"),
    "origin": Choice(("grey", "mean"), "grey", "", NOT_GIVEN, "levels as they are, or counted from the mean of the neighbours"),
    "positions": Interval(8, 4096, 256, "pixels", NOT_GIVEN, "of each image a step; variety against speed", kind="int", log=True),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", SECTION, "Adam's; two decades below the source's, one above", log=True),
    "decay_factor": Interval(0.1, 1.0, 1.0, "factor", NOT_GIVEN, "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.05, 50.0, 3.0, "epochs", NOT_GIVEN, "several decays within any usual budget", log=True),
    "batch_images": Choice((1, 8, 16, 32, 64, 128), 32, "images", NOT_GIVEN, "one photograph, as in the source, to what fits a laptop"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
