"""How well a hole is filled: errors over the hole and over the whole composited image.

Every function takes images as (B, 3, H, W) float32 in [0, 1] and `known` as (B, 1, H, W) float32, 1 = known pixel, and gives one
value an image, (B,). `measure` computes all of them; `METRICS` says what each means and which way is better. The last four of
`METRICS` belong to a whole split and come from `trainables.realism`.

The published L2 values of `beyond_cnns` (Table 1: 7.41 at bottleneck 512) cannot come from the formula printed beside them, which is
bounded by 3 for images in [0, 1]. The plain sum over the 8x8x3 hole does reach them, so `l2_hole` is that sum (unit inferred), and
`l2_formula_hole` is the formula as printed.

Source: `beyond_cnns`, section The Problem (L2, MAEM); SSIM and PSNR as scikit-image defines them.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

MAEM_TOLERANCE = 5 / 255
PSNR_CEILING_DB = 100.0
SSIM_WINDOW_PX = 7


@dataclass(frozen=True)
class Metric:
    """What a reported number means.

    Attributes:
        unit: the unit, "1" where it has none.
        mode: which way is better; "one" = the closer to 1, not to be used as an objective.
        meaning: one sentence for tables and help texts.
    """

    unit: str
    mode: Literal["min", "max", "one"]
    meaning: str


METRICS: dict[str, Metric] = {
    "l2_hole": Metric("sum of squares", "min", "squared error on [0, 1] summed over the hole's pixels and channels, mean over images"),
    "l2_image": Metric("sum of squares", "min", "as l2_hole, over the whole composited image"),
    "l2_formula_hole": Metric("1", "min", "beyond_cnns' printed formula: l2_hole divided by the hole's number of pixels"),
    "l2_formula_image": Metric("1", "min", "as l2_formula_hole, over the whole composited image"),
    "mse_hole": Metric("1", "min", "mean squared error over the hole's pixels and channels"),
    "mse_image": Metric("1", "min", "mean squared error over the whole composited image"),
    "maem_hole": Metric("share", "max", "share of the hole's channel values within 5/255 of the truth"),
    "maem_image": Metric("share", "max", "share of all channel values within 5/255 of the truth"),
    "psnr_hole": Metric("dB", "max", "peak signal-to-noise ratio over the hole, mean over images"),
    "psnr_image": Metric("dB", "max", "peak signal-to-noise ratio over the whole composited image, mean over images"),
    "ssim_hole": Metric("1", "max", "structural similarity, its map averaged over the hole"),
    "ssim_image": Metric("1", "max", "structural similarity of the whole composited image"),
    "border_jump_hole": Metric("ratio", "one", "absolute step across the hole's border divided by the truth's, sums over the split"),
    "sharpness_hole": Metric("ratio", "one", "gradient energy inside the hole divided by the truth's, sums over the split"),
    "realism_gap": Metric("1", "min", "|sharpness_hole - 1| + |border_jump_hole - 1|"),
    "frechet_hole": Metric("1", "min", "squared Frechet distance of random-conv-64-seed-0 features around true and filled holes"),
}


def composite(filled: Tensor, image: Tensor, known: Tensor) -> Tensor:
    """Pastes the known pixels back, bit for bit.

    Args:
        filled: (B, 3, H, W) float32, a model's output.
        image: (B, 3, H, W) float32 in [0, 1], the truth.
        known: (B, 1, H, W) float32, 1 = known.

    Returns:
        (B, 3, H, W) float32 in [0, 1]: `image` where known, `filled` clipped to [0, 1] in the hole.
    """
    return torch.where(known > 0.5, image, filled.clamp(0, 1))


def measure(filled: Tensor, image: Tensor, known: Tensor) -> dict[str, Tensor]:
    """The metrics of single images for a batch of composited ones, each (B,)."""
    hole = 1 - known
    everywhere = torch.ones_like(known)
    squared = (filled - image) ** 2
    close = ((filled - image).abs() <= MAEM_TOLERANCE + 1e-6).float()
    similarity = ssim_map(filled, image)
    border = SSIM_WINDOW_PX // 2
    values: dict[str, Tensor] = {}
    for place, region in (("hole", hole), ("image", everywhere)):
        pixels = region.sum((1, 2, 3)).clamp(min=1)
        total = (squared * region).sum((1, 2, 3))
        mse = total / (3 * pixels)
        values[f"l2_{place}"] = total
        values[f"l2_formula_{place}"] = total / pixels
        values[f"mse_{place}"] = mse
        values[f"maem_{place}"] = (close * region).sum((1, 2, 3)) / (3 * pixels)
        values[f"psnr_{place}"] = psnr_from_mse(mse)
    values["ssim_hole"] = (similarity * hole).sum((1, 2, 3)) / (3 * hole.sum((1, 2, 3)).clamp(min=1))
    values["ssim_image"] = similarity[..., border:-border, border:-border].mean((1, 2, 3))
    return values


def psnr_from_mse(mse: Tensor) -> Tensor:
    """PSNR in dB of images in [0, 1]; identical images get `PSNR_CEILING_DB` instead of infinity."""
    return -10 * torch.log10(mse.clamp(min=10 ** (-PSNR_CEILING_DB / 10)))


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity at every pixel and channel, as `skimage.metrics.structural_similarity(full=True)` computes it.

    Uniform 7x7 window, sample covariance, data range 1, borders mirrored with the edge pixel repeated. Sums are taken in
    float64: a variance is a small difference of large numbers.

    Args:
        first: (B, C, H, W) float32 in [0, 1], H and W at least 7.
        second: the same shape.

    Returns:
        (B, C, H, W) float32 in [-1, 1].
    """
    x, y = first.double(), second.double()
    count = SSIM_WINDOW_PX**2
    sample = count / (count - 1)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = sample * (_window_mean(x * x) - mean_x**2)
    var_y = sample * (_window_mean(y * y) - mean_y**2)
    covariance = sample * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return (numerator / denominator).float()


def _window_mean(values: Tensor) -> Tensor:
    """Mean over the 7x7 window around each pixel; edges mirrored including the edge pixel itself."""
    border = SSIM_WINDOW_PX // 2
    height, width = values.shape[-2:]
    rows, columns = _mirrored(height, border, values.device), _mirrored(width, border, values.device)
    padded = values.index_select(-2, rows).index_select(-1, columns)
    return functional.avg_pool2d(padded, SSIM_WINDOW_PX, stride=1)


def _mirrored(size: int, border: int, device: torch.device) -> Tensor:
    """Indices -border .. size+border-1 folded back: 2 1 0 | 0 1 2 ... | n-1 n-2 n-3."""
    index = torch.arange(-border, size + border, device=device)
    index = torch.where(index < 0, -index - 1, index)
    return torch.where(index >= size, 2 * size - 1 - index, index)
