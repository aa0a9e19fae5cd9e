"""Knobs of `classical_fill`. Source: `thesis`."""

from search_spaces.knob import Choice, Space
from search_spaces.reconstruction import FILLS, FUTURE

SPACE: Space = {
    "method": Choice(FILLS, "telea", "", FUTURE, "'the traditional methods'; none is named in the source"),
    "batch_images": Choice((8, 16, 32, 64, 128, 256), 32, "images", "not given in the source", "no weight depends on it"),
}
