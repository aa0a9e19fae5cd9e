"""Knobs of `patch_autoencoder`. Source: `thesis`."""

from search_spaces import image_autoencoder
from search_spaces.knob import Interval, Space

SPACE: Space = image_autoencoder.SPACE | {
    "latent": Interval(32, 4096, 1024, "units", "Table 3.5", "that of the cvae, a thirtieth to four times", kind="int", log=True),
}
