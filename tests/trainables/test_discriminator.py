import copy
from typing import Any

import pytest
import torch
from torch import nn

from trainables.backbones import Style
from trainables.discriminator import Discriminator, leaky_relu
from trainables.errors import ConfigError


@pytest.mark.parametrize("backbone", ["plain", "vgg", "inception", "resnet"])
@pytest.mark.parametrize("side_px", [8, 16, 32, 64])
def test_one_score_an_image(backbone: Any, side_px: int) -> None:
    network = Discriminator(backbone, 16, side_px, Style())
    scores = network(torch.rand(3, 3, side_px, side_px))
    assert scores.shape == (3,)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("side_px", [2, 6, 12, 30, 100, 128])
def test_plain_takes_any_size(side_px: int) -> None:
    assert Discriminator("plain", 16, side_px, Style())(torch.rand(2, 3, side_px, side_px)).shape == (2,)


@pytest.mark.parametrize(("side_px", "kernels"), [(32, [3, 3, 3, 3, 3, 1]), (8, [3, 3, 3, 1, 1, 1])])
def test_plain_is_six_stride_2_convolutions_and_one_to_depth_1(side_px: int, kernels: list[int]) -> None:
    network = Discriminator("plain", 16, side_px, Style())
    convolutions = [layer for layer in network.trunk.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.stride for layer in convolutions] == [(2, 2)] * 6
    assert [layer.kernel_size[0] for layer in convolutions] == kernels
    assert [layer.out_channels for layer in convolutions] == [16, 32, 64, 128, 128, 128]
    assert network.head.out_channels == 1


def test_a_norm_follows_every_layer_of_plain_but_the_first() -> None:
    layers = list(Discriminator("plain", 16, 32, Style()).trunk)
    assert [type(layer) for layer in layers[:5]] == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 5


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("backbone", ["plain", "vgg", "inception", "resnet"])
def test_both_at_once_are_two_calls(backbone: Any, affine: bool) -> None:
    """In float64: scores, gradients and the norms' running statistics."""
    torch.manual_seed(0)
    network = Discriminator(backbone, 16, 16, Style(activation=leaky_relu, norm_affine=affine)).double()
    twin = copy.deepcopy(network)
    real, fake = torch.rand(2, 4, 3, 16, 16, dtype=torch.float64)
    apart, together = (network(real), network(fake)), twin.both(real, fake)
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other)
    for scores in (apart, together):
        (scores[0].sin().sum() - scores[1].exp().sum()).backward()
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(network.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_every_layer_is_told_how_to_leak() -> None:
    assert leaky_relu()(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([-0.2, 2.0])


def test_the_score_sees_the_whole_image() -> None:
    """Every pixel has some influence: the gradient of the score is nowhere zero."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    Discriminator("plain", 16, 32, Style(activation=leaky_relu, batch_norm=False))(image).sum().backward()
    assert image.grad is not None
    assert (image.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("backbone", ["vgg", "inception", "resnet"])
def test_a_size_that_a_backbone_cannot_shrink(backbone: Any) -> None:
    with pytest.raises(ConfigError, match="multiple of 8 px wide, but got 12"):
        Discriminator(backbone, 16, 12, Style())
