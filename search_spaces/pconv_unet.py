"""Knobs of `pconv_unet`. Source: `maggiordomo`."""

from search_spaces.knob import Choice, Interval, Space

LOSS = "equation 12"
TRAINING = "section 4.2"
NOT_GIVEN = "not given in the source"

SPACE: Space = {
    "valid_weight": Interval(0.0, 10.0, 1.0, "factor", LOSS, "ten times either way; 0 leaves the term out"),
    "hole_weight": Interval(0.0, 60.0, 6.0, "factor", LOSS, "ten times the source's; 0 leaves the term out"),
    "perceptual_weight": Interval(0.0, 0.5, 0.05, "factor", LOSS, "ten times the source's; 0 leaves the term out"),
    "style_weight": Interval(0.0, 1200.0, 120.0, "factor", LOSS, "ten times the source's; 0 leaves the term out"),
    "total_variation_weight": Interval(0.0, 1.0, 0.1, "factor", LOSS, "ten times the source's; 0 leaves the term out"),
    "perceptual_features": Choice(
        ("imagenet", "random"), "imagenet", "", "section 3.2.2", "trained weights, or fixed random ones that need no download"
    ),
    "perceptual_epoch": Interval(0.0, 1000.0, 0.0, "epochs", NOT_GIVEN, "speed: the pixels' terms alone learn faster at first"),
    "perceptual_images": Choice((0, 1, 2, 4, 8), 0, "images", NOT_GIVEN, "speed: VGG-16 costs more than the network; 0 = the whole batch"),
    "learning_rate": Interval(1e-5, 1e-2, 2e-4, "per step", TRAINING, "more than a decade either way", log=True),
    "fine_tune_learning_rate": Interval(1e-6, 1e-3, 5e-5, "per step", TRAINING, "more than a decade either way", log=True),
    "fine_tune_epoch": Interval(0.0, 1000.0, 40.0, "epochs", TRAINING, "0 freezes from the start; beyond the budget never"),
    "base_filters": Choice((8, 16, 32, 64), 64, "filters", NOT_GIVEN, "64 in Liu et al. 2018; less for small images and CPUs"),
    "depth": Interval(0, 8, 0, "layers", "Figure 2", "8 at 512 px; 0 follows the image's size", kind="int"),
    "batch_images": Choice((1, 2, 4, 6, 8, 16, 32, 64), 6, "images", NOT_GIVEN, "6 in Liu et al. 2018; what fits a laptop and a GPU"),
    "accumulation_steps": Interval(1, 8, 1, "parts", NOT_GIVEN, "memory: large batches on small GPUs", kind="int"),
    "crop_share": Interval(0.0, 0.5, 0.125, "share", "section 4", "no size given; 0 switches it off, at 0.5 half the image is mirrored"),
    "mirror": Choice((True, False), False, "", NOT_GIVEN, "the usual augmentation"),
    "precision": Choice(("float32", "bfloat16"), "float32", "", NOT_GIVEN, "speed: mixed precision where the hardware has it"),
}
