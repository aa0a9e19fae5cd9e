"""Metrics by the size of the hole: for irregular holes, the means over the images whose hole takes 1 to 10 %, 10 to 20 %, and so on.

The names are those of `trainables.metrics` with the bin's bounds in per cent: `psnr_hole_bin_10_20` is `psnr_hole` over holes of more
than 10 % and at most 20 %. They come beside the means over all images. A bin in which no image falls has no value, so none of these can be
an objective. A mask from 0.01 to 0.6 fills every bin alike (see `trainables.data.irregular.targets`).

Source: `maggiordomo`, section 3.2, after Liu et al. 2018, "Image Inpainting for Irregular Holes Using Partial Convolutions", Table 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.metrics import METRICS, Metric

BINS = ((1, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60))  # more than, at most; per cent of the image
_MEASURED = ("psnr_hole", "mse_hole", "ssim_image")

BINNED: dict[str, Metric] = {
    f"{name}_bin_{low:02d}_{high:02d}": Metric(
        METRICS[name].unit, METRICS[name].mode, f"{name} over the images whose hole takes more than {low} % and at most {high} %"
    )
    for name in _MEASURED
    for low, high in BINS
}


class BinMeter:
    """Sums over a split, batch by batch; `result` gives the means of each bin."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(BINNED, 0.0)
        self.counts = dict.fromkeys(BINS, 0)

    def add(self, values: Mapping[str, Tensor], known: Tensor) -> None:
        """Takes a batch.

        Args:
            values: metrics of single images as `trainables.metrics.measure` gives them, (B,) each.
            known: (B, 1, H, W) float32, 1 = known.
        """
        share = (known < 0.5).double().mean((1, 2, 3))
        for low, high in BINS:
            inside = (share > low / 100) & (share <= high / 100)
            self.counts[low, high] += int(inside.sum())
            for name in _MEASURED:
                self.sums[f"{name}_bin_{low:02d}_{high:02d}"] += float(torch.where(inside, values[name].double(), 0.0).sum())

    def result(self) -> dict[str, float]:
        """The means by the names of `BINNED`, without the bins that hold no image."""
        return {
            name: self.sums[name] / count
            for (low, high), count in self.counts.items()
            for name in (f"{measured}_bin_{low:02d}_{high:02d}" for measured in _MEASURED)
            if count
        }
