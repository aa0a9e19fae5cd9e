"""Which pixels are known: centre squares, random squares and rectangles, and irregular holes of a given size.

Source: centre square - `beyond_cnns`, section The Problem; random square - `thesis`, section 1.1; random rectangle - `animal_faces`;
irregular holes - `maggiordomo`, section 4.2, their sizes after Liu et al. 2018.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trainables.data.irregular import Draw, arc, ellipse, irregular_hole, stroke, targets
from trainables.errors import ConfigError

MaskKind = Literal["centre", "random_square", "random_rectangle", "strokes", "irregular"]
MASK_KINDS: tuple[str, ...] = get_args(MaskKind)
IRREGULAR_MARKS: dict[str, tuple[Draw, ...]] = {"strokes": (stroke,), "irregular": (stroke, arc, ellipse)}


@dataclass(frozen=True)
class Mask:
    """A distribution of holes over square images.

    Attributes:
        kind: "centre" (one fixed square), "random_square" (a square at a uniformly random place), "random_rectangle" (each side uniform
            from half of `hole_px` to `hole_px`, then a uniformly random place), "strokes" (random walks of a brush), or "irregular"
            (strokes, arcs and ellipses).
        hole_px: the square's side in pixels, the rectangle's longest; not used by the last two.
        ratio_low: least share of hole pixels; "strokes" and "irregular" only.
        ratio_high: greatest share of hole pixels; likewise. The images of a batch spread evenly over the interval.
    """

    kind: MaskKind = "centre"
    hole_px: int = 8
    ratio_low: float = 0.1
    ratio_high: float = 0.3

    @property
    def is_irregular(self) -> bool:
        """Whether the hole has a share of the image instead of a side."""
        return self.kind in IRREGULAR_MARKS

    def check(self, image_px: int) -> None:
        """Raises ConfigError where no such hole fits an image of `image_px` x `image_px` pixels."""
        if self.kind not in MASK_KINDS:
            raise ConfigError(f"mask.kind must be one of {', '.join(MASK_KINDS)}, but got {self.kind!r}; name one of these")
        if self.is_irregular:
            if not 0 < self.ratio_low < self.ratio_high < 1:
                raise ConfigError(
                    f"0 < mask.ratio_low < mask.ratio_high < 1 must hold, but got ({self.ratio_low}, {self.ratio_high}); widen the interval"
                )
            pixels = image_px**2
            if math.ceil(self.ratio_low * pixels) > self.ratio_high * pixels:
                raise ConfigError(
                    f"a whole number of pixels must lie between mask.ratio_low and mask.ratio_high, but got ({self.ratio_low}, "
                    f"{self.ratio_high}) on {image_px}x{image_px} images; widen the interval by 1/{pixels}"
                )
        elif not 1 <= self.hole_px < image_px:
            raise ConfigError(
                f"the hole must be smaller than the image, but got hole_px={self.hole_px} on {image_px}x{image_px} images; "
                f"use a hole_px from 1 to {image_px - 1}"
            )

    def centre_start(self, image_px: int) -> int:
        """First row and column of the centre square."""
        return (image_px - self.hole_px) // 2

    def sample(self, count: int, image_px: int, rng: np.random.Generator) -> Tensor:
        """Draws holes.

        Args:
            count: how many.
            image_px: side of the images.
            rng: the only source of randomness; the same state gives the same holes.

        Returns:
            known: (count, 1, image_px, image_px) float32, 1 = known, 0 = hole.
        """
        if self.is_irregular:
            irregular = np.empty((count, 1, image_px, image_px), np.float32)
            for index, size in enumerate(targets(count, self.ratio_low, self.ratio_high, image_px**2, rng)):
                irregular[index, 0] = irregular_hole(image_px, size, IRREGULAR_MARKS[self.kind], rng) == 0
            return torch.from_numpy(irregular)
        known = torch.ones(count, 1, image_px, image_px)
        if self.kind == "centre":
            start = self.centre_start(image_px)
            known[:, :, start : start + self.hole_px, start : start + self.hole_px] = 0
            return known
        if self.kind == "random_rectangle":
            draws = rng.random((count, 4))  # one row an image, so that the first ones are the same in a batch of any size
            least = (self.hole_px + 1) // 2
            sides = least + (draws[:, :2] * (self.hole_px - least + 1)).astype(int)
            corners = (draws[:, 2:] * (image_px - sides + 1)).astype(int)
        else:
            sides = np.full((count, 2), self.hole_px)
            corners = rng.integers(0, image_px - self.hole_px + 1, size=(count, 2))
        for index, ((top, left), (height, width)) in enumerate(zip(corners, sides, strict=True)):
            known[index, :, top : top + height, left : left + width] = 0
        return known
