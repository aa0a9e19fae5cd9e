"""Confidence intervals of means over seeds."""

import math

import pytest

from sweeper.separation import estimate, unseparated


def test_the_interval_is_students() -> None:
    """Mean 2, deviation 1, two degrees of freedom: 4.303 from the table of the t distribution."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation, found.count) == (2.0, 1.0, 3)
    assert found.high == pytest.approx(2 + 4.303 / math.sqrt(3), abs=1e-3)
    assert found.low == pytest.approx(2 - 4.303 / math.sqrt(3), abs=1e-3)


def test_a_single_seed_says_nothing_of_the_spread() -> None:
    found = estimate([4.0])
    assert (found.mean, found.deviation, found.low, found.high) == (4.0, None, -math.inf, math.inf)
    assert unseparated({"a": [4.0], "b": [400.0]}, "min") == ["a", "b"]


@pytest.mark.parametrize(("mode", "expected"), [("min", ["low", "near"]), ("max", [])])
def test_the_near_ones_are_named_the_best_first(mode: str, expected: list[str]) -> None:
    values = {"near": [1.0, 1.2, 0.9], "low": [1.0, 1.1, 0.9], "high": [9.0, 9.1, 9.2]}
    assert unseparated(values, mode) == expected


def test_one_configuration_has_nothing_to_be_told_from() -> None:
    assert unseparated({"only": [1.0, 2.0]}, "min") == []
    assert unseparated({}, "min") == []


def test_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])
