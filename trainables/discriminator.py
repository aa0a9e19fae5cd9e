"""The network that tells true images from filled ones: a trunk and one score.

Source: `beyond_cnns`, section Deep Convolutional GANs: "six convolutional layers, having a stride value of 2. After this, there is a final
convolutional layer that reduces the depth value to 1"; VGG, Inception and ResNet instead of the six layers.

Deviations:
  - A 32x32 image is down to one pixel after five stride-2 layers and an 8x8 hole after three; from there on a stride has no effect and
    the kernel is 1x1, so the remaining layers are fully connected ones.
  - The last convolution covers whatever the trunk leaves of the image, so that there is always one value an image.
  - Leaky ReLU of slope 0.2 after every layer, as in the document's reference [13]. The widths are not given in the source: 1, 2, 4, 8, 8
    and 8 times a base. The first of the six layers has no batch norm, as in the document's reference [26].
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.backbones import BACKBONES, SHRINKING, Backbone, Style, finished
from trainables.errors import ConfigError

LAYERS = 6
LEAK = 0.2


class Discriminator(nn.Module):
    """A trunk and a last convolution that leaves one unbounded score an image."""

    def __init__(self, backbone: Backbone, base_filters: int, side_px: int, style: Style) -> None:
        """Builds it for images of one size.

        Args:
            backbone: "plain" for the six stride-2 convolutions.
            base_filters: filters of the first stage.
            side_px: side of what it sees; a multiple of 8 for any other backbone than "plain".
            style: of its layers.

        Raises:
            ConfigError: a size that the backbone cannot shrink.
        """
        super().__init__()
        if backbone == "plain":
            self.trunk, channels, left_px = _six_convolutions(style, base_filters, side_px)
        else:
            if side_px % SHRINKING:
                raise ConfigError(
                    f"what a {backbone} discriminator sees must be a multiple of {SHRINKING} px wide, but got {side_px}; "
                    'use discriminator_backbone="plain", or discriminator_sees="image"'
                )
            self.trunk, channels, left_px = BACKBONES[backbone](style, base_filters), 4 * base_filters, side_px // SHRINKING
        self.head = nn.Conv2d(channels, 1, left_px)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float32, [0, 1] for true images -> (B,) scores, higher = more like a true one."""
        scores: Tensor = self.head(self.trunk(image * 2 - 1))  # (B, 1, 1, 1)
        return scores.flatten()

    def both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of true and of filled images, (B, 3, S, S) each, as two calls give them; batch norm alone sees them apart.

        The deep layers have many weights and few pixels: to read the weights costs more than to use them, and here they are read once.
        """
        if not self._norms_stand_alone:
            return self(real), self(fake)
        features = torch.cat([real, fake]) * 2 - 1
        for layer in self.trunk:
            features = torch.cat([layer(part) for part in features.chunk(2)]) if isinstance(layer, _BatchNorm) else layer(features)
        real_scores, fake_scores = self.head(features).flatten().chunk(2)
        return real_scores, fake_scores

    @property
    def _norms_stand_alone(self) -> bool:
        """Whether every batch norm is a layer of the trunk itself, and not within a block."""
        return not any(isinstance(inner, _BatchNorm) for layer in self.trunk for inner in layer.modules() if inner is not layer)


def _six_convolutions(style: Style, base_filters: int, side_px: int) -> tuple[nn.Sequential, int, int]:
    """The document's discriminator up to its last layer, its depth, and the side of what it leaves of the image."""
    layers: list[nn.Module] = []
    channels = 3
    for index in range(LAYERS):
        filters = base_filters * min(2**index, 8)
        kernel_px, first = (3 if side_px > 1 else 1), index == 0
        layer = nn.Conv2d(channels, filters, kernel_px, 2, kernel_px // 2, bias=first or not style.batch_norm)
        layers += [layer, style.activation()] if first else finished(style, layer, filters)
        channels, side_px = filters, math.ceil(side_px / 2)
    return nn.Sequential(*layers), channels, side_px


def leaky_relu() -> nn.Module:
    """The discriminator's activation."""
    return nn.LeakyReLU(LEAK)
