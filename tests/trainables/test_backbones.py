from typing import Any

import pytest
import torch
from torch import nn

from trainables.backbones import BACKBONES, InceptionModule, ResidualBlock, Style, finished
from trainables.dropout import Dropout

every_backbone = pytest.mark.parametrize("name", BACKBONES)


def layers_of(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


@every_backbone
@pytest.mark.parametrize("image_px", [8, 24, 32, 64])
@pytest.mark.parametrize("base_filters", [16, 32])
def test_an_eighth_of_the_size_and_four_times_the_filters(name: str, image_px: int, base_filters: int) -> None:
    network = BACKBONES[name](Style(), base_filters)
    features = network(torch.rand(2, 3, image_px, image_px))
    assert features.shape == (2, 4 * base_filters, image_px // 8, image_px // 8)
    assert torch.isfinite(features).all()


@every_backbone
@pytest.mark.parametrize("batch_norm", [True, False])
def test_style_reaches_every_layer(name: str, batch_norm: bool) -> None:
    network = BACKBONES[name](Style(activation=nn.ELU, batch_norm=batch_norm, dropout=0.25), 16)
    convolutions, norms = layers_of(network, nn.Conv2d), layers_of(network, nn.BatchNorm2d)
    assert len(norms) == (len(convolutions) if batch_norm else 0)
    assert all((layer.bias is None) == batch_norm for layer in convolutions)
    assert not layers_of(network, nn.ReLU)
    assert len(layers_of(network, nn.Dropout)) == len(layers_of(network, nn.ELU)) > 0
    assert {layer.p for layer in layers_of(network, nn.Dropout)} == {0.25}


@every_backbone
def test_no_dropout_layer_without_dropout(name: str) -> None:
    assert not layers_of(BACKBONES[name](Style(), 16), nn.Dropout)


@every_backbone
def test_a_norm_without_scale_and_shift_has_no_weights(name: str) -> None:
    norms = layers_of(BACKBONES[name](Style(norm_affine=False), 16), nn.BatchNorm2d)
    assert norms
    assert all(not list(norm.parameters()) for norm in norms)


@every_backbone
def test_every_weight_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    network = BACKBONES[name](Style(activation=nn.ELU), 16)
    (network(torch.rand(4, 3, 32, 32)) ** 2).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


# Convolution weights by hand, base 16: kernel area x channels in x channels out.
PLAIN = 9 * (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
VGG = PLAIN + 9 * 64 * 64  # one more in the last stage
# Modules of (channels in, quarter, half, eighth): 1x1, 1x1 then 3x3, 1x1 then 5x5, 1x1 after pooling.
INCEPTION = 9 * 3 * 16 + sum(
    c * quarter + c * quarter + 9 * quarter * half + c * eighth + 25 * eighth * eighth + c * eighth
    for c, quarter, half, eighth in ((16, 8, 16, 4), (32, 16, 32, 8), (64, 16, 32, 8))
)
# A stem, and per stage four 3x3 convolutions and a 1x1 shortcut.
RESNET = 9 * 3 * 16 + sum(9 * (c * f + 3 * f * f) + c * f for c, f in ((16, 16), (16, 32), (32, 64)))


@pytest.mark.parametrize(("name", "expected"), [("plain", PLAIN), ("vgg", VGG), ("inception", INCEPTION), ("resnet", RESNET)])
def test_convolution_weights_worked_out_by_hand(name: str, expected: int) -> None:
    network = BACKBONES[name](Style(), 16)
    assert sum(weight.numel() for weight in network.parameters() if weight.dim() == 4) == expected


@pytest.mark.parametrize("kernel_px", [3, 5, 7])
@pytest.mark.parametrize("downsampling", ["stride", "pool"])
def test_plain_follows_kernel_and_downsampling(kernel_px: int, downsampling: str) -> None:
    network = BACKBONES["plain"](Style(kernel_px=kernel_px, downsampling=downsampling), 16)  # type: ignore[arg-type]
    convolutions = layers_of(network, nn.Conv2d)
    assert {layer.kernel_size for layer in convolutions} == {(kernel_px, kernel_px)}
    assert [layer.stride[0] for layer in convolutions] == ([1, 2] * 3 if downsampling == "stride" else [1] * 6)
    assert len(layers_of(network, nn.MaxPool2d)) == (3 if downsampling == "pool" else 0)


def test_a_residual_block_with_a_silent_body_passes_its_input_on() -> None:
    block = ResidualBlock(Style(batch_norm=False), 4, 4, 1)
    for layer in layers_of(block.body, nn.Conv2d):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    features = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(features), features)  # positive, so ReLU leaves it


def test_an_inception_module_keeps_its_branches_in_order() -> None:
    module = InceptionModule(Style(batch_norm=False), 8, 16)
    features = torch.rand(2, 8, 4, 4)
    result = module(features)
    assert result.shape == (2, 16, 4, 4)
    assert torch.equal(result[:, :4], module.single(features))
    assert torch.equal(result[:, 4:12], module.three(features))
    assert torch.equal(result[:, 12:14], module.five(features))
    assert torch.equal(result[:, 14:], module.pooled(features))


def test_what_follows_a_layer_stands_in_order() -> None:
    layers = finished(Style(dropout=0.5), nn.Linear(2, 3), 3, nn.BatchNorm1d)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, Dropout]
