"""Knobs of `pluralistic`. Source: `lsgan`, section 1.2, of its reference [27] (Zheng et al. 2019)."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.patch_game import GAME, NOT_GIVEN

PAPER = "Zheng et al., section 3"
CODE = "Zheng et al., published code"
RANKED = "Zheng et al., experiments"

SPACE: Space = GAME | {
    "base_filters": Interval(4, 128, 32, "filters", CODE, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "latent": Interval(4, 512, 128, "channels", CODE, "of the latent map; at 64 px it has 16 places", kind="int", log=True),
    "attention": Choice((True, False), True, "", PAPER, "short and long-term attention, on and off"),
    "kl_weight": Interval(0.0, 100.0, 20.0, "factor", CODE, "0 = the paths are not coupled, five times the source's"),
    "reconstruction_weight": Interval(0.0, 100.0, 20.0, "factor", CODE, "0 = adversarial losses alone, five times the source's"),
    "adversarial_weight": Interval(0.0, 10.0, 1.0, "factor", CODE, "0 = no discriminators, then fill_with is mean"),
    "samples": Interval(1, 50, 5, "draws", NOT_GIVEN, "one draw to the source's 50 that it ranks", kind="int", log=True),
    "fill_with": Choice(("mean", "best"), "best", "", RANKED, "the prior's mean, or the draw that the discriminator likes best"),
    "learning_rate": Interval(1e-5, 1e-2, 1e-4, "per step", CODE, "a decade below, two above for short budgets", log=True),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 2e-4, "per step", CODE, "twice the network's in the source", log=True),
    "momentum": Interval(0.0, 0.9, 0.0, "factor", CODE, "none in the source, to Adam's own"),
}
