"""Knobs of `image_autoencoder`. Source: `thesis`."""

from search_spaces.knob import Choice, Interval, Space
from search_spaces.reconstruction import SHARED

LAYERS = "Tables 3.2 and 3.3"

SPACE: Space = SHARED | {
    "base_filters": Interval(4, 128, 32, "filters", LAYERS, "an eighth for quick looks, four times for GPUs", kind="int", log=True),
    "filter_px": Choice((3, 5, 7), 3, "px", LAYERS, "the source's, and the sizes that its other models have"),
}
