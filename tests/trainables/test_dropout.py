import pytest
import torch
from torch import nn

from trainables.dropout import Dropout

COUNT = 2**18


def dropped(p: float, seed: int = 0, values: torch.Tensor | None = None) -> torch.Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(COUNT) if values is None else values)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.8])
def test_the_share_is_dropped_and_the_rest_keeps_the_mean(p: float) -> None:
    result = dropped(p)
    kept = result != 0
    assert float(kept.float().mean()) == pytest.approx(1 - p, abs=5 * (p * (1 - p) / COUNT) ** 0.5)  # five standard errors
    assert torch.equal(result[kept], torch.full((int(kept.sum()),), 1 / (1 - p)))


def test_values_are_dropped_independently_of_their_neighbours() -> None:
    kept = (dropped(0.5) != 0).double() - 0.5
    for distance in (1, 2, 3, 4, 8, 1024):
        together = float((kept[distance:] * kept[:-distance]).mean()) * 4  # -1 to 1, of COUNT tosses
        assert abs(together) < 5 * COUNT**-0.5, distance


def test_the_seed_decides_and_each_call_draws_again() -> None:
    assert torch.equal(dropped(0.5), dropped(0.5))
    assert not torch.equal(dropped(0.5), dropped(0.5, seed=1))
    torch.manual_seed(0)
    layer = Dropout(0.5)
    assert not torch.equal(layer(torch.ones(COUNT)), layer(torch.ones(COUNT)))


def test_the_gradient_goes_where_the_value_went() -> None:
    values = torch.randn(4, 3, 8, 8).requires_grad_()
    result = dropped(0.5, values=values)
    result.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values.detach(), result.detach())
    assert set(values.grad.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 5, 5)])
def test_shape_type_and_order_in_memory_stay(shape: tuple[int, ...]) -> None:
    values = torch.ones(shape, dtype=torch.bfloat16)
    if len(shape) == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    result = dropped(0.5, values=values)
    assert (result.shape, result.dtype, result.stride()) == (values.shape, values.dtype, values.stride())
    assert torch.equal(values, torch.ones_like(values))
    assert set(result.unique().tolist()) <= {0.0, 2.0}


def test_evaluation_and_the_two_ends_are_those_of_torch() -> None:
    values = torch.randn(100)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)
    assert torch.equal(Dropout(1.0)(values), torch.zeros(100))
    assert isinstance(Dropout(0.5), nn.Dropout)
