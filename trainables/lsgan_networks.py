"""The networks of `lsgan` and `lsgan_autoencoder`: generator, discriminator, and the autoencoder that refines a completion.

Source: `lsgan`, sections 2.2.3.1, 2.2.3.2 and 2.2.4, Table 2.1. Images of 64x64x3 in [-1, 1].

Implemented: 100 latent values to 4x4x1024, 8x8x512, 16x16x256, 32x32x128 and 64x64x3 by transposed convolutions, each but the last with
batch norm, leaky ReLU and dropout; four convolutions of stride 2 to 8192 features and one score; an encoder of four levels (convolution,
pooling, ReLU) to 8192 values and a decoder of four levels back, with batch norm. The number of levels follows the image: 3, 4 or 5 for 32,
64 or 128 px. Filters are 8 times a base in the deepest level and half as many in each one outwards, at least the base.

Deviations:
  - Table 2.1 prints "32,3,3" as size, stride and pad of every transposed convolution. A stride of 3 does not double a side, and 32 is the
    mini-batch of section 3.3.3. Filters are 4x4 of stride 2 and padding 1 here, and 4x4 on one point in the first layer.
  - The text ends the ladder of the generator with 64 filters, the table with 128 filters at 32x32; the table is followed, and the 64 is
    read as the image's side.
  - Table 2.1 gives the encoder's output as 8092, the text as 8192 twice. 8192 is 4x4x512, the map of the last level laid flat: no dense
    layer is needed, and none is there.
  - The order within a layer is the table's ("Conv2DT / lrelu / drop") with batch norm, which the text has, right after the convolution.
  - Filters of discriminator and encoder are not given: those that make 8192 of 64 px, half of the generator's. "At least the base" is a
    reading for 128 px, which the source does not have.
  - The output's activation is not given; tanh fits images in (-1, 1). The leak (0.2), the initial weights (normal, 0.02) and the batch norm
    of the discriminator are DCGAN's. The discriminator's first layer has no batch norm, as there.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from trainables.context_encoder import widths
from trainables.dropout import Dropout
from trainables.errors import ConfigError

SEED_PX = 4
LEVELS = {32: 3, 64: 4, 128: 5}
LEAK = 0.2


def levels_of(image_px: int) -> int:
    """How many doublings lead from 4 px to the image. Raises ConfigError for a size that is not among `LEVELS`."""
    if image_px not in LEVELS:
        raise ConfigError(f"the image size must be one of {', '.join(map(str, LEVELS))}, but got {image_px}; use 64, as the source does")
    return LEVELS[image_px]


class Generator(nn.Module):
    """Latent values in, an image out."""

    def __init__(self, latent: int, base_filters: int, dropout: float, image_px: int) -> None:
        super().__init__()
        filters = widths(base_filters, levels_of(image_px))[::-1]
        layers = [nn.ConvTranspose2d(latent, filters[0], SEED_PX, bias=False), *_finish(filters[0], dropout)]
        for wide, narrow in pairwise(filters):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), *_finish(narrow, dropout)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(filters[-1], 3, 4, 2, 1), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """(B, latent) float32 -> (B, 3, H, W) in [-1, 1]."""
        image: Tensor = self.layers(latent[:, :, None, None])
        return image


def _finish(filters: int, dropout: float) -> list[nn.Module]:
    """Batch norm, leaky ReLU and dropout."""
    return [nn.BatchNorm2d(filters), nn.LeakyReLU(LEAK)] + ([Dropout(dropout)] if dropout else [])


class Discriminator(nn.Module):
    """An image in, one unbounded score out."""

    def __init__(self, base_filters: int, image_px: int, *, batch_norm: bool, norm_affine: bool = True) -> None:
        """Builds it.

        Args:
            base_filters: filters of the first layer; the deepest has 8 times as many.
            image_px: side of the images.
            batch_norm: after every convolution but the first.
            norm_affine: whether the batch norm has a trained scale and shift.

        Raises:
            ConfigError: a size that the levels do not reach.
        """
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for index, filters in enumerate(widths(base_filters, levels_of(image_px))):
            norm = batch_norm and index > 0
            layers.append(nn.Conv2d(channels, filters, 4, 2, 1, bias=not norm))
            layers += ([nn.BatchNorm2d(filters, affine=norm_affine)] if norm else []) + [nn.LeakyReLU(LEAK)]
            channels = filters
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.score = nn.Linear(channels * SEED_PX**2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1] -> (B,) scores, higher = more like a true one."""
        features: Tensor = self.features(image)  # (B, 8192) at 64 filters
        scores: Tensor = self.score(features)
        return scores.flatten()


class RefiningAutoencoder(nn.Module):
    """A completed image in, a refined one out.

    Attributes:
        trained_steps: training steps so far, a buffer, so that restored weights tell whether they have ever been trained.
    """

    trained_steps: Tensor

    def __init__(self, base_filters: int, image_px: int) -> None:
        super().__init__()
        filters = widths(base_filters, levels_of(image_px))
        layers: list[nn.Module] = []
        for channels, deeper in pairwise([3, *filters]):
            layers += [nn.Conv2d(channels, deeper, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(deeper), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        layers = [nn.Unflatten(1, (filters[-1], SEED_PX, SEED_PX))]
        for wide, narrow in pairwise(filters[::-1]):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(filters[0], 3, 4, 2, 1), nn.Tanh())
        self.register_buffer("trained_steps", torch.zeros((), dtype=torch.int64))

    def forward(self, completed: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1] -> (B, 3, H, W) in [-1, 1]."""
        code: Tensor = self.encoder(completed)  # (B, 8192) at 64 filters
        image: Tensor = self.decoder(code)
        return image
