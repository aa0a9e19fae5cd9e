from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.trainables.density_reference import assert_causal, assert_decoders_agree, raster_places, total_probability
from trainables.data import Batch, Mask
from trainables.density import Decoding
from trainables.errors import ConfigError
from trainables.flat_row_lstm import FlatRowLstm, FlatRowLstmConfig, FlatRowLstmNetwork, blurred_targets, to_tokens

TINY = FlatRowLstmConfig(hidden=12, embedding=8, batch_images=8)
KINDS = [TINY, replace(TINY, embedding=0), replace(TINY, above=True), replace(TINY, embedding=0, above=True, layers=2)]


def network(config: FlatRowLstmConfig = TINY, levels: int = 16) -> FlatRowLstmNetwork:
    torch.manual_seed(0)
    return FlatRowLstmNetwork(config, levels)


@pytest.mark.parametrize("config", KINDS)
def test_logits_depend_on_earlier_values_alone(config: FlatRowLstmConfig) -> None:
    net = network(config).double().eval()
    values = torch.randint(16, (1, 3, 3, 4), generator=torch.Generator().manual_seed(0))
    leaf = functional.one_hot(values[0].permute(1, 2, 0), 16).double().requires_grad_()  # (H, W, 3, L)
    logits = net.logits(leaf.flatten(0, 2)[:, None], 3, 4)
    assert torch.allclose(logits, net(values))  # one-hot products and selected rows are the same
    assert_causal(logits, raster_places(3, 4), leaf)


@pytest.mark.parametrize("config", KINDS)
def test_probabilities_of_all_images_sum_to_one(config: FlatRowLstmConfig) -> None:
    assert total_probability(network(config, levels=2), 2, 2) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", ["argmax", "mean", "sample"])
def test_fast_and_slow_decoders_agree(rule: Any) -> None:
    assert_decoders_agree(network(levels=32), Mask("centre", 3), Decoding(rule), 32, 9, 9)


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("mask", [Mask("random_square", 3), Mask("strokes")])
def test_decoders_agree_on_any_hole_and_size(config: FlatRowLstmConfig, mask: Mask) -> None:
    assert_decoders_agree(network(config), mask, Decoding(), 32, 6, 5)


def test_tokens_are_pixels_in_raster_order_red_green_blue() -> None:
    values = torch.arange(12).reshape(1, 3, 2, 2)  # red 0-3, green 4-7, blue 8-11
    assert to_tokens(values)[:, 0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_the_second_input_stands_above_the_value_to_come() -> None:
    """With its own map at zero, what enters after token t is the map's row for the token a row above t + 1."""
    net = network(replace(TINY, above=True))
    assert net.above is not None
    torch.nn.init.zeros_(net.embedding.weight)
    tokens = torch.arange(12)[:, None]  # two rows of two pixels, all values different
    entered = net.embed(tokens, 0, 12, width=2)[:, 0]
    assert (entered[:5] == 0).all()  # the values 1 to 5 have no row above
    assert torch.equal(entered[5:], net.above.weight[: 12 - 5])  # after token 5 comes 6, under 0


def test_two_one_hot_inputs_share_no_column() -> None:
    net = network(replace(TINY, embedding=0, above=True))
    entered = net.embed(torch.arange(12)[:, None], 0, 12, width=2)[7, 0]  # after token 7 comes 8, under 2
    assert entered.nonzero()[:, 0].tolist() == [7, 16 + 2]


def test_blurred_targets_against_a_gaussian() -> None:
    targets = blurred_targets(256, 4.0)
    assert torch.allclose(targets.sum(1), torch.ones(256))
    assert float(targets[100, 104] / targets[100, 100]) == pytest.approx(0.60653, abs=1e-4)  # exp(-1/2), one deviation away
    assert torch.equal(targets.argmax(1), torch.arange(256))


@pytest.mark.parametrize("backprop_rows", [0, 1, 3])
def test_pieces_cover_every_value_and_carry_the_state(backprop_rows: int) -> None:
    """Mean loss over the pieces, weighted by length, equals the cross-entropy of the whole image without any update."""
    torch.manual_seed(0)
    model = FlatRowLstm(replace(TINY, backprop_rows=backprop_rows), 8, Mask("centre", 4))
    values = torch.randint(256, (4, 3, 8, 8))
    rows = [min(backprop_rows or 8, 8 - start) for start in range(0, 8, backprop_rows or 8)]
    losses = [float(loss.detach()) for loss in model.losses(values)]
    whole = functional.cross_entropy(model.network(values).flatten(0, -2), values.flatten())
    assert len(losses) == len(rows)
    assert sum(loss * count for loss, count in zip(losses, rows, strict=True)) / 8 == pytest.approx(float(whole.detach()), abs=1e-5)


def test_training_learns_flat_images() -> None:
    torch.manual_seed(0)
    model = FlatRowLstm(replace(TINY, backprop_rows=4, learning_rate=0.02), 8, Mask("centre", 4))
    image = torch.tensor([0.2, 0.8]).repeat(8)[:, None, None, None].expand(16, 3, 8, 8)
    batch = Batch(image, torch.ones(16, 1, 8, 8), 0.0)
    first = model.train_unit([batch])["loss"]
    model.train_unit([batch] * 40)
    assert model.train_unit([batch])["loss"] < 0.1 * first


def test_default_is_the_sources_network() -> None:
    """256 one-hot inputs, 64 units, 256 outputs: 4 * 64 * (256 + 64) weights and two biases of 4 * 64, then the softmax layer."""
    assert FlatRowLstm(FlatRowLstmConfig(), 32, Mask()).parameters == 4 * 64 * (256 + 64) + 2 * 4 * 64 + 64 * 256 + 256


@pytest.mark.parametrize("knob", ["hidden", "layers"])
def test_sizes_that_cannot_be(knob: str) -> None:
    no_size: dict[str, Any] = {knob: 0}
    with pytest.raises(ConfigError, match=f"{knob} must be at least 1"):
        FlatRowLstm(replace(TINY, **no_size), 32, Mask())
