"""What all references have: images with holes one at a time, and a training step that gives its losses as numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from trainables.data import Batch, Mask
from trainables.model import InpaintingModel


class HoledImages(Dataset[tuple[Tensor, Tensor]]):
    """One image and its hole at a time, as a data set is usually written."""

    def __init__(self, images: np.ndarray, mask: Mask, crop_px: int) -> None:
        """Holds on to the images.

        Args:
            images: (N, H, W, 3) uint8.
            mask: where the holes are.
            crop_px: greatest shift of an image, mirrored at the edge; 0 = none.
        """
        self.images = images
        self.mask = mask
        self.crop_px = crop_px
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(3, H, W) float32 in [0, 1] and (1, H, W) float32, 1 = known."""
        image = torch.from_numpy(np.array(self.images[index])).permute(2, 0, 1).contiguous().float() / 255
        side_px = image.shape[-1]
        if self.crop_px:
            padded = functional.pad(image[None], (self.crop_px,) * 4, mode="reflect")[0]
            top, left = self.rng.integers(0, 2 * self.crop_px + 1, size=2)
            image = padded[:, top : top + side_px, left : left + side_px]
        return image, self.mask.sample(1, side_px, self.rng)[0]


class Reference(ABC):
    """A model in plain PyTorch, trained batch by batch.

    Attributes:
        networks: in the order of the model's, their weights in the order of the model's.
    """

    networks: list[nn.Module]

    @abstractmethod
    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        """One training step on a batch: (B, 3, H, W) float32 in [0, 1] and (B, 1, H, W) float32, 1 = known; its losses."""

    def data(self, model: InpaintingModel, images: np.ndarray) -> Dataset[tuple[Tensor, Tensor]]:
        """What a DataLoader takes from: images and holes, unless a model trains on something else."""
        return HoledImages(images, model.training_mask, model.augmentation.crop_px)

    def inputs(self, model: InpaintingModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """The arguments of `step` that show the reference what the model sees of a batch."""
        return batch.image.contiguous(), batch.known

    def to(self, device: torch.device) -> None:
        """Moves the networks; called before the first step."""
        for network in self.networks:
            network.to(device)


def take_over_weights(networks: Iterable[nn.Module], source: Iterable[nn.Module]) -> None:
    """Copies weights and statistics by their order.

    Args:
        networks: which get them.
        source: which have them.

    Raises:
        ValueError: another number of values, or other shapes.
    """
    own = [value for network in networks for value in network.state_dict().values()]
    theirs = [value for network in source for value in network.state_dict().values()]
    if [value.shape for value in own] != [value.shape for value in theirs]:
        raise ValueError(f"both must have the same weights, but got {_shapes(own)} and {_shapes(theirs)}; mend the reference")
    for mine, other in zip(own, theirs, strict=True):
        mine.copy_(other)


def _shapes(values: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in values]


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Backward and step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]."""
    return image * 2 - 1
