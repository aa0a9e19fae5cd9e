"""What the four density models are checked against: a slow decoder, causality by gradient, and the sum over all small images."""

import itertools

import numpy as np
import torch
from torch import Tensor

from trainables.data import Mask
from trainables.density import COLOURS, Decoding, DensityNetwork, fill_in_raster_order


def decode_slowly(network: DensityNetwork, values: Tensor, hole: Tensor, decoding: Decoding) -> None:
    """Sets the hole's values in place; the whole image goes through the network again for each pixel and colour.

    Args:
        network: in evaluation mode.
        values: (B, 3, H, W) int64.
        hole: (B, H, W) bool.
        decoding: how each level is chosen.
    """
    uniforms = decoding.uniforms(values, hole)
    for row in range(values.shape[2]):
        for column in range(values.shape[3]):
            if not hole[:, row, column].any():
                continue
            for colour in range(COLOURS):
                logits = network(values)[:, colour, row, column]
                chosen = decoding.choose(logits, uniforms[:, colour, row, column])
                values[:, colour, row, column] = torch.where(hole[:, row, column], chosen, values[:, colour, row, column])


@torch.no_grad()
def assert_decoders_agree(network: DensityNetwork, mask: Mask, decoding: Decoding, images: int, height: int, width: int) -> None:
    """Fast and slow decoders must give the same pixels; in float64, where ties by rounding do not occur."""
    network = network.double().eval()
    for weight in network.parameters():
        weight *= 1 + 7 * weight.requires_grad  # untrained networks say nearly the same everywhere
    values = torch.randint(network.levels, (images, COLOURS, height, width), generator=torch.Generator().manual_seed(1))
    side = max(height, width)
    hole = mask.sample(images, side, np.random.default_rng(2))[:, 0, :height, :width] < 0.5
    values = values.masked_fill(hole[:, None], 0)
    fast, slow = values.clone(), values.clone()
    fill_in_raster_order(network.reader(fast), fast, hole, decoding)
    decode_slowly(network, slow, hole, decoding)
    assert torch.equal(fast, slow)
    assert torch.equal(fast.masked_fill(hole[:, None], 0), values)  # known pixels are left as they are
    assert len(fast[hole[:, None].expand_as(fast)].unique()) > 1  # and the fill is no constant


def assert_causal(logits: Tensor, place: Tensor, gradient_of: Tensor, first_informed: int = 1) -> None:
    """Checks every conditional against every value it may and may not depend on.

    Args:
        logits: (1, 3, H, W, L), computed from `gradient_of`.
        place: (H, W, 3) int64, position of each value in raster order.
        gradient_of: a leaf in which the value (row, column, colour) stands at [row, column, colour], (H, W, 3, ...).
        first_informed: the first place whose conditional depends on anything.
    """
    height, width, _ = place.shape
    for row, column, colour in itertools.product(range(height), range(width), range(COLOURS)):
        mix = torch.randn(logits.shape[-1], dtype=logits.dtype, generator=torch.Generator().manual_seed(0))
        wanted = (logits[0, colour, row, column] * mix).sum()
        gradient = torch.autograd.grad(wanted, gradient_of, retain_graph=True, allow_unused=True)[0]
        gradient = torch.zeros_like(gradient_of) if gradient is None else gradient
        strength = gradient.abs().flatten(3).sum(3) if gradient.dim() > 3 else gradient.abs()
        here = place[row, column, colour]
        assert (strength[place >= here] == 0).all(), (row, column, colour)
        if here >= first_informed:
            assert (strength[place < here] > 0).any(), (row, column, colour)


def raster_places(height: int, width: int) -> Tensor:
    """(H, W, 3) int64: 0, 1, 2 for the first pixel's colours, and so on along the rows."""
    return torch.arange(height * width * COLOURS).reshape(height, width, COLOURS)


def assert_causal_in_intensities(network: DensityNetwork, first_informed: int = 1, height: int = 5, width: int = 6) -> None:
    """Causality of a network that takes intensities; its `values` are given as floats, so that they have a gradient."""
    network = network.double().eval()
    generator = torch.Generator().manual_seed(3)
    leaf = (torch.rand(height, width, COLOURS, dtype=torch.float64, generator=generator) * (network.levels - 1)).requires_grad_()
    assert_causal(network(leaf.permute(2, 0, 1)[None]), raster_places(height, width), leaf, first_informed)


@torch.no_grad()
def total_probability(network: DensityNetwork, height: int, width: int) -> float:
    """Sum of the probabilities of all images of a size; one full pass an image, no decoder."""
    network = network.double().eval()
    every = torch.tensor(list(itertools.product(range(network.levels), repeat=COLOURS * height * width)))
    values = every.reshape(-1, COLOURS, height, width)
    chosen = network(values).log_softmax(-1).gather(-1, values[..., None])
    return float(chosen.sum((1, 2, 3, 4)).exp().sum())
