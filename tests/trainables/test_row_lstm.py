from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.density_reference import assert_causal_in_intensities, assert_decoders_agree, total_probability
from trainables.data import Batch, Mask
from trainables.density import Decoding
from trainables.errors import ConfigError
from trainables.masked_conv import MaskedConv2d, colour_groups
from trainables.row_lstm import RowLstm, RowLstmConfig, RowLstmLayer, RowLstmNetwork

TINY = RowLstmConfig(hidden=16, layers=2, output_features=30, batch_images=8)


def network(config: RowLstmConfig = TINY, levels: int = 16) -> RowLstmNetwork:
    torch.manual_seed(0)
    return RowLstmNetwork(config, levels)


@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=1, first_kernel_px=3, kernel_px=5)])
def test_logits_depend_on_earlier_values_alone(config: RowLstmConfig) -> None:
    assert_causal_in_intensities(network(config))


def test_probabilities_of_all_images_sum_to_one() -> None:
    assert total_probability(network(levels=2), 2, 2) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", ["argmax", "mean", "sample"])
def test_fast_and_slow_decoders_agree(rule: Any) -> None:
    assert_decoders_agree(network(replace(TINY, hidden=6)), Mask("centre", 4), Decoding(rule), 32, 10, 10)


@pytest.mark.parametrize("mask", [Mask("random_square", 3), Mask("strokes")])
def test_decoders_agree_on_any_hole_and_size(mask: Mask) -> None:
    assert_decoders_agree(network(replace(TINY, hidden=6)), mask, Decoding(), 32, 7, 9)


def test_channels_are_split_into_three_groups() -> None:
    assert colour_groups(7).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert colour_groups(3, blocks=2).tolist() == [0, 1, 2, 0, 1, 2]


def test_masks_by_hand() -> None:
    colours = colour_groups(3)
    first = MaskedConv2d(colours, colours, (2, 3), "A").mask
    second = MaskedConv2d(colours, colours, (2, 3), "B").mask
    for mask in (first, second):
        assert (mask[:, :, 0] == 1).all()  # the row above
        assert (mask[:, :, 1, 0] == 1).all()  # to the left
        assert (mask[:, :, 1, 2] == 0).all()  # to the right
    assert first[:, :, 1, 1].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert second[:, :, 1, 1].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize(("row", "start", "stop"), [(0, 0, 1), (0, 2, 9), (5, 0, 9), (3, 8, 9), (4, 3, 6)])
def test_a_part_of_a_convolution_is_the_whole_ones(row: int, start: int, stop: int) -> None:
    torch.manual_seed(0)
    layer = MaskedConv2d(colour_groups(3), colour_groups(6), (4, 7), "A")
    image = torch.randn(2, 3, 6, 9)
    assert torch.allclose(layer.at(image, row, start, stop), layer(image)[:, :, row : row + 1, start:stop], atol=1e-6)


def test_a_layer_against_the_equations_cell_by_cell() -> None:
    """Gates o, f, i, g from the row and from the three cells above; c = f c_above + i g; h = o tanh(c)."""
    torch.manual_seed(0)
    layer = RowLstmLayer(hidden=3, kernel_px=3).double()
    features = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    entry = layer.input_to_state(features)[0]  # (12, H, W)
    kernel = layer.state_to_state.weight  # (12, 3, 3)
    cells: dict[tuple[int, int], Tensor] = {}
    states: dict[tuple[int, int], Tensor] = {}
    nothing = torch.zeros(3, dtype=torch.float64)
    for row in range(3):
        for column in range(4):
            gates = entry[:, row, column].clone()
            for tap in range(3):
                gates += kernel[:, :, tap] @ states.get((row - 1, column + tap - 1), nothing)
            output, forget, begin, content = gates.reshape(4, 3)
            cell = forget.sigmoid() * cells.get((row - 1, column), nothing) + begin.sigmoid() * content.tanh()
            cells[row, column], states[row, column] = cell, output.sigmoid() * cell.tanh()
    hidden = torch.stack([torch.stack([states[row, column] for column in range(4)], 1) for row in range(3)], 1)
    computed, last_hidden, last_cell = layer(features)
    assert torch.allclose(computed, features + layer.widen(hidden[None]))
    assert torch.allclose(last_hidden[0], hidden[:, 2])
    assert torch.allclose(last_cell[0], torch.stack([cells[2, column] for column in range(4)], 1))


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_training_lowers_the_loss(optimizer: Any) -> None:
    torch.manual_seed(0)
    model = RowLstm(replace(TINY, hidden=8, optimizer=optimizer, learning_rate=3e-3), 8, Mask("centre", 4))
    image = torch.tensor([0.2, 0.8]).repeat(4)[:, None, None, None].expand(8, 3, 8, 8)
    batch = Batch(image, torch.ones(8, 1, 8, 8), 0.0)
    first = model.train_unit([batch])["loss"]
    model.train_unit([batch] * 30)
    assert model.train_unit([batch])["loss"] < 0.5 * first


@pytest.mark.parametrize(
    ("knob", "value", "rule"),
    [("hidden", 1, "at least 2"), ("layers", 0, "at least 1"), ("output_features", 2, "at least 3"), ("kernel_px", 2, "odd")],
)
def test_sizes_that_cannot_be(knob: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"{knob} must be {rule}"):
        RowLstm(replace(TINY, **{knob: value}), 32, Mask())
