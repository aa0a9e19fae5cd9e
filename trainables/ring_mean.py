"""The plainest fill: each hole gets the mean colour of the known pixels that touch it. The bar under every table.

Source: a baseline of this project; no document describes it.
"""

import torch
from torch import Tensor
from torch.nn import functional


def ring_mean_fill(image: Tensor, known: Tensor) -> Tensor:
    """Fills every hole of an image with one colour.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        known: (B, 1, H, W) float32, 1 = known pixel.

    Returns:
        (B, 3, H, W) float32, equal to `image` where known. An image without any known pixel is filled with 0.5.
    """
    touched = functional.max_pool2d(1 - known, 3, stride=1, padding=1)
    ring = touched * known  # (B, 1, H, W), 1 = known and next to the hole
    count = ring.sum((2, 3), keepdim=True)
    mean = torch.where(ring > 0.5, image, 0.0).sum((2, 3), keepdim=True) / count.clamp(min=1)  # (B, 3, 1, 1)
    mean = torch.where(count > 0, mean, 0.5)
    return torch.where(known > 0.5, image, mean)
