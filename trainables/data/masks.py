"""Which pixels are known: centre squares, random squares and irregular strokes.

Source: centre square - `beyond_cnns`, section The Problem; random square - `thesis`, chapter 3; irregular strokes by hole ratio -
`maggiordomo` (after Liu et al. 2018).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trainables.errors import ConfigError

MaskKind = Literal["centre", "random_square", "strokes"]
MASK_KINDS: tuple[str, ...] = get_args(MaskKind)


@dataclass(frozen=True)
class Mask:
    """A distribution of holes over square images.

    Attributes:
        kind: "centre" (one fixed square), "random_square" (a square at a uniformly random place), or "strokes" (irregular).
        hole_px: the square's side in pixels; not used by "strokes".
        ratio_low: least share of hole pixels; "strokes" only.
        ratio_high: greatest share of hole pixels; "strokes" only.
    """

    kind: MaskKind = "centre"
    hole_px: int = 8
    ratio_low: float = 0.1
    ratio_high: float = 0.3

    def check(self, image_px: int) -> None:
        """Raises ConfigError where no such hole fits an image of `image_px` x `image_px` pixels."""
        if self.kind not in MASK_KINDS:
            raise ConfigError(f"mask.kind must be one of {', '.join(MASK_KINDS)}, but got {self.kind!r}; name one of these")
        if self.kind == "strokes":
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
        if self.kind == "strokes":
            return torch.from_numpy(np.stack([self._strokes(image_px, rng) for _ in range(count)])[:, None])
        known = torch.ones(count, 1, image_px, image_px)
        if self.kind == "centre":
            start = self.centre_start(image_px)
            known[:, :, start : start + self.hole_px, start : start + self.hole_px] = 0
            return known
        corners = rng.integers(0, image_px - self.hole_px + 1, size=(count, 2))
        for index, (top, left) in enumerate(corners):
            known[index, :, top : top + self.hole_px, left : left + self.hole_px] = 0
        return known

    def _strokes(self, image_px: int, rng: np.random.Generator) -> np.ndarray:
        """Random walks of a round brush until the hole's share reaches a target drawn from the interval; (H, W) float32.

        A brush mark that would pass `ratio_high` is dropped and the brush halved, down to a single pixel, so that the share
        always ends inside the interval.
        """
        pixels = image_px**2
        target = max(math.ceil(self.ratio_low * pixels), math.floor(rng.uniform(self.ratio_low, self.ratio_high) * pixels))
        rows, columns = np.mgrid[:image_px, :image_px]
        hole = np.zeros((image_px, image_px), bool)
        brush = 1.0
        while hole.sum() < target:
            row, column = rng.integers(0, image_px, 2).astype(float)
            heading = rng.uniform(0, 2 * math.pi)
            radius = image_px * rng.uniform(0.015, 0.05) * brush
            for _ in range(int(rng.integers(4, 4 + image_px // 2))):
                brushed = hole | ((rows - round(row)) ** 2 + (columns - round(column)) ** 2 <= radius**2)
                if brushed.sum() > self.ratio_high * pixels:
                    brush /= 2
                    break
                hole = brushed
                if hole.sum() >= target:
                    break
                heading += rng.normal(0, 0.4)
                row = float(np.clip(row + max(radius, 1) * math.sin(heading), 0, image_px - 1))
                column = float(np.clip(column + max(radius, 1) * math.cos(heading), 0, image_px - 1))
        return 1 - hole.astype(np.float32)
