"""What the systems of `thesis` are checked with: a table of what each layer gave, photos with holes, and training on one batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.data import Batch, ImageSource, Mask, open_images, to_tensor
from trainables.model import InpaintingModel

HOLE = Mask("random_square", 12)


def layer_outputs(network: nn.Module, call: Callable[[], Any]) -> list[tuple[str, tuple[int, ...]]]:
    """What each leaf of a network gives during a call, in order.

    Args:
        network: whose leaves are watched.
        call: runs the network on one image.

    Returns:
        Class and shape of one image's output, (H, W, C) as the document's tables print it, or (N,).
    """
    rows: list[tuple[str, tuple[int, ...]]] = []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        rows.append((type(module).__name__, (*shape[1:], shape[0]) if len(shape) == 3 else shape))

    handles = [module.register_forward_hook(note) for module in network.modules() if not list(module.children())]
    with torch.no_grad():
        call()
    for handle in handles:
        handle.remove()
    return rows


def photos_with_holes(data_dir: str, count: int = 8, mask: Mask = HOLE) -> Batch:
    """The first training photos of 32 px, each with a hole of its own."""
    images = open_images(ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)).train[:count]
    return Batch(to_tensor(images, torch.device("cpu")), mask.sample(count, 32, np.random.default_rng(0)), 0.0)


def noise_with_holes(count: int = 2, image_px: int = 32, mask: Mask = HOLE, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random images (B, 3, H, W) and their holes (B, 1, H, W)."""
    image = torch.rand(count, 3, image_px, image_px, generator=torch.Generator().manual_seed(seed))
    return image, mask.sample(count, image_px, np.random.default_rng(seed))


def losses_on(model: InpaintingModel, batch: Batch, steps: int, name: str = "loss") -> list[float]:
    """A figure of each of so many training steps on the same batch."""
    torch.manual_seed(0)
    return [model.train_unit([batch])[name] for _ in range(steps)]


def first_corners(known: Tensor) -> list[tuple[int, int]]:
    """First row and column of each hole, found pixel by pixel."""
    corners = []
    for hole in known[:, 0].numpy() < 0.5:
        rows, columns = np.nonzero(hole)
        corners.append((int(rows.min()), int(columns.min())))
    return corners
