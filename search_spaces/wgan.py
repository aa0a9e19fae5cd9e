"""Knobs of `wgan`: those of `cnn_autoencoder` and of the game. Source: `beyond_cnns` and its reference [20]."""

from search_spaces import cnn_autoencoder
from search_spaces.knob import Choice, Interval, Space

GANS = "section Deep Convolutional GANs"
WGANS = "section WGANs"
ARJOVSKY = "section WGANs, reference [20]"
OVERLAP = "section Reducing Continuity Errors"
NOT_GIVEN = "not given in the source"
OBJECTIVES = (("l2_hole", "min"), ("realism_gap", "min"))

SPACE: Space = cnn_autoencoder.SPACE | {
    "overlap_px": Interval(0, 8, 4, "px", OVERLAP, "4 with the overlap trick, 0 without", kind="int"),
    "alpha": Interval(
        0.0, 1.0, 0.999, "share", GANS, "all of it; no value in the source, useful ones lie close to 1 (narrow it in the spec)"
    ),
    "discriminator_steps": Interval(1, 20, 10, "steps", WGANS, "per generator step; twice the paper's as bound", kind="int"),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 5e-5, "per step", ARJOVSKY, "two decades around it", log=True),
    "discriminator_backbone": Choice(
        ("plain", "vgg", "inception", "resnet"), "plain", "", GANS, "six stride-2 layers, and the three others"
    ),
    "discriminator_filters": Choice((16, 32, 64), 32, "filters", GANS, "'reduced' in the source; the encoder's widths"),
    "discriminator_batch_norm": Choice((True, False), True, "", NOT_GIVEN, "with clipped weights; the penalty excludes it"),
    "discriminator_sees": Choice(("hole", "image"), "image", "", OVERLAP, "both were tried; the image with the overlap trick"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
    "lipschitz": Choice(("clip", "penalty"), "clip", "", WGANS, "clipped weights; the gradient penalty as in the document `lsgan`"),
    "clip_bound": Interval(1e-3, 1.0, 0.01, "weight", ARJOVSKY, "below, the gradient dies; above, no bound is felt", log=True),
    "penalty_weight": Interval(
        0.1, 100.0, 10.0, "factor", "not given in the source; Gulrajani et al. 2017", "a decade either way", log=True
    ),
    "generator_optimizer": Choice(
        ("adam", "rmsprop"), "adam", "", "section Results / Autoencoders", "Adam as there; RMSprop in reference [20]"
    ),
}
