"""Knobs of `pixel_cnn`. Source: `beyond_cnns`."""

from search_spaces.knob import Choice, Interval, Space

METHODS = "section Pixel-CNN"
IDEA = "section Density Based Models"
RESULTS = "section Results / Density Methods"
NOT_GIVEN = "not given in the source"
SPACE: Space = {
    "patch_px": Choice((3, 5, 7, 9), 5, "px", METHODS, "5 in the source, which expects larger images to need more"),
    "filters": Choice((32, 64, 128, 256, 512), 128, "filters", NOT_GIVEN, "a few times the 72 values of a section"),
    "depth": Interval(1, 6, 3, "layers", METHODS, "'several convolutional layers'; deeper ones have no more to see", kind="int"),
    "hidden": Choice((64, 128, 256, 512), 128, "units", NOT_GIVEN, "up to twice the number of levels"),
    "own_colours": Choice((True, False), True, "", IDEA, "the factorisation over the colours, or independent colours"),
    "dropout": Interval(0.0, 0.8, 0.5, "probability", RESULTS, "0.5 in the source; 0 switches it off"),
    "positions": Interval(8, 1024, 64, "pixels", NOT_GIVEN, "variety against speed; 1024 is a whole 32 px image", kind="int", log=True),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", RESULTS, "'cross-validated', no value; around Adam's default", log=True),
    "decay_factor": Interval(0.1, 1.0, 0.5, "factor", NOT_GIVEN, "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.05, 50.0, 3.0, "epochs", NOT_GIVEN, "several decays within any usual budget", log=True),
    "batch_images": Choice((16, 32, 64, 128, 256), 64, "images", NOT_GIVEN, "what fits a laptop and a GPU"),
    "decoding": Choice(("argmax", "mean", "sample"), "argmax", "", IDEA, "greedy in the source; mean lowers squared error"),
    "temperature": Interval(0.1, 2.0, 1.0, "1", NOT_GIVEN, "sampling alone; 1 is the model's distribution"),
    "decoding_seed": Interval(0, 1000, 0, "", NOT_GIVEN, "sampling alone; another draw each", kind="int"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual augmentation"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
