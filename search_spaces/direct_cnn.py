"""Knobs of `direct_cnn`. Source: `thesis`."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.reconstruction import SHARED

LAYERS = "Table 3.1"

SPACE: Space = SHARED | {
    "filters": Interval(8, 256, 64, "filters", LAYERS, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "filter_px": Choice((3, 5, 7), 5, "px", LAYERS, "'5x5 could be a good filter size'; one smaller, one larger"),
}
