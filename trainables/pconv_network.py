"""The U-Net of partial convolutions that `pconv_unet` trains.

Source: `maggiordomo`, section 3.2 and Figure 2 (after Liu et al. 2018).

Deviations: those of the network in `trainables.pconv_unet`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import ConfigError
from trainables.partial_conv import PartialConv2d

DEEPEST = 8
KERNELS_PX = (7, 5, 5)  # of the first layers; 3 from there on
WIDEST = 8  # times base_filters
LEAKY_SLOPE = 0.2


class EncoderLayer(nn.Module):
    """Partial convolution of stride 2, batch norm unless told otherwise, ReLU."""

    def __init__(self, channels: int, filters: int, kernel_px: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.convolution = PartialConv2d(channels, filters, kernel_px, stride=2, padding=kernel_px // 2, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(filters) if batch_norm else nn.Identity()
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W), (B, 1, H, W) -> (B, filters, H / 2, W / 2), (B, 1, H / 2, W / 2)."""
        features, known = self.convolution(features, known)
        return self.activation(self.norm(features)), known


class DecoderLayer(nn.Module):
    """Nearest-neighbour doubling, the encoder's features beside it, 3x3 partial convolution, batch norm, leaky ReLU (not in the last)."""

    def __init__(self, channels: int, skip_channels: int, filters: int, *, last: bool) -> None:
        super().__init__()
        self.doubling = nn.Upsample(scale_factor=2, mode="nearest")
        self.convolution = PartialConv2d((channels, skip_channels), filters, 3, padding=1, bias=last)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(filters)
        self.activation = nn.Identity() if last else nn.LeakyReLU(LEAKY_SLOPE, inplace=True)

    def forward(self, features: Tensor, known: Tensor, skip: Tensor, skip_known: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) and (B, skip_channels, 2 H, 2 W), with their masks -> (B, filters, 2 H, 2 W), (B, 1, 2 H, 2 W)."""
        doubled = self.doubling(features)
        beside = torch.cat([doubled, skip.to(doubled.dtype)], dim=1)
        masks = torch.cat([functional.interpolate(known, scale_factor=2.0, mode="nearest"), skip_known], dim=1)
        features, known = self.convolution(beside, masks)
        return self.activation(self.norm(features)), known


class PconvNetwork(nn.Module):
    """The U-Net: an image with holes and its mask in, an image out."""

    def __init__(self, base_filters: int, depth: int) -> None:
        super().__init__()
        filters = [3, *(base_filters * min(2**place, WIDEST) for place in range(depth))]
        kernels = (*KERNELS_PX, *(3 for _ in range(depth)))
        self.encoder = nn.ModuleList(
            EncoderLayer(filters[place], filters[place + 1], kernels[place], batch_norm=place > 0) for place in range(depth)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(filters[place], filters[place - 1], filters[place - 1], last=place == 1) for place in range(depth, 0, -1)
        )
        self.colours = nn.Sigmoid()

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1], finite in the hole, and (B, 1, H, W) float32 -> (B, 3, H, W) float32 in [0, 1]."""
        features, skips = image, []
        for layer in self.encoder:
            skips.append((features, known))
            features, known = layer(features, known)
        for layer in self.decoder:
            features, known = layer(features, known, *skips.pop())
        colours: Tensor = self.colours(features.float())
        return colours


def depth_of(image_px: int, depth: int) -> int:
    """How many times the encoder halves an image.

    Args:
        image_px: side of the image.
        depth: the knob; 0 = as often as it can be halved down to 2 px, at most 8 times.

    Raises:
        ConfigError: a side that cannot be halved that often.
    """
    possible = 0
    while image_px % 2 ** (possible + 1) == 0 and image_px // 2 ** (possible + 1) >= 2:
        possible += 1
    if possible == 0:
        raise ConfigError(f"the image size must be even and at least 4, but got {image_px}; each layer of the encoder halves it")
    if depth > possible:
        raise ConfigError(
            f"the image size must be a multiple of 2 ** depth = {2**depth} and at least twice that, but got {image_px}; use a depth of at "
            f"most {possible}, or 0 to follow the image"
        )
    return depth or min(possible, DEEPEST)
