"""`image_autoencoder`: an encoder and a decoder that give the whole image back.

Source: `thesis`, section 3.2, Tables 3.2 and 3.3: four 3x3 convolutions, the last three of stride 2, batch norm after the ReLU of the first
three; three transposed convolutions; a last convolution with a sigmoid, without which "the boundary of the output images" failed.

Deviations: those of `trainables.reconstruction`.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.reconstruction import (
    INPUT_CHANNELS,
    ReconstructionConfig,
    Reconstructor,
    check_filter,
    convolution,
    transposed_convolution,
)

SHRINKING = 8


@dataclass(frozen=True)
class ImageAutoencoderConfig(ReconstructionConfig):
    """Knobs of `image_autoencoder`; the values are the document's (Tables 3.2 and 3.3).

    Attributes:
        base_filters: of the first convolution; the others have 2, 4 and 8 times as many.
        filter_px: side of every filter; odd.
    """

    base_filters: int = 32
    filter_px: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter("filter_px", self.filter_px)
        if self.base_filters < 1:
            raise ConfigError(f"base_filters must be at least 1, but got {self.base_filters}; use 1 or more")


class AutoencoderNetwork(nn.Module):
    """Tables 3.2 and 3.3."""

    def __init__(self, base_filters: int, filter_px: int) -> None:
        super().__init__()
        self.encoder = image_encoder(base_filters, filter_px)
        widths = [8 * base_filters, 8 * base_filters, 4 * base_filters, 2 * base_filters]
        self.decoder = nn.Sequential(*growing(widths, filter_px), convolution(widths[-1], 3, filter_px), nn.Sigmoid())

    def forward(self, visible: Tensor) -> Tensor:
        """(B, 4, H, W) float32 -> (B, 3, H, W) in [0, 1]."""
        latent = self.encoder(visible)  # (B, 8 * base_filters, H / 8, W / 8)
        image: Tensor = self.decoder(latent)
        return image


def image_encoder(base_filters: int, filter_px: int, first_stride: int = 1) -> nn.Sequential:
    """Four convolutions, ReLU after each, batch norm after the first three: (B, 4, H, W) -> (B, 8 * base_filters, H / 8, W / 8).

    Args:
        base_filters: of the first convolution, doubled at each next one.
        filter_px: side of the filters.
        first_stride: stride of the first convolution; the others have 2.
    """
    layers: list[nn.Module] = []
    channels = INPUT_CHANNELS
    for index in range(4):
        filters = base_filters * 2**index
        layers += [convolution(channels, filters, filter_px, 2 if index else first_stride), nn.ReLU()]
        if index < 3:
            layers.append(nn.BatchNorm2d(filters))
        channels = filters
    return nn.Sequential(*layers)


def growing(widths: list[int], filter_px: int) -> list[nn.Module]:
    """Transposed convolutions of stride 2 with ReLU from each width to the next."""
    layers: list[nn.Module] = []
    for channels, filters in pairwise(widths):
        layers += [transposed_convolution(channels, filters, filter_px), nn.ReLU()]
    return layers


class ImageAutoencoder(Reconstructor):
    """Trains `AutoencoderNetwork` on the squared error of the whole image."""

    Config = ImageAutoencoderConfig

    def __init__(self, config: ImageAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        check_size(image_px, SHRINKING)
        self.adopt(AutoencoderNetwork(config.base_filters, config.filter_px))

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weighted_error(self.output(image, known), image, known), {}


def check_size(image_px: int, multiple: int) -> None:
    """Raises ConfigError where the strides do not divide the image's side."""
    if image_px % multiple:
        raise ConfigError(f"the image size must be a multiple of {multiple}, but got {image_px}; the strides must divide it")
