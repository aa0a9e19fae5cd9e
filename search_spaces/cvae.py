"""Knobs of `cvae`. Source: `thesis`."""

from search_spaces import image_autoencoder
from search_spaces.knob import Choice, Interval, Space

SPACE: Space = image_autoencoder.SPACE | {
    "latent": Choice((64, 128, 256, 512, 1024, 2048), 1024, "units", "Table 3.5", "multiples of the smallest feature map's area"),
    "kl_weight": Interval(0.0, 10.0, 1.0, "factor", "section 2.2.1", "1 = the formula's; 0 = no KL term"),
}
