import dataclasses

import pytest

from search_spaces import SPACES, Choice, Interval, Knob

CHOICE = Choice((256, 512), 512, "units", "Table 1", "the table's sizes")
SWITCH = Choice((True, False), True, "", "section 2", "both were tried")
WORDS = Choice(("stride", "pool"), "stride", "", "section 2", "both were tried")
SHARE = Interval(0.0, 0.8, 0.5, "probability", "section 3", "0.4 to 0.8 in the source")
RATE = Interval(1e-5, 1e-2, 1e-3, "per step", "not given in the source", "around the default", log=True)
WIDTH = Interval(0, 8, 0, "px", "section 4", "4 in the source", kind="int")

EVERY_KNOB = [pytest.param(knob, id=f"{model}-{name}") for model, space in SPACES.items() for name, knob in space.items()]


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *[(CHOICE, 256), (CHOICE, 512), (SWITCH, True), (SWITCH, False), (WORDS, "pool")],
        *[(SHARE, 0.0), (SHARE, 0.8), (SHARE, 0), (SHARE, 0.3), (RATE, 1e-5), (RATE, 1e-2), (WIDTH, 0), (WIDTH, 8), (WIDTH, 3)],
    ],
)
def test_holds_what_is_allowed(knob: Knob, value: object) -> None:
    assert knob.holds(value)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        *[(CHOICE, 300), (CHOICE, "512"), (CHOICE, None), (CHOICE, True), (WORDS, "strides"), (WORDS, ""), (WORDS, 0)],
        *[(SHARE, -0.001), (SHARE, 0.801), (SHARE, "0.5"), (SHARE, None), (SHARE, float("nan")), (SHARE, float("inf"))],
        *[(RATE, 0.0), (RATE, 0.1), (WIDTH, 9), (WIDTH, -1), (WIDTH, 2.5), (WIDTH, "2")],
    ],
)
def test_holds_nothing_else(knob: Knob, value: object) -> None:
    assert not knob.holds(value)


def test_true_is_not_one_and_one_is_not_true() -> None:
    assert not Choice((0, 1), 1, "", "s", "r").holds(True)
    assert not Choice((0, 1), 1, "", "s", "r").holds(False)
    assert not SWITCH.holds(1)
    assert not SWITCH.holds(0)
    assert not SWITCH.holds("True")
    assert not SHARE.holds(False)
    assert not WIDTH.holds(True)


def test_allowed_says_every_value_or_both_bounds() -> None:
    assert CHOICE.allowed == "256, 512"
    assert SWITCH.allowed == "True, False"
    assert WORDS.allowed == "stride, pool"
    assert SHARE.allowed == "0 to 0.8"
    assert RATE.allowed == "1e-05 to 0.01, log scale"
    assert WIDTH.allowed == "0 to 8, whole"


@pytest.mark.parametrize("knob", EVERY_KNOB)
def test_every_knob_holds_its_paper_value(knob: Knob) -> None:
    assert knob.holds(knob.paper)


@pytest.mark.parametrize("knob", EVERY_KNOB)
def test_every_knob_says_where_its_value_and_bounds_come_from(knob: Knob) -> None:
    assert knob.source.strip()
    assert knob.reason.strip()


@pytest.mark.parametrize("knob", EVERY_KNOB)
def test_every_knob_leaves_something_to_search(knob: Knob) -> None:
    if isinstance(knob, Choice):
        assert len(knob.values) == len(set(map(repr, knob.values))) >= 2
    else:
        assert knob.low < knob.high
        assert knob.low > 0 or not knob.log  # a logarithmic scale has no zero


@pytest.mark.parametrize("knob", EVERY_KNOB)
def test_knobs_cannot_be_changed(knob: Knob) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        knob.paper = knob.paper  # type: ignore[misc]
