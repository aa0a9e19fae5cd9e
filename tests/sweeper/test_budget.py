"""What is counted, and which limit ends a sweep; the clock is turned by hand."""

from typing import Any

import pytest

from sweeper.budget import HOUR_S, Meter, Spending, price_an_hour
from sweeper.spec import Budget


class Clock:
    """Seconds that go on when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def meter(clock: Clock, gpus: float = 0.5, before: Spending = Spending(), **limits: Any) -> Meter:  # noqa: B008 - frozen
    return Meter(Budget(trials=1, epochs=1, **limits), gpus, lambda: ["big", "small", "small"], before, clock)


def test_time_counts_between_resume_and_pause_alone() -> None:
    clock = Clock()
    own = meter(clock, before=Spending(wall_s=10))
    clock.now = 100
    own.resume()
    clock.now = 130
    own.pause()
    clock.now = 500
    assert own.spent().wall_s == 40


def test_accelerator_hours_are_those_that_trials_hold() -> None:
    clock = Clock()
    own = meter(clock)
    own.resume()
    own.started()
    clock.now = HOUR_S
    own.started()
    clock.now = 2 * HOUR_S
    own.ended()
    clock.now = 4 * HOUR_S
    assert own.spent().accelerator_h == 0.5 * 1 + 1.0 * 1 + 0.5 * 2


def test_a_trial_of_two_gpus_counts_both() -> None:
    clock = Clock()
    own = meter(clock, gpus=2, accelerator_h=3)
    own.resume()
    own.started()
    clock.now = HOUR_S
    assert (own.spent().accelerator_h, own.reached()) == (2, "")
    clock.now = 1.5 * HOUR_S
    assert own.reached() == "the sweep's accelerator-hours were spent"


def test_all_nodes_cost_whether_busy_or_not() -> None:
    assert price_an_hour({"big": 3.0, "default": 0.25}, ["big", "small", "small"]) == 3.5
    assert price_an_hour({"big": 3.0}, ["small"]) == 0
    clock = Clock()
    own = meter(clock, prices={"big": 3.0, "default": 0.25}, cost=7.0)
    own.resume()
    clock.now = HOUR_S
    assert own.spent().cost == pytest.approx(3.5)
    assert own.reached() == ""
    clock.now = 2 * HOUR_S
    assert own.reached() == "the sweep's money was spent"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"wall_s": 60}, "the sweep's time was spent"),
        ({"accelerator_h": 0.001}, "the sweep's accelerator-hours were spent"),
        ({"wall_s": 61}, ""),
        ({}, ""),
    ],
)
def test_the_first_limit_that_is_reached_is_named(limits: dict[str, float], said: str) -> None:
    clock = Clock()
    own = meter(clock, **limits)
    own.resume()
    own.started()
    clock.now = 60
    assert own.reached() == said


def test_what_comes_after_is_left_over() -> None:
    clock = Clock()
    own = meter(clock, gpus=1, wall_s=100)
    own.resume()
    clock.now = 50
    share = own.share(trial_s=20, trials=3, at_once=2)  # two rounds
    assert share.wall_s == 40
    assert share.accelerator_h == pytest.approx(60 / HOUR_S)
    assert own.reached(share) == ""
    clock.now = 60
    assert own.reached(share) == "the sweep's time was spent"
    assert own.reached() == ""
