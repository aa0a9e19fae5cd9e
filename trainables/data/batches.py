"""The endless stream of training batches, addressable by position.

Epoch e visits the images in a permutation drawn from (seed, e), and the holes of the batch that starts at image i are drawn from
(seed, i). So the stream from any position is known without replaying what came before: that is what makes a resumed run equal to an
uninterrupted one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.data.masks import Mask

_ORDER, _HOLES = 0, 1


@dataclass(frozen=True)
class Batch:
    """What a training step sees.

    Attributes:
        image: (B, 3, H, W) float32 in [0, 1], channels-last in memory.
        known: (B, 1, H, W) float32, 1 = known pixel, 0 = hole.
        epoch: position in the training, in epochs: 2.5 = half-way through the third pass.
    """

    image: Tensor
    known: Tensor
    epoch: float


def to_tensor(images: np.ndarray, device: torch.device) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [0, 1] on `device`, channels-last in memory."""
    return torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float().div_(255)


def batches(
    images: np.ndarray, mask: Mask, *, batch_images: int, start_image: int, count: int, seed: int, device: torch.device
) -> Iterator[Batch]:
    """Yields whole batches until at least `count` images have been given.

    Args:
        images: (N, H, W, 3) uint8, the training split.
        mask: where the holes are.
        batch_images: images a batch; at most N.
        start_image: how many images the stream has given before.
        count: how many more to give, rounded up to whole batches.
        seed: seed of order and holes.
        device: where the tensors go.

    Yields:
        Batches; an epoch's remainder that fills no batch is left out of that epoch.
    """
    per_epoch = len(images) // batch_images * batch_images
    position, end = start_image, start_image + count
    epoch, order = -1, np.empty(0, int)
    while position < end:
        if position // per_epoch != epoch:
            epoch = position // per_epoch
            order = np.random.default_rng([seed, _ORDER, epoch]).permutation(len(images))
        start = position % per_epoch
        chosen = np.sort(order[start : start + batch_images])
        known = mask.sample(len(chosen), images.shape[1], np.random.default_rng([seed, _HOLES, position]))
        yield Batch(to_tensor(images[chosen], device), known.to(device), position / per_epoch)
        position += len(chosen)
