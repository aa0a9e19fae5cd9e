"""Does a filled hole look like a piece of a photograph? Border, sharpness and a feature distance, for holes of any shape.

A squared error prefers the blurred mean of all plausible fills; these figures see the blur and the seam. Each is a figure of a whole
split, not a mean over images: a ratio of an image's own sums explodes where the truth is flat (a clear sky has no gradient), so the sums
of all images are divided once.

  - `border_jump_hole`: neighbours of which one is in the hole and one is known; the sum of their absolute differences, divided by the
    truth's. Above 1: a visible seam.
  - `sharpness_hole`: neighbours that are both in the hole; the sum of their squared differences, divided by the truth's. Below 1: blur.
    Pairs across the border are left out, so that a seam does not pass for sharpness.
  - `realism_gap`: |sharpness_hole - 1| + |border_jump_hole - 1|, the one figure that a search can minimise.
  - `frechet_hole`: squared Frechet distance between Gaussians fitted to features of true and filled crops around the hole.

The extractor of `frechet_hole` is `RandomFeatures`, "random-conv-64-seed-0": three convolutions with fixed random weights, 64 features.
It needs no download and takes seconds on a CPU. Its distances compare models that were measured with it on the same split and mask, and
nothing else: they are not the published Inception distances.

Source: `beyond_cnns`, sections Autoencoders (blur) and Reducing Continuity Errors (border), which describe both effects and measure
neither; the Frechet distance after Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule".
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask

EXTRACTOR = "random-conv-64-seed-0"
FEATURES = 64
_EXTRACTOR_SEED = 0
_TINY = 1e-12


class RandomFeatures(nn.Module):
    """The fixed extractor: 3x3 convolutions to 32, 64 and 64 channels with strides 1, 2 and 2, ReLU, mean over the crop.

    He-normal weights from numpy's generator with seed 0, no bias; the input is brought to [-1, 1]. Its name is `EXTRACTOR`.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(_EXTRACTOR_SEED)
        self.strides = (1, 2, 2)
        self.filters = nn.ParameterList()
        for channels, filters in ((3, 32), (32, 64), (64, FEATURES)):
            weights = rng.standard_normal((filters, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
            self.filters.append(nn.Parameter(torch.from_numpy(weights).float(), requires_grad=False))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float32 in [0, 1] -> (B, 64) float32."""
        features = image * 2 - 1
        for weights, stride in zip(self.filters, self.strides, strict=True):
            features = functional.conv2d(features, weights, stride=stride, padding=1).relu()
        return features.mean((2, 3))


class RealismMeter:
    """Sums over a split, batch by batch; `result` gives the figures."""

    def __init__(self, mask: Mask, image_px: int, device: torch.device) -> None:
        """Starts at zero.

        Args:
            mask: where the holes are.
            image_px: side of the images.
            device: of the batches.
        """
        self.crop_px = crop_side_px(mask, image_px)
        self.extractor = RandomFeatures().to(device)
        self.pairs = torch.zeros(4, dtype=torch.float64)
        self.true = Moments(FEATURES)
        self.filled = Moments(FEATURES)

    @torch.no_grad()
    def add(self, filled: Tensor, image: Tensor, known: Tensor) -> None:
        """Takes a batch.

        Args:
            filled: (B, 3, H, W) float32 in [0, 1], the composited images.
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.
        """
        self.pairs += torch.stack([*border_and_gradient(filled, known), *border_and_gradient(image, known)]).cpu()
        self.filled.add(self.extractor(crop_around_hole(filled, known, self.crop_px)))
        self.true.add(self.extractor(crop_around_hole(image, known, self.crop_px)))

    def result(self) -> dict[str, float]:
        """The four figures of what was added; a truth without any such pair counts as matched where the fill has none either."""
        jump, energy, true_jump, true_energy = self.pairs.tolist()
        border_jump = (jump + _TINY) / (true_jump + _TINY)
        sharpness = (energy + _TINY) / (true_energy + _TINY)
        return {
            "border_jump_hole": border_jump,
            "sharpness_hole": sharpness,
            "realism_gap": abs(sharpness - 1) + abs(border_jump - 1),
            "frechet_hole": frechet_distance(self.true.mean, self.true.covariance, self.filled.mean, self.filled.covariance),
        }


class Moments:
    """Mean and covariance of rows that arrive in batches, in float64."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.sum = np.zeros(width)
        self.products = np.zeros((width, width))

    def add(self, rows: Tensor) -> None:
        """(B, width), of any device."""
        values = rows.double().cpu().numpy()
        self.count += len(values)
        self.sum += values.sum(0)
        self.products += values.T @ values

    @property
    def mean(self) -> np.ndarray:
        """(width,) float64."""
        return self.sum / max(self.count, 1)

    @property
    def covariance(self) -> np.ndarray:
        """(width, width) float64, unbiased; zero for fewer than two rows."""
        centred: np.ndarray = self.products - self.count * np.outer(self.mean, self.mean)
        return centred / max(self.count - 1, 1)


def border_and_gradient(image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the pairs of horizontal and vertical neighbours, all channels and all images.

    Args:
        image: (B, 3, H, W) float32.
        known: (B, 1, H, W) float32, 1 = known.

    Returns:
        The sum of absolute differences of pairs across the hole's border, and the sum of squared differences of pairs inside the hole;
        both float64 scalars.
    """
    hole = known < 0.5
    border, gradient = image.new_zeros((), dtype=torch.float64), image.new_zeros((), dtype=torch.float64)
    for axis in (2, 3):
        step = image.diff(dim=axis).double()
        first, second = hole.narrow(axis, 0, hole.shape[axis] - 1), hole.narrow(axis, 1, hole.shape[axis] - 1)
        border += (step.abs() * (first ^ second)).sum()
        gradient += (step**2 * (first & second)).sum()
    return border, gradient


def crop_side_px(mask: Mask, image_px: int) -> int:
    """Side of the square that the features see: twice a square hole's, the whole image for irregular holes."""
    return image_px if mask.is_irregular else min(2 * mask.hole_px, image_px)


def crop_around_hole(image: Tensor, known: Tensor, side_px: int) -> Tensor:
    """Cuts a square around the middle of each image's hole, moved inside where it would leave the image.

    Args:
        image: (B, 3, H, W).
        known: (B, 1, H, W) float32, 1 = known; an image without a hole is cropped at its middle.
        side_px: the square's side, at most H and W.

    Returns:
        (B, 3, side_px, side_px).
    """
    hole = known[:, 0] < 0.5
    rows = _window(hole.any(2), side_px)  # (B, side_px)
    columns = _window(hole.any(1), side_px)
    batch = torch.arange(len(image), device=image.device)[:, None, None]
    cut = image.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]  # (B, side_px, side_px, 3)
    return cut.permute(0, 3, 1, 2)


def _window(occupied: Tensor, side_px: int) -> Tensor:
    """Indices of the window around the occupied stretch of a line; (B, L) bool -> (B, side_px) int64."""
    length = occupied.shape[1]
    marks = occupied.int()
    first, last = marks.argmax(1), length - 1 - marks.flip(1).argmax(1)
    start = ((first + last + 1 - side_px).div(2, rounding_mode="floor")).clamp(0, length - side_px)
    return start[:, None] + torch.arange(side_px, device=occupied.device)


def frechet_distance(mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians: |a - b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2).

    The product under the root is symmetric and positive, so both roots come from symmetric eigenvalues; what rounding makes negative
    counts as zero.

    Args:
        mean_a: (D,) float64.
        covariance_a: (D, D) float64, symmetric, positive semi-definite.
        mean_b: (D,) float64.
        covariance_b: (D, D) float64, likewise.

    Returns:
        A number of at least 0; NaN where an argument is not finite.
    """
    if not all(np.isfinite(part).all() for part in (mean_a, covariance_a, mean_b, covariance_b)):
        return float("nan")
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = root @ covariance_b @ root
    cross = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return float(max(distance, 0.0))
