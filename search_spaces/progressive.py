"""Knobs of `progressive`. Source: `lsgan`, section 1.2, of its reference [4]."""

from search_spaces.knob import Interval, Space
from search_spaces.patch_game import GAME, NOT_GIVEN

SPACE: Space = GAME | {
    "coarse_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "refinement_filters": Interval(4, 128, 32, "filters", NOT_GIVEN, "as the coarse network's", kind="int", log=True),
    "depth": Interval(1, 6, 3, "halvings", NOT_GIVEN, "the image's side must be a multiple of 2 to this power", kind="int"),
    "coarse_weight": Interval(0.0, 10.0, 1.0, "factor", NOT_GIVEN, "0 = the coarse output is free, ten times the refined one's"),
    "refined_weight": Interval(0.1, 10.0, 1.0, "factor", NOT_GIVEN, "a tenth of the coarse one's to ten times"),
}
