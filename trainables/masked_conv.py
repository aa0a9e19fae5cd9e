"""Convolutions that look back only: masked over space and over the three colours.

Channels come in three groups, red, green and blue, of as equal a size as their number allows. At the pixel itself, a layer of kind "A"
lets a group see the groups before it, one of kind "B" its own as well; pixels before it in raster order are seen whole.

Notation:
    B: images, C: channels, H, W: height and width, K: side of the kernel.

Source: van den Oord et al. 2016, Pixel Recurrent Neural Networks, section 3.4 (Masked Convolution), masks A and B.
Deviations: none.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["A", "B"]
GROUPS = 3


def colour_groups(channels: int, blocks: int = 1) -> Tensor:
    """Group of each channel: `blocks` blocks of `channels` channels, each block split into three; (blocks * channels,) int64."""
    return (torch.arange(channels) * GROUPS // channels).repeat(blocks)


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 over rows at and above the pixel, the last of them only as far as the pixel; size is kept."""

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor, kernel: tuple[int, int], kind: Kind) -> None:
        """Builds the layer.

        Args:
            inputs: (C_in,) int64, group of each input channel.
            outputs: (C_out,) int64, group of each output channel.
            kernel: rows (the pixel's own and those above it) and columns (odd).
            kind: see the module.
        """
        super().__init__(len(inputs), len(outputs), kernel)
        self.kind = kind
        rows, columns = kernel
        mask = torch.ones(len(outputs), len(inputs), rows, columns)
        mask[:, :, -1, columns // 2 + 1 :] = 0
        seen = inputs[None] < outputs[:, None] if kind == "A" else inputs[None] <= outputs[:, None]
        mask[:, :, -1, columns // 2] = seen.float()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        rows, columns = self.kernel_size
        padded = functional.pad(image, (columns // 2, columns // 2, rows - 1, 0))
        return functional.conv2d(padded, self.weight * self.mask, self.bias)

    def at(self, image: Tensor, row: int, start: int, stop: int) -> Tensor:
        """The output at columns `start` to `stop` (excluded) of one row, (B, C_out, 1, stop - start); a product, fast on few columns."""
        rows, columns = self.kernel_size
        reach, width = columns // 2, image.shape[3]
        window = image[:, :, max(row - rows + 1, 0) : row + 1, max(start - reach, 0) : stop + reach]
        sides = (max(reach - start, 0), max(stop + reach - width, 0), max(rows - 1 - row, 0), 0)
        seen = functional.pad(window, sides).unfold(3, columns, 1)  # (B, C_in, rows, stop - start, columns)
        product = functional.linear(seen.permute(0, 3, 1, 2, 4).flatten(2), (self.weight * self.mask).flatten(1), self.bias)
        return product.transpose(1, 2)[:, :, None]

    def at_pixel(self, features: Tensor) -> Tensor:
        """A 1x1 layer at single pixels: (N, C_in) -> (N, C_out)."""
        return functional.linear(features, (self.weight * self.mask)[:, :, 0, 0], self.bias)
