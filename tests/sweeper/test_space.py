"""From a spec's knobs to what is searched."""

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.rooms import Rooms
from sweeper.space import KnobSearch, first_configuration, grid, resolve_knobs
from sweeper.spec import Spec

TinySpec = Callable[..., Spec]


def searched(tiny_spec: TinySpec, rooms: Rooms, **knobs: Any) -> dict[str, KnobSearch]:
    return resolve_knobs(tiny_spec(knobs=knobs, budget={"trials": 2}, search={"algorithm": "grid"}), rooms)


def test_every_documented_knob_is_there_and_keeps_the_papers_value(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms)
    assert list(found) == list(rooms.spaces["cnn_autoencoder"])
    given = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0}
    for name, knob in rooms.spaces["cnn_autoencoder"].items():
        assert found[name].fixed
        assert found[name].first == given.get(name, knob.paper)


def test_a_list_is_searched_and_starts_with_the_papers_value_where_it_has_it(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms, bottleneck=[256, 512, 256], kernel_px=[5, 7], neck=["conv"])
    assert (found["bottleneck"].values, found["bottleneck"].first) == ((256, 512), 512)  # the paper's 512, twice named 256
    assert (found["kernel_px"].values, found["kernel_px"].first) == ((5, 7), 5)  # the paper's 3 is not searched
    assert found["neck"].fixed


def test_search_takes_the_whole_documented_range(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms, neck="search", learning_rate="search", overlap_px="search")
    assert (found["neck"].values, found["neck"].first) == (("fc", "conv"), "fc")
    rate = found["learning_rate"]
    assert (rate.low, rate.high, rate.log, rate.whole, rate.first) == (1e-5, 1e-2, True, False, 1e-3)
    overlap = found["overlap_px"]
    assert (overlap.low, overlap.high, overlap.log, overlap.whole, overlap.first) == (0, 8, False, True, 0)


@pytest.mark.parametrize(
    ("low", "high", "first"), [(1e-4, 1e-2, 1e-3), (2e-3, 1e-2, 2e-3), (1e-5, 5e-4, 5e-4)], ids=["inside", "above", "below"]
)
def test_a_range_starts_with_the_papers_value_or_the_nearest(
    low: float, high: float, first: float, tiny_spec: TinySpec, rooms: Rooms
) -> None:
    assert searched(tiny_spec, rooms, learning_rate={"low": low, "high": high})["learning_rate"].first == first


def test_a_range_may_change_the_scale(tiny_spec: TinySpec, rooms: Rooms) -> None:
    assert not searched(tiny_spec, rooms, learning_rate={"low": 1e-4, "high": 1e-2, "log": False})["learning_rate"].log
    assert searched(tiny_spec, rooms, dropout={"low": 0.1, "high": 0.4, "log": True})["dropout"].log


def test_the_grid_of_a_range_is_spread_over_its_scale(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(
        tiny_spec,
        rooms,
        learning_rate={"low": 1e-4, "high": 1e-2},
        dropout={"low": 0.0, "high": 0.6, "points": 4},
        overlap_px={"low": 0, "high": 2, "points": 7},
    )
    assert found["learning_rate"].grid() == pytest.approx((1e-4, 1e-3, 1e-2))
    assert found["learning_rate"].grid()[0] == 1e-4  # the bounds exactly: rounding must not leave the range
    assert found["learning_rate"].grid()[-1] == 1e-2
    assert found["dropout"].grid() == pytest.approx((0, 0.2, 0.4, 0.6))
    assert found["overlap_px"].grid() == (0, 1, 2)
    assert all(isinstance(point, int) for point in found["overlap_px"].grid())


def test_the_grid_is_the_product_with_the_papers_cell_first(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms, bottleneck=[256, 512, 1024], neck=["conv", "fc"], mirror=[False, True])
    cells = grid(found)
    assert len(cells) == 3 * 2 * 2
    chosen = [(cell["bottleneck"], cell["neck"], cell["mirror"]) for cell in cells]
    assert set(chosen) == {(width, neck, mirror) for width in (256, 512, 1024) for neck in ("conv", "fc") for mirror in (False, True)}
    assert chosen[0] == (512, "fc", False)
    assert cells[0] == first_configuration(found)
    assert all(cell["base_filters"] == 16 for cell in cells)


def test_a_grid_that_misses_the_papers_value_invents_no_cell(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms, learning_rate={"low": 5e-4, "high": 5e-3, "points": 2})
    assert [cell["learning_rate"] for cell in grid(found)] == [5e-4, 5e-3]


def test_a_users_own_model_has_the_knobs_that_the_spec_names(rooms: Rooms, tiny_spec: TinySpec) -> None:
    spec = tiny_spec(model="user_models:Fateful", knobs={"fate": ["well", "nan"], "mirror": [True, False]}, budget={"trials": 4})
    found = resolve_knobs(spec, rooms)
    assert list(found) == ["base_filters", "bottleneck", "batch_images", "dropout", "fate", "mirror"]
    assert found["mirror"].values == (True, False)
    assert (found["fate"].first, found["dropout"].first) == ("well", 0)


def test_seeds_among_the_knobs_repeat_each_configuration(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms, bottleneck=[256, 512], seed=[0, 1, 2])
    cells = [(cell["bottleneck"], cell["seed"]) for cell in grid(found)]
    assert sorted(cells) == [(width, seed) for width in (256, 512) for seed in (0, 1, 2)]


def test_a_grid_of_one_point_a_knob_is_one_cell(tiny_spec: TinySpec, rooms: Rooms) -> None:
    found = searched(tiny_spec, rooms)
    assert grid(found) == [first_configuration(found)]


def cells_of(spec: Spec, rooms: Rooms, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(cell[name] for name in names) for cell in grid(resolve_knobs(spec, rooms), spec.configurations)]


def test_configurations_written_by_hand_set_knobs_together(tiny_spec: TinySpec, rooms: Rooms) -> None:
    """A knob that an entry does not set keeps its usual value there: the spec's, else the paper's."""
    spec = tiny_spec(
        configurations=[{"neck": "conv"}, {"neck": "fc", "kernel_px": 5}, {"bottleneck": 512}],
        knobs={"mirror": [True, False]},
        search={"algorithm": "grid"},
        budget={"trials": 9},
    )
    cells = cells_of(spec, rooms, "neck", "kernel_px", "bottleneck", "mirror")
    expected = [("conv", 3, 256), ("fc", 5, 256), ("fc", 3, 512)]
    assert sorted(cells) == sorted((*entry, mirror) for entry in expected for mirror in (True, False))


def test_the_usual_value_is_the_specs_where_it_has_one(tiny_spec: TinySpec, rooms: Rooms) -> None:
    spec = tiny_spec(
        configurations=[{"kernel_px": 3}, {"kernel_px": 5}, {"neck": "conv"}],
        knobs={"kernel_px": 5},
        search={"algorithm": "grid"},
        budget={"trials": 9},
    )
    assert sorted(cells_of(spec, rooms, "kernel_px", "neck")) == [(3, "fc"), (5, "conv"), (5, "fc")]


def test_configurations_of_a_users_own_model_name_its_knobs(tiny_spec: TinySpec, rooms: Rooms) -> None:
    spec = tiny_spec(
        model="user_models:Fateful",
        configurations=[{"fate": "well"}, {"fate": "nan"}],
        search={"algorithm": "grid"},
        budget={"trials": 2},
    )
    assert sorted(cells_of(spec, rooms, "fate", "bottleneck")) == [("nan", 256), ("well", 256)]
