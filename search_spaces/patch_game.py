"""Knobs of a least-squares game of patches. Source: `lsgan`, as far as it says."""

from search_spaces.knob import Interval, Space
from search_spaces.reconstruction import SHARED

NOT_GIVEN = "not given in the source"

GAME: Space = SHARED | {
    "adversarial_weight": Interval(0.0, 10.0, 0.01, "factor", NOT_GIVEN, "0 = no discriminator; narrow it in the spec"),
    "discriminator_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "an eighth for quick looks, more for GPUs", kind="int", log=True),
    "discriminator_learning_rate": Interval(1e-6, 1e-2, 2e-4, "per step", NOT_GIVEN, "two decades around the usual 1e-4", log=True),
    "momentum": Interval(0.0, 0.9, 0.5, "factor", NOT_GIVEN, "none, as in spectral GANs, to Adam's own"),
    "collapse_evaluations": Interval(
        1, 50, 3, "evaluations", NOT_GIVEN, "patience before a lost game counts as collapsed", kind="int", log=True
    ),
}
