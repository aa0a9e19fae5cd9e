"""Convolutional trunks that bring an image to an eighth of its size: `plain`, `vgg`, `inception`, `resnet`.

Each serves as an encoder and as the trunk of a discriminator. All have three stages of base, 2 * base and 4 * base filters:

    (B, 3, H, W) -> (B, 4 * base_filters, H / 8, W / 8), H and W multiples of 8

Source: `beyond_cnns`, sections Autoencoders (plain) and Deep Convolutional GANs: VGG, Inception and ResNet "adjusted to operate on our
smaller inputs" by "removing the first layers with dimensions higher than 32x32" and by reducing "the depth and the number of filters".
The original networks are its references [16], [17] and [21].

Deviations:
  - The document gives neither depth nor filters of the reduced networks; they stand at each function. Filters double from stage to
    stage as in `plain`, so that one knob sets the width of all four.
  - The document calls its networks pre-trained; with other filters and another input no published weights fit, so all start at random.
  - Batch norm follows every convolution where it is on; the original VGG and Inception have none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.dropout import Dropout

STAGES = 3
SHRINKING = 2**STAGES

Backbone = Literal["plain", "vgg", "inception", "resnet"]


@dataclass(frozen=True)
class Style:
    """What the layers of a backbone have in common.

    Attributes:
        activation: makes one activation.
        batch_norm: after every convolution.
        norm_affine: batch norm has a trained scale and shift.
        dropout: probability after every activation; 0 = none.
        kernel_px: side of `plain`'s filters; odd. The other backbones have their own.
        downsampling: of `plain`: "stride" gives the last convolution of a stage a stride of 2, "pool" adds a 2x2 max pooling.
    """

    activation: Callable[[], nn.Module] = nn.ReLU
    batch_norm: bool = True
    norm_affine: bool = True
    dropout: float = 0.0
    kernel_px: int = 3
    downsampling: Literal["stride", "pool"] = "stride"


def finished(style: Style, layer: nn.Module, width: int, norm: type[nn.BatchNorm1d | nn.BatchNorm2d] = nn.BatchNorm2d) -> list[nn.Module]:
    """A layer with its batch norm, activation and dropout.

    Args:
        style: says which of these there are.
        layer: a convolution or a linear layer; without a bias where batch norm follows.
        width: its channels.
        norm: the kind of batch norm that fits it.

    Returns:
        The modules in their order.
    """
    layers = [layer]
    if style.batch_norm:
        layers.append(norm(width, affine=style.norm_affine))
    layers.append(style.activation())
    if style.dropout > 0:
        layers.append(Dropout(style.dropout))
    return layers


def plain(style: Style, base_filters: int) -> nn.Sequential:
    """[Conv - Conv / 2] x 3, or [Conv - Conv - Pool2] x 3: the document's own encoder."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(STAGES):
        filters = base_filters * 2**stage
        last_stride = 2 if style.downsampling == "stride" else 1
        layers += _conv(style, channels, filters, style.kernel_px)
        layers += _conv(style, filters, filters, style.kernel_px, last_stride)
        if style.downsampling == "pool":
            layers.append(nn.MaxPool2d(2))
        channels = filters
    return nn.Sequential(*layers)


def vgg(style: Style, base_filters: int) -> nn.Sequential:
    """VGG-16's pattern of 3x3 convolutions and max pooling: two, two and three convolutions (of thirteen)."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, depth in enumerate((2, 2, 3)):
        filters = base_filters * 2**stage
        for _ in range(depth):
            layers += _conv(style, channels, filters, 3)
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def inception(style: Style, base_filters: int) -> nn.Sequential:
    """GoogLeNet's pattern: a convolution, then three (of nine) inception modules, with max pooling between the stages."""
    narrow, middle, wide = base_filters, 2 * base_filters, 4 * base_filters
    return nn.Sequential(
        *_conv(style, 3, narrow, 3),
        nn.MaxPool2d(2),
        InceptionModule(style, narrow, middle),
        nn.MaxPool2d(2),
        InceptionModule(style, middle, wide),
        InceptionModule(style, wide, wide),
        nn.MaxPool2d(2),
    )


def resnet(style: Style, base_filters: int) -> nn.Sequential:
    """ResNet-18's pattern: a convolution, then three (of four) stages of two residual blocks, the first of each with stride 2."""
    layers: list[nn.Module] = _conv(style, 3, base_filters, 3)
    channels = base_filters
    for stage in range(STAGES):
        filters = base_filters * 2**stage
        layers += [ResidualBlock(style, channels, filters, 2), ResidualBlock(style, filters, filters, 1)]
        channels = filters
    return nn.Sequential(*layers)


BACKBONES: dict[str, Callable[[Style, int], nn.Sequential]] = {"plain": plain, "vgg": vgg, "inception": inception, "resnet": resnet}


class InceptionModule(nn.Module):
    """Four branches side by side: 1x1, 3x3, 5x5 and pooling, with 1/4, 1/2, 1/8 and 1/8 of the filters."""

    def __init__(self, style: Style, channels: int, filters: int) -> None:
        super().__init__()
        quarter, eighth = filters // 4, filters // 8
        half = filters - quarter - 2 * eighth
        self.single = nn.Sequential(*_conv(style, channels, quarter, 1))
        self.three = nn.Sequential(*_conv(style, channels, quarter, 1), *_conv(style, quarter, half, 3))
        self.five = nn.Sequential(*_conv(style, channels, eighth, 1), *_conv(style, eighth, eighth, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), *_conv(style, channels, eighth, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H, W)."""
        return torch.cat([self.single(features), self.three(features), self.five(features), self.pooled(features)], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where size or depth changes."""

    def __init__(self, style: Style, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(style, channels, filters, 3, stride),
            *_linear_conv(style, filters, filters, 3, 1),
        )
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else nn.Sequential(*_linear_conv(style, channels, filters, 1, stride))
        self.end = nn.Sequential(style.activation(), Dropout(style.dropout)) if style.dropout > 0 else style.activation()

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, filters, H / stride, W / stride)."""
        result: Tensor = self.end(self.body(features) + self.shortcut(features))
        return result


def _conv(style: Style, channels: int, filters: int, kernel_px: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, or divides it by the stride, with what follows it."""
    return finished(style, nn.Conv2d(channels, filters, kernel_px, stride, kernel_px // 2, bias=not style.batch_norm), filters)


def _linear_conv(style: Style, channels: int, filters: int, kernel_px: int, stride: int) -> list[nn.Module]:
    """As `_conv`, without activation and dropout."""
    layer = nn.Conv2d(channels, filters, kernel_px, stride, kernel_px // 2, bias=not style.batch_norm)
    return [layer, nn.BatchNorm2d(filters, affine=style.norm_affine)] if style.batch_norm else [layer]
