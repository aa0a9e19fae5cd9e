"""Means over iterations: their values, and that nothing of an iteration lives on."""

import gc
import math
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from trainables.running_means import Means, means


def test_each_figure_is_averaged_over_the_iterations_that_have_it() -> None:
    seen = [{"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, {"a": torch.tensor(2.0)}, {"a": torch.tensor(6.0), "b": torch.tensor(-1.0)}]
    assert means(seen) == {"a": 3.0, "b": 2.0}
    assert Means().result() == {}


def test_many_small_values_lose_nothing() -> None:
    assert means({"a": torch.tensor(0.1)} for _ in range(20_000))["a"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_a_value_that_is_not_finite_is_told() -> None:
    assert math.isnan(means([{"a": torch.tensor(1.0)}, {"a": torch.tensor(torch.nan)}])["a"])


def test_no_tensor_of_an_iteration_is_kept() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def iterations() -> Iterator[dict[str, Tensor]]:
        for number in range(5):
            gc.collect()
            assert [reference() for reference in alive[:-1]] == [None] * max(0, number - 1)
            value = (torch.ones(3, requires_grad=True) * number).sum()
            alive.append(weakref.ref(value))
            yield {"a": value}
            del value

    assert means(iterations()) == {"a": 6.0}
