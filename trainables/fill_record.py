"""What was made of the first images of a split, as an .npz file that is drawn without torch: holes, fills, and how wrong they are.

Only the holes' pixels are kept, so a file holds nothing of a photograph; whoever has the truth, as one file a sweep does, pastes them in.

    fills: (P, 3) uint8, the filled pixels of image 0 row by row, then of image 1, ...; P = all holes' pixels together
    known: (N, ceil(H * W / 8)) uint8, `np.packbits` of known pixels, 1 = known
    l2, psnr: (N,) float32, `l2_hole` and `psnr_hole` of each image
    index: (N,) int32, places in the split
    digest: (N,) 16 hexadecimal digits of each image and its hole: equal where both are the same pixel for pixel
    image_px: side of the images
    fingerprint: of the prepared data
    truth: (N, H, W, 3) uint8; only where it was asked for
    publishable: whether the truth may be shown to others; only beside it
"""

import hashlib
import io
from collections.abc import Mapping

import numpy as np
from torch import Tensor

MOST_IMAGES, LEAST_IMAGES = 100, 9
TRUTH_BYTES = 3_000_000


def images_kept(image_px: int) -> int:
    """How many of a split's images are recorded: 100, fewer of large ones, so that their pixels take 3 MB, and no fewer than 9."""
    return max(LEAST_IMAGES, min(MOST_IMAGES, TRUTH_BYTES // (3 * image_px**2)))


class FillRecord:
    """Takes the first images of a split, batch by batch; `to_npz` gives the file."""

    def __init__(self, image_px: int) -> None:
        """Has nothing yet; `image_px` is the side of the images."""
        self._image_px = image_px
        self._left = images_kept(image_px)
        self._fills: list[np.ndarray] = []
        self._known: list[np.ndarray] = []
        self._truth: list[np.ndarray] = []
        self._values: dict[str, list[np.ndarray]] = {"l2": [], "psnr": []}

    def add(self, filled: Tensor, image: Tensor, known: Tensor, values: Mapping[str, Tensor]) -> None:
        """Takes what is still wanted of a batch.

        Args:
            filled: (B, 3, H, W) float32 in [0, 1], composited.
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.
            values: metrics of single images as `trainables.metrics.measure` gives them, (B,) each.
        """
        count = min(self._left, len(image))
        if not count:
            return
        self._left -= count
        seen = known[:count, 0].cpu().numpy() > 0.5  # (count, H, W)
        self._known.append(np.packbits(seen.reshape(count, -1), axis=1))
        self._fills.append(_pixels(filled[:count])[~seen])
        self._truth.append(_pixels(image[:count]))
        for name, column in self._values.items():
            column.append(values[f"{name}_hole"][:count].float().cpu().numpy())

    def to_npz(self, fingerprint: str, *, with_truth: bool = False, publishable: bool = False) -> bytes:
        """The file's content; the same record gives the same bytes.

        Args:
            fingerprint: of the prepared data.
            with_truth: keep the whole images too.
            publishable: whether those may be shown to others.
        """
        known, truth = np.concatenate(self._known), np.concatenate(self._truth)
        digests = [hashlib.sha256(image.tobytes() + hole.tobytes()).hexdigest()[:16] for image, hole in zip(truth, known, strict=True)]
        arrays = {name: np.concatenate(column) for name, column in self._values.items()} | {
            "fills": np.concatenate(self._fills),
            "known": known,
            "index": np.arange(len(truth), dtype=np.int32),
            "digest": np.array(digests),
            "image_px": np.array(self._image_px),
            "fingerprint": np.array(fingerprint),
        }
        if with_truth:
            arrays |= {"truth": truth, "publishable": np.array(publishable)}
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's own parameter allow_pickle stands in the way
        return file.getvalue()


def _pixels(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] as (B, H, W, 3) uint8."""
    pixels: np.ndarray = (images.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    return pixels
