from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.density_reference import assert_causal_in_intensities, assert_decoders_agree, total_probability
from trainables.data import Batch, Mask
from trainables.density import Decoding
from trainables.diagonal_bilstm import DiagonalBilstm, DiagonalBilstmConfig, DiagonalBilstmLayer, DiagonalBilstmNetwork, skew, unskew
from trainables.errors import ConfigError

TINY = DiagonalBilstmConfig(hidden=16, layers=2, output_features=30, batch_images=8)


def network(config: DiagonalBilstmConfig = TINY, levels: int = 16) -> DiagonalBilstmNetwork:
    torch.manual_seed(0)
    return DiagonalBilstmNetwork(config, levels)


@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=1, first_kernel_px=3)])
def test_logits_depend_on_earlier_values_alone(config: DiagonalBilstmConfig) -> None:
    assert_causal_in_intensities(network(config))


def test_probabilities_of_all_images_sum_to_one() -> None:
    assert total_probability(network(levels=2), 2, 2) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", ["argmax", "mean", "sample"])
def test_fast_and_slow_decoders_agree(rule: Any) -> None:
    assert_decoders_agree(network(replace(TINY, hidden=6)), Mask("centre", 4), Decoding(rule), 32, 10, 10)


@pytest.mark.parametrize("mask", [Mask("random_square", 3), Mask("strokes")])
def test_decoders_agree_on_any_hole_and_size(mask: Mask) -> None:
    assert_decoders_agree(network(replace(TINY, hidden=6)), mask, Decoding(), 32, 7, 9)


def test_skewing_by_hand() -> None:
    maps = torch.tensor([[1, 2, 3], [4, 5, 6]])[..., None]
    assert skew(maps)[..., 0].tolist() == [[1, 2, 3, 0], [0, 4, 5, 6]]
    assert torch.equal(unskew(skew(maps)), maps)


@pytest.mark.parametrize(("height", "width"), [(1, 4), (4, 1), (5, 3), (3, 5)])
def test_unskewing_undoes_skewing(height: int, width: int) -> None:
    maps = torch.randn(2, 3, height, width, 4)
    assert torch.equal(unskew(skew(maps)), maps)


def swept(gates: Tensor, beside: Tensor, above: Tensor, columns: range) -> dict[tuple[int, int], Tensor]:
    """Hidden states of one direction, cell by cell; gates (H, W, 4h) from the input."""
    units = gates.shape[-1] // 4
    nothing = torch.zeros(units, dtype=gates.dtype)
    states: dict[tuple[int, int], Tensor] = {}
    for row in range(len(gates)):
        cell = nothing
        for column in columns:
            side = states.get((row, column - columns.step), nothing)
            mixed = gates[row, column] + side @ beside + states.get((row - 1, column), nothing) @ above
            output, forget, begin, content = mixed.reshape(4, units)
            cell = forget.sigmoid() * cell + begin.sigmoid() * content.tanh()
            states[row, column] = output.sigmoid() * cell.tanh()
    return states


def test_a_layer_against_the_equations_cell_by_cell() -> None:
    torch.manual_seed(0)
    layer = DiagonalBilstmLayer(hidden=3).double()
    features = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    entry = layer.input_to_state(features)[0].permute(1, 2, 0)  # (H, W, 24)
    left = swept(entry[..., :12], layer.from_beside[0], layer.from_above[0], range(4))
    right = swept(entry[..., 12:], layer.from_beside[1], layer.from_above[1], range(3, -1, -1))
    hidden = torch.zeros(1, 3, 3, 4, dtype=torch.float64)
    for row in range(3):
        for column in range(4):
            hidden[0, :, row, column] = left[row, column] + (right[row - 1, column] if row else 0)
    computed, last = layer(features)
    assert torch.allclose(computed, features + layer.widen(hidden))
    for column in range(4):
        assert torch.allclose(last[0, 0, column], left[2, column])
        assert torch.allclose(last[1, 0, column], right[2, column])


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_training_lowers_the_loss(optimizer: Any) -> None:
    torch.manual_seed(0)
    model = DiagonalBilstm(replace(TINY, hidden=8, optimizer=optimizer, learning_rate=3e-3), 8, Mask("centre", 4))
    image = torch.tensor([0.2, 0.8]).repeat(4)[:, None, None, None].expand(8, 3, 8, 8)
    batch = Batch(image, torch.ones(8, 1, 8, 8), 0.0)
    first = model.train_unit([batch])["loss"]
    model.train_unit([batch] * 30)
    assert model.train_unit([batch])["loss"] < 0.5 * first


@pytest.mark.parametrize(
    ("knob", "value", "rule"),
    [("hidden", 1, "at least 2"), ("layers", 0, "at least 1"), ("output_features", 2, "at least 3"), ("first_kernel_px", 4, "odd")],
)
def test_sizes_that_cannot_be(knob: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"{knob} must be {rule}"):
        DiagonalBilstm(replace(TINY, **{knob: value}), 32, Mask())
