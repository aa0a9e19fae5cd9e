from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.partial_conv import PartialConv2d


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def holes(*shape: int, share: float = 0.6, seed: int = 1) -> Tensor:
    """Random masks; a 5 px square in the middle is unknown everywhere, so that whole windows are."""
    known = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > share).float()
    middle = shape[-1] // 2
    known[:, :, middle - 2 : middle + 3, middle - 2 : middle + 3] = 0
    return known


def written_out(layer: PartialConv2d, features: Tensor, known: Tensor, parts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Equations 6 and 7 in loops over every output, in float64: one mask a channel, padding unknown, N = channels * rows * columns."""
    x, w = features.double().numpy(), layer.weight.detach().double().numpy()
    b = np.zeros(len(w)) if layer.bias is None else layer.bias.detach().double().numpy()
    m = np.concatenate([known[:, place : place + 1].numpy().repeat(channels, 1) for place, channels in enumerate(parts)], 1)
    pad, stride, side = layer.padding[0], layer.stride[0], layer.kernel_size[0]
    edges = ((0, 0), (0, 0), (pad, pad), (pad, pad))
    x, m = np.pad(x, edges), np.pad(m, edges)
    high, wide = ((size - side) // stride + 1 for size in x.shape[2:])
    out, updated = np.zeros((len(x), len(w), high, wide)), np.zeros((len(x), 1, high, wide))
    for image in range(len(x)):
        for row in range(high):
            for column in range(wide):
                window = (image, slice(None), slice(row * stride, row * stride + side), slice(column * stride, column * stride + side))
                if m[window].sum() > 0:
                    ratio = m[window].size / m[window].sum()
                    out[image, :, row, column] = (w * (m[window] * x[window])).sum((1, 2, 3)) * ratio + b
                    updated[image, 0, row, column] = 1
    return out, updated


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel_px", "stride", "padding"), [(3, 1, 1), (3, 1, 0), (5, 2, 2), (7, 2, 3), (4, 3, 1), (3, 2, 4), (1, 1, 0)])
@pytest.mark.parametrize("parts", [(1,), (4,), (3, 2), (1, 1, 1)])
def test_equals_equations_6_and_7_written_out(parts: tuple[int, ...], kernel_px: int, stride: int, padding: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = PartialConv2d(parts if len(parts) > 1 else parts[0], 2, kernel_px, stride, padding, bias=bias)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    features, known = drawn(2, sum(parts), 11, 13), holes(2, len(parts), 11, 13)
    output, updated = layer(features, known)
    expected, expected_known = written_out(layer, features, known, parts)
    np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(updated.numpy(), expected_known)
    assert 0 < expected_known.mean() <= 1


def test_one_output_by_hand() -> None:
    """A window of 4 pixels, 1 to 4, all weights 2, bias 5: with the first two unknown 2 * (3 + 4) * 4 / 2 + 5."""
    layer = PartialConv2d(1, 1, 2)
    torch.nn.init.constant_(layer.weight, 2)
    torch.nn.init.constant_(layer.bias, 5)  # type: ignore[arg-type]
    pixels = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    output, updated = layer(pixels, torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]]))
    assert (output.item(), updated.item()) == (33, 1)
    output, updated = layer(pixels, torch.zeros(1, 1, 2, 2))
    assert (output.item(), updated.item()) == (0, 0)  # no bias either


def test_a_window_that_one_part_alone_knows_counts_the_channels_of_all() -> None:
    """Parts of 3 channels and 1: where only the second is known, N / sum(m) = 4 * 1 / 1."""
    layer = PartialConv2d((3, 1), 1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    features = torch.tensor([10.0, 20.0, 30.0, 2.0])[None, :, None, None]
    output, updated = layer(features, torch.tensor([0.0, 1.0])[None, :, None, None])
    assert (output.item(), updated.item()) == (8, 1)


def test_with_everything_known_it_is_a_convolution_but_for_the_border() -> None:
    layer = PartialConv2d(3, 4, 5, padding=2)
    features = drawn(2, 3, 12, 12)
    output, updated = layer(features, torch.ones(2, 1, 12, 12))
    plain = functional.conv2d(features, layer.weight, layer.bias, padding=2)
    torch.testing.assert_close(output[:, :, 2:-2, 2:-2], plain[:, :, 2:-2, 2:-2])
    corner = functional.conv2d(features, layer.weight, padding=2)[:, :, 0, 0] * 25 / 9  # 3x3 of the 5x5 pixels lie in the image
    torch.testing.assert_close(output[:, :, 0, 0], corner)
    assert float(updated.min()) == 1


def test_a_mean_filter_closes_a_hole_and_keeps_a_constant_image_constant() -> None:
    """Figure 3: 5x5 means, a hole of 9x9 that loses 2 px a side each time, no dark border."""
    layer = PartialConv2d(1, 1, 5, padding=2, bias=False)
    torch.nn.init.constant_(layer.weight, 1 / 25)
    known = torch.ones(1, 1, 25, 25)
    known[:, :, 8:17, 8:17] = 0
    image = 0.7 * known
    for margin in (2, 4):
        image, known = layer(image, known)
        expected = torch.ones(25, 25)
        expected[8 + margin : 17 - margin, 8 + margin : 17 - margin] = 0
        assert torch.equal(known[0, 0], expected)
        torch.testing.assert_close(image[0, 0].detach(), 0.7 * expected)
    image, known = layer(image, known)
    assert float(known.min()) == 1
    torch.testing.assert_close(image.detach(), torch.full((1, 1, 25, 25), 0.7))


@pytest.mark.parametrize("parts", [(2,), (2, 1)])
def test_gradients_equal_finite_differences(parts: tuple[int, ...]) -> None:
    layer = PartialConv2d(parts if len(parts) > 1 else parts[0], 2, 3, stride=2, padding=1).double()
    features, known = drawn(1, sum(parts), 7, 7).double().requires_grad_(), holes(1, len(parts), 7, 7, share=0.4).double()

    def output(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result: tuple[Tensor, Tensor] = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (features, known))
        return result[0]

    assert torch.autograd.gradcheck(output, (features, layer.weight, layer.bias))  # type: ignore[no-untyped-call]


def test_what_is_unknown_is_neither_read_nor_given_a_gradient() -> None:
    layer = PartialConv2d((2, 1), 3, 3, padding=1)
    features, known = drawn(2, 3, 9, 9), holes(2, 2, 9, 9)
    each = torch.cat([known[:, :1].expand(-1, 2, -1, -1), known[:, 1:]], 1)
    other = torch.where(each > 0, features, 100.0).requires_grad_()
    output, updated = layer(other, known)
    assert torch.equal(output, layer(features, known)[0])
    assert not updated.requires_grad
    output.square().sum().backward()
    assert other.grad is not None
    assert float(other.grad[each == 0].abs().max()) == 0
    assert float(other.grad[each > 0].abs().min()) > 0


def test_under_bfloat16_the_mask_is_exact() -> None:
    """512 channels of a 3x3 window count to 4608, which bfloat16 cannot tell from 4600."""
    layer = PartialConv2d((512, 1), 2, 3, padding=1)
    features, known = drawn(1, 513, 8, 8), holes(1, 2, 8, 8)
    exact, updated = layer(features, known)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, updated_too = layer(features, known)
    assert rounded.dtype == torch.bfloat16
    assert updated_too.dtype == torch.float32
    assert torch.equal(updated, updated_too)
    torch.testing.assert_close(rounded.float(), exact, atol=0.03 * float(exact.detach().abs().max()), rtol=0)


def test_initial_weights_keep_the_scale_of_rectified_features() -> None:
    """He et al. 2015: a variance of 2 / (channels * kernel area)."""
    torch.manual_seed(0)
    layer = PartialConv2d(64, 64, 3)
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert float(layer.bias.detach().abs().max()) == 0  # type: ignore[union-attr]


def test_it_builds_and_runs_without_memory_for_its_weights() -> None:
    with torch.device("meta"):
        layer = PartialConv2d(3, 8, 5, stride=2, padding=2)
        output, updated = layer(torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16))
    assert (output.shape, updated.shape) == ((1, 8, 8, 8), (1, 1, 8, 8))
    assert (layer.kernel_size, layer.stride, layer.padding) == ((5, 5), (2, 2), (2, 2))
