"""Knobs of `lsgan`. Source: `lsgan`."""

from search_spaces.knob import Choice, Interval, Space

NETWORK = "section 2.2.3.1, Table 2.1"
LOSS = "section 2.2.3.2"
TRAINING = "section 3.3.3"
SEARCH = "section 2.3, equation 2.6"
NOT_GIVEN = "not given in the source"
LOSSES = ("least_squares", "non_saturating", "wasserstein")

SPACE: Space = {
    "latent": Interval(2, 1000, 100, "values", NETWORK, "a fiftieth for quick looks, ten times the source's", kind="int", log=True),
    "base_filters": Choice((8, 16, 32, 64, 128, 256), 128, "filters", NETWORK, "a sixteenth for quick looks, twice for GPUs; even"),
    "loss": Choice(LOSSES, "least_squares", "", LOSS, "section 2.2.3.3 names the other two"),
    "fake_label": Interval(-1.0, 0.4, 0.0, "score", NOT_GIVEN, "a; -1 and 0 are its reference [18]'s"),
    "real_label": Interval(0.6, 1.5, 1.0, "score", NOT_GIVEN, "b; 0.9 smooths it, above the fake label in any case"),
    "target_label": Interval(0.0, 1.5, 1.0, "score", NOT_GIVEN, "c; 0 and 1 are its reference [18]'s"),
    "clip_bound": Interval(1e-3, 1.0, 0.01, "weight", NOT_GIVEN, "two decades above Arjovsky et al.'s; Wasserstein alone", log=True),
    "dropout": Interval(0.0, 0.9, 0.25, "probability", NETWORK, "the layer is in the table, the value is not; 0 = off"),
    "discriminator_batch_norm": Choice((True, False), True, "", NOT_GIVEN, "reference [18] has it"),
    "learning_rate": Interval(1e-5, 1e-2, 2e-4, "per step", NOT_GIVEN, "'kept low'; a decade and more around DCGAN's", log=True),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 2e-4, "per step", NOT_GIVEN, "as the generator's, or lower", log=True),
    "adam_momentum": Interval(0.0, 0.95, 0.5, "factor", NOT_GIVEN, "0.5 is DCGAN's, 0.9 Adam's own"),
    "batch_images": Choice((8, 16, 32, 64, 128), 32, "images", TRAINING, "a quarter of the source's to four times as many"),
    "discriminator_steps": Interval(1, 20, 1, "steps", NOT_GIVEN, "per generator step; 5 are usual for Wasserstein", kind="int"),
    "perceptual_weight": Interval(
        0.0, 1000.0, 10.0, "factor", SEARCH, "lambda, 5 to 10 in the source; the other term is a sum over pixels"
    ),
    "search_step": Interval(1e-6, 1.0, 1e-3, "per step", NOT_GIVEN, "beyond these z stands still, or jumps to its bounds", log=True),
    "search_momentum": Interval(0.0, 0.99, 0.9, "factor", NOT_GIVEN, "0 = none; 0.99 overshoots for 100 steps"),
    "search_steps": Interval(1, 2000, 100, "steps", "section 2.2.3", "'flattens after 100'; time grows with them", kind="int", log=True),
    "search_restarts": Interval(1, 20, 1, "starts", NOT_GIVEN, "time grows with them", kind="int", log=True),
    "z_bound": Interval(0.1, 4.0, 1.0, "value", NOT_GIVEN, "1 is the range in training", log=True),
    "importance_px": Choice((0, 3, 5, 7, 9, 11, 15), 0, "px", NOT_GIVEN, "0 = off; 7 is Yeh et al. 2017's, on 64 px images"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual flip; faces have no side"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
