"""Knobs of `patch_autoencoder`. Source: `thesis`."""

from search_spaces import image_autoencoder
from search_spaces.knob import Interval, Space

SPACE: Space = image_autoencoder.SPACE | {
    "hole_weight": Interval(0.1, 20.0, 1.0, "factor", "chapter 4", "against the overlap's; 0 would leave nothing to learn"),
    "latent": Interval(32, 4096, 1024, "units", "Table 3.5", "that of the cvae, a thirtieth to four times", kind="int", log=True),
}
