"""What the runs of a store made of the first test images, read back from the files that final runs leave there.

`trainables.fill_record` says what is in a file; it is read with numpy alone.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.selection import Run, Sweep
from sweeper.errors import TrackingError
from sweeper.fills import FOLDER, PLAIN
from sweeper.tracking import Store

GREY = 128
_FIELDS = ("fills", "known", "l2", "psnr", "digest", "image_px")
_MORE = ("truth", "publishable")


@dataclass(frozen=True)
class Fills:
    """One run's fills.

    Attributes:
        digest: (N,) names image and hole; equal digests are the same pixels and the same hole.
        hole: (N, H, W) bool.
        pixels: (P, 3) uint8, the holes' pixels image by image.
        mse: (N,) mean squared error over each hole, of images in [0, 1].
        psnr: (N,) in dB, over the hole.
        truth: (N, H, W, 3) uint8; None where the file has none.
        publishable: whether the truth may be shown to others.
    """

    digest: np.ndarray
    hole: np.ndarray
    pixels: np.ndarray
    mse: np.ndarray
    psnr: np.ndarray
    truth: np.ndarray | None = None
    publishable: bool = False

    @property
    def image_px(self) -> int:
        """Side of the images."""
        return int(self.hole.shape[1])

    def places(self, digests: Sequence[str]) -> list[int]:
        """Where images stand; each must be there."""
        place_of = {str(digest): place for place, digest in enumerate(self.digest)}
        return [place_of[digest] for digest in digests]

    def filled(self, place: int, around: np.ndarray | None) -> np.ndarray:
        """(H, W, 3) uint8: an image's fill in what is around it; grey where that is None."""
        hole = self.hole[place]
        shown = np.full((*hole.shape, 3), GREY, np.uint8) if around is None else around.copy()
        start = int(self.hole[:place].sum())
        shown[hole] = self.pixels[start : start + int(hole.sum())]
        return shown


def read_fills(store: Store, run: Run) -> Fills | None:
    """A final run's fills; None where it has left none, as runs from before there were such files."""
    return _read(store, run.run_id, run.trial)


def read_plain(store: Store, sweep: Sweep) -> Fills | None:
    """The plain fill's, with the truth; None where the sweep has left none."""
    return _read(store, sweep.row.run_id, PLAIN)


def may_be_shown(store: Store, sweep: Sweep) -> bool:
    """Whether a sweep's images may be published; not where it does not say."""
    plain = read_plain(store, sweep)
    return plain is not None and plain.publishable


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def _read(store: Store, run_id: str, name: str) -> Fills | None:
    try:
        file = store.fetch(run_id, f"{FOLDER}/{name}.npz")
        with np.load(file) as arrays:
            found = {field: arrays[field] for field in (*_FIELDS, *(name for name in _MORE if name in arrays.files))}
    except (
        TrackingError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        EOFError,
        OSError,
    ):  # none there, or damaged: no picture
        return None
    side = int(found["image_px"])
    hole = np.unpackbits(found["known"], axis=1, count=side * side).reshape(-1, side, side) == 0
    mse = found["l2"] / (3 * hole.sum(axis=(1, 2)).clip(min=1))
    truth, publishable = found.get("truth"), bool(found.get("publishable", False))
    return Fills(found["digest"], hole, found["fills"], mse, found["psnr"], truth, publishable)
