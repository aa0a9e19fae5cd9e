"""A convolution that reads known pixels alone and says which of its outputs are known.

Source: `maggiordomo`, section 3.2.1, equations 6 and 7 (after Liu et al. 2018). With weights w and bias b, over a window of N values x of
which those with m = 1 are known:

    x' = sum(w m x) N / sum(m) + b    and  m' = 1    where sum(m) > 0,
    x' = 0                            and  m' = 0    elsewhere.

N counts the values of the window over all channels. Channels that share their mask count it once each, so the ratio is then that of the
pixels, kernel_px ** 2 / sum(m).

Deviations: none. The document does not say how the border counts: here what is padded is unknown and the window keeps its full N, so that
a constant image stays constant up to its edge, as Figure 3 shows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PartialConv2d(nn.Module):
    """The convolution of equations 6 and 7 with square kernels; initial weights after He et al. 2015, bias 0.

    Attributes:
        weight: (filters, in_channels, kernel_px, kernel_px) float32.
        bias: (filters,) float32, or None.
        kernel_size: rows and columns of the window.
        stride: rows and columns from one window to the next.
        padding: unknown rows and columns on each side.
    """

    def __init__(
        self, channels: int | tuple[int, ...], filters: int, kernel_px: int, stride: int = 1, padding: int = 0, *, bias: bool = True
    ) -> None:
        """Builds the layer.

        Args:
            channels: of the input, which share one mask; or, where parts with masks of their own are concatenated, those of each part.
            filters: channels of the output.
            kernel_px: side of the window.
            stride: pixels from one window to the next.
            padding: unknown pixels added on each side.
            bias: whether a bias is added where the output is known.
        """
        super().__init__()
        self.parts = (channels,) if isinstance(channels, int) else tuple(channels)
        self.in_channels, self.out_channels = sum(self.parts), filters
        self.kernel_size = (kernel_px, kernel_px)
        self.stride = (stride, stride)
        self.padding = (padding, padding)
        self.weight = nn.Parameter(torch.empty(filters, self.in_channels, kernel_px, kernel_px))
        self.bias = nn.Parameter(torch.zeros(filters)) if bias else None
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Convolves; no gradient flows through the masks.

        Args:
            features: (B, in_channels, H, W); what is unknown is not read, but must be finite.
            known: (B, P, H, W) float32, a mask for each of the P parts, 1 = known.

        Returns:
            (B, filters, H', W'), 0 where nothing in the window is known, and the updated mask, (B, 1, H', W') float32.
        """
        ratio, updated = self._windows(known)
        known = known.to(features.dtype)
        if len(self.parts) == 1:
            visible = features * known
        else:
            each = zip(torch.split(features, list(self.parts), dim=1), torch.split(known, 1, dim=1), strict=True)
            visible = torch.cat([part * mask for part, mask in each], dim=1)
        output = functional.conv2d(visible, self.weight, None, self.stride, self.padding)
        output = output * ratio.to(output.dtype)
        if self.bias is not None:
            output = output + self.bias[None, :, None, None].to(output.dtype) * updated.to(output.dtype)
        return output, updated

    @torch.no_grad()
    def _windows(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """N / sum(m), 0 where nothing is known, and the updated mask of each window; (B, 1, H', W') each, of the mask's type."""
        rows, columns = self.padding
        padded = functional.pad(known, (columns, columns, rows, rows))
        pixels = functional.avg_pool2d(padded, self.kernel_size, self.stride, divisor_override=1)  # (B, P, H', W')
        values = (pixels * pixels.new_tensor(self.parts)[:, None, None]).sum(1, keepdim=True)
        window = self.in_channels * self.kernel_size[0] * self.kernel_size[1]
        updated = (values > 0).to(known.dtype)
        return updated * window / values.clamp(min=1), updated

    def extra_repr(self) -> str:
        return f"{self.parts}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
