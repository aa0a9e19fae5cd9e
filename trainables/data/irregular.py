"""Irregular holes of an exact size: strokes, arcs and ellipses, drawn one over the other until the hole is as large as asked.

The last mark is not drawn whole: its pixels count in the order of their distance from where it starts, and the rest is left known. So a
hole has exactly its number of pixels, with no mark drawn twice.

Source: `maggiordomo`, sections 3.2.2 and 4.2 ("random binary masks", after Liu et al. 2018), which gives no recipe. The marks, their sizes
and their number are this project's.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
GROWTH = 1.05  # each mark is larger than the one before, so that the largest hole too is reached

Draw = Callable[[np.ndarray, float, np.random.Generator], tuple[int, int]]


def targets(count: int, low: float, high: float, pixels: int, rng: np.random.Generator) -> list[int]:
    """Hole pixels of each image of a batch: each uniform between the two shares, all of them spread evenly over that interval.

    From a uniform start, each share lies a golden section of the interval after the one before, folded back at its end. However many images
    are taken, no part of the interval goes without; and the first ones are the same in a batch of any size.

    Args:
        count: images.
        low: least share of hole pixels.
        high: greatest share.
        pixels: of an image.
        rng: draws the start.
    """
    places = (rng.random() + GOLDEN_RATIO * np.arange(count)) % 1
    least, most = math.ceil(low * pixels), math.floor(high * pixels)
    return [min(max(round((low + place * (high - low)) * pixels), least), most) for place in places]


def irregular_hole(image_px: int, target: int, marks: Sequence[Draw], rng: np.random.Generator) -> np.ndarray:
    """Draws marks until the hole has `target` pixels.

    Args:
        image_px: side of the image.
        target: from 1 to image_px * image_px.
        marks: what may be drawn; each time one of these, all as likely.
        rng: the only source of randomness.

    Returns:
        (image_px, image_px) uint8, 1 = hole.
    """
    hole, before = np.zeros((2, image_px, image_px), np.uint8)
    size_px, filled = float(image_px), 0
    while filled < target:
        before[:], had = hole, filled
        start = marks[int(rng.integers(len(marks)))](hole, size_px, rng)
        size_px *= GROWTH
        filled = cv2.countNonZero(hole)
    if filled > target:
        _cut(hole, before, start, target - had)
    return hole


def stroke(hole: np.ndarray, size_px: float, rng: np.random.Generator) -> tuple[int, int]:
    """A random walk of a round brush, clipped at the image's border.

    Args:
        hole: (H, W) uint8, drawn into.
        size_px: the image's side, or a multiple of it; steps and brush follow it.
        rng: the only source of randomness.

    Returns:
        Column and row of its start, which may lie outside the image.
    """
    steps = int(rng.integers(4, 16))
    headings = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.6, steps))
    path = np.empty((steps + 1, 2))
    path[0] = rng.uniform(0, len(hole), 2)
    path[1:, 0], path[1:, 1] = np.cos(headings), np.sin(headings)
    path[1:] *= size_px * rng.uniform(0.03, 0.1)
    points = path.cumsum(0).clip(0, len(hole) - 1).astype(np.int32)
    cv2.polylines(hole, [points], False, 1, _thickness(size_px, rng))
    return int(points[0, 0]), int(points[0, 1])


def arc(hole: np.ndarray, size_px: float, rng: np.random.Generator) -> tuple[int, int]:
    """A thick piece of an ellipse's outline; arguments and result as of `stroke`."""
    centre, axes, turn = _ellipse(len(hole), size_px, rng, 0.05, 0.35)
    begin = rng.uniform(0, 360)
    cv2.ellipse(hole, centre, axes, turn, begin, begin + rng.uniform(45, 300), 1, _thickness(size_px, rng))
    along, across = axes[0] * math.cos(math.radians(begin)), axes[1] * math.sin(math.radians(begin))
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return round(centre[0] + along * cosine - across * sine), round(centre[1] + along * sine + across * cosine)


def ellipse(hole: np.ndarray, size_px: float, rng: np.random.Generator) -> tuple[int, int]:
    """A filled ellipse, which starts at its centre; arguments and result as of `stroke`."""
    centre, axes, turn = _ellipse(len(hole), size_px, rng, 0.02, 0.12)
    cv2.ellipse(hole, centre, axes, turn, 0, 360, 1, cv2.FILLED)
    return centre


def _ellipse(
    image_px: int, size_px: float, rng: np.random.Generator, least: float, most: float
) -> tuple[tuple[int, int], tuple[int, int], float]:
    """Centre anywhere in the image, two half axes between two shares of `size_px`, and a rotation in degrees."""
    column, row = rng.integers(0, image_px, 2)
    wide, high = size_px * rng.uniform(least, most, 2)
    return (int(column), int(row)), (round(wide), round(high)), rng.uniform(0, 180)


def _thickness(size_px: float, rng: np.random.Generator) -> int:
    """A brush's diameter in pixels."""
    return min(max(1, round(size_px * rng.uniform(0.03, 0.1))), 32_767)  # OpenCV's greatest


def _cut(hole: np.ndarray, before: np.ndarray, start: tuple[int, int], keep: int) -> None:
    """Takes back all but the `keep` pixels of the last mark that lie nearest to its start; of equally near ones the first stay."""
    added = np.flatnonzero(cv2.absdiff(hole, before).view(bool))
    rows, columns = np.divmod(added, hole.shape[1])
    order = ((columns - start[0]) ** 2 + (rows - start[1]) ** 2) * hole.size + added
    hole.flat[added[order > np.partition(order, keep - 1)[keep - 1]]] = 0
