"""Knobs of `cnn_autoencoder`. Source: `beyond_cnns`."""

from search_spaces.knob import Choice, Interval, Space

METHODS = "section Autoencoders"
GANS = "section Deep Convolutional GANs"
RESULTS = "section Results / Autoencoders"
SPACE: Space = {
    "bottleneck": Choice((256, 512, 1024, 2048), 512, "units", "Table 1", "the four sizes of the table"),
    "base_filters": Choice((16, 32, 64), 32, "filters", METHODS, "32 or 64 in the source; 16 for quick looks"),
    "backbone": Choice(("plain", "vgg", "inception", "resnet"), "plain", "", GANS, "the four encoders tried"),
    "kernel_px": Choice((3, 5, 7), 3, "px", METHODS, "the plain encoder's; the sizes tried, 3 was best"),
    "downsampling": Choice(("stride", "pool"), "stride", "", METHODS, "the plain encoder's; both were tried, strides were kept"),
    "neck": Choice(("fc", "conv"), "fc", "", METHODS, "both were tried"),
    "activation": Choice(("relu", "leaky_relu", "elu", "tanh"), "relu", "", METHODS, "ReLU was best; the alternatives are not named"),
    "batch_norm": Choice((True, False), True, "", METHODS, "worth about 15 % in the source"),
    "dropout": Interval(0.0, 0.8, 0.5, "probability", RESULTS, "0.4 to 0.8 in the source; 0 switches it off"),
    "dropout_at": Choice(("every", "neck"), "every", "", RESULTS, "the source drops at every activation"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", "not given in the source", "two decades around Adam's default", log=True),
    "decay_factor": Interval(0.1, 1.0, 0.5, "factor", "not given in the source", "1 = no decay; below 0.1 training freezes"),
    "decay_epochs": Interval(0.5, 50.0, 3.0, "epochs", "not given in the source", "several decays within any usual budget", log=True),
    "batch_images": Choice((32, 64, 128, 256, 512), 128, "images", "not given in the source", "what fits a laptop and a GPU"),
    "overlap_px": Interval(0, 8, 0, "px", "section Reducing Continuity Errors", "4 with the overlap trick, 0 without", kind="int"),
    "overlap_weight": Interval(1.0, 100.0, 20.0, "factor", "section Reducing Continuity Errors", "'more than 20 times'", log=True),
    "hue": Interval(0.0, 0.5, 0.0, "turns", "section Dataset", "no strength given; 0.5 is every hue"),
    "saturation": Interval(0.0, 1.0, 0.0, "share", "section Dataset", "no strength given; 1 reaches grey"),
    "contrast": Interval(0.0, 1.0, 0.0, "share", "section Dataset", "no strength given; 1 reaches a flat image"),
    "blur_px": Interval(0.0, 2.0, 0.0, "px", "section Dataset", "no strength given; 2 px hides all texture of 32 px images"),
    "mirror": Choice((True, False), False, "", "not given in the source", "the usual augmentation"),
    "precision": Choice(
        ("float32", "bfloat16"), "float32", "", "not given in the source", "speed: mixed precision where the hardware has it"
    ),
}
