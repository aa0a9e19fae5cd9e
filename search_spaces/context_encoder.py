"""Knobs of `context_encoder`. Source: `maggiordomo`."""

from search_spaces.knob import Choice, Interval, Space

NETWORK = "section 3.1, Figure 1"
LOSS = "section 3.1.1"
TRAINING = "section 4.1"
NOT_GIVEN = "not given in the source"
OBJECTIVES = (("psnr_hole", "max"), ("realism_gap", "min"))

SPACE: Space = {
    "latent": Interval(16, 8000, 4000, "units", NETWORK, "a hundredth for quick looks; it holds most weights", kind="int", log=True),
    "base_filters": Interval(8, 128, 64, "filters", NETWORK, "an eighth for quick looks, twice for GPUs", kind="int", log=True),
    "discriminator_filters": Interval(8, 128, 64, "filters", NETWORK, "as the encoder's", kind="int", log=True),
    "adversarial_weight": Interval(0.0, 1.0, 0.001, "share", LOSS, "all of it; useful ones lie close to 0 (narrow it in the spec)"),
    "overlap_px": Interval(0, 32, 4, "px", TRAINING, "0 = off; hole plus twice this must be 4 to 7 px doubled", kind="int"),
    "border_px": Interval(0, 32, 4, "px", LOSS, "0 = off; at most half the patch", kind="int"),
    "border_weight": Interval(0.0, 30.0, 10.0, "factor", LOSS, "1 = as the middle, 0 = the band is free; three times the source's"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-3, "per step", TRAINING, "a decade above, two below", log=True),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 1e-4, "per step", TRAINING, "two decades around the source's", log=True),
    "decay_factor": Interval(0.1, 1.0, 1.0, "factor", NOT_GIVEN, "1 switches decay off; below 0.1 training stops"),
    "decay_epochs": Interval(1.0, 400.0, 10.0, "epochs", NOT_GIVEN, "up to the source's 370 epochs", log=True),
    "batch_images": Choice((8, 16, 32, 64, 128), 64, "images", TRAINING, "an eighth of the source's to twice as many"),
    "crop_px": Interval(0, 64, 8, "px", "section 4", "random crops, no size in the source; 0 = off", kind="int"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual flip; no text or digits in the images"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
