"""Knobs of `diagonal_bilstm`. Source: van den Oord et al. 2016, Pixel Recurrent Neural Networks, which `beyond_cnns` cites."""

from search_spaces.knob import Choice, Interval, Space

TABLE = "van den Oord et al. 2016, Table 1"
CIFAR = "van den Oord et al. 2016, section 5.3"
OUTPUT = "van den Oord et al. 2016, section 3.6"
TRAINING = "van den Oord et al. 2016, section 5.1"
IDEA = "`beyond_cnns`, section Density Based Models"
NOT_GIVEN = "not given in the source"
SPACE: Space = {
    "hidden": Choice((8, 16, 32, 64, 128), 128, "units", CIFAR, "128 in the source; less for processors without a GPU"),
    "layers": Interval(1, 12, 12, "layers", CIFAR, "12 in the source; less for processors without a GPU", kind="int"),
    "first_kernel_px": Choice((3, 5, 7), 7, "px", TABLE, "7 in the source"),
    "output_features": Choice(
        (32, 64, 128, 256, 1024), 1024, "channels", OUTPUT, "1024 in the source; it dominates a small network's time"
    ),
    "optimizer": Choice(("rmsprop", "adam"), "rmsprop", "", TRAINING, "RMSProp in the source; Adam is the other models'"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", NOT_GIVEN, "'manually set'; two decades around a usual value", log=True),
    "decay_factor": Interval(0.1, 1.0, 0.5, "factor", NOT_GIVEN, "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.05, 50.0, 3.0, "epochs", NOT_GIVEN, "several decays within any usual budget", log=True),
    "clip_norm": Interval(0.1, 100.0, 1.0, "1", NOT_GIVEN, "keeps long recurrences stable; 100 hardly ever acts", log=True),
    "batch_images": Choice((8, 16, 32, 64), 16, "images", TRAINING, "16 in the source: small batches regularise"),
    "decoding": Choice(("argmax", "mean", "sample"), "argmax", "", IDEA, "greedy in the source; mean lowers squared error"),
    "temperature": Interval(0.1, 2.0, 1.0, "1", NOT_GIVEN, "sampling alone; 1 is the model's distribution"),
    "decoding_seed": Interval(0, 1000, 0, "", NOT_GIVEN, "sampling alone; another draw each", kind="int"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual augmentation"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
