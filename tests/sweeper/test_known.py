"""What makes two trials the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.driver import session_request
from sweeper.home import Home
from sweeper.journal import Journal, Source
from sweeper.known import KnownTrials, identity
from sweeper.rooms import SessionRequest
from sweeper.spec import Spec


@pytest.fixture
def request_(tiny_spec: Callable[..., Spec]) -> SessionRequest:
    return session_request(tiny_spec(), "cnn_autoencoder", {"bottleneck": 256}, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "wgan"},
        {"knobs": {"bottleneck": 512}},
        {"seed": 4},
        {"mask": {"kind": "centre", "hole_px": 10}},
        {"objective": "psnr_hole"},
        {"step_images": 32},
        {"device": "cuda"},
        {"processes": 2},
    ],
    ids=str,
)
def test_whatever_a_result_follows_from_makes_another_identity(changes: dict[str, Any], request_: SessionRequest) -> None:
    before = identity(request_, "search", 2, "code", "data")
    assert identity(replace(request_, **changes), "search", 2, "code", "data") != before
    assert identity(replace(request_, threads=7), "search", 2, "code", "data") == before


@pytest.mark.parametrize(
    "other", [("final", 2, "code", "data"), ("search", 3, "code", "data"), ("search", 2, "x", "data"), ("search", 2, "code", "x")]
)
def test_kind_budget_code_and_data_count_too(other: tuple[str, float, str, str], request_: SessionRequest) -> None:
    assert identity(request_, *other) != identity(request_, "search", 2, "code", "data")


def test_a_finished_trial_is_found_in_any_sweep_of_the_home(tmp_path: Path) -> None:
    for name, state in (("one", "complete"), ("two", "stopped")):
        with Journal(tmp_path / "sweeps" / name) as journal:
            journal.start("search-0004", 4, "cnn_autoencoder", {}, 0, identity=f"{name}-hash")
            journal.result("search-0004", 1, {"l2_hole": 1.0})
            journal.end("search-0004", state)  # type: ignore[arg-type]
    with Journal(tmp_path / "sweeps" / "three") as journal:
        journal.start("search-0000", 0, "cnn_autoencoder", {}, 0, identity="three-hash", source=Source("gone", "search-0009"))
        journal.end("search-0000", "complete")
    known = KnownTrials(Home(tmp_path))
    found = known.find("one-hash")
    assert found is not None
    assert found[0] == Source("one", "search-0004")
    assert found[1].results == {1: {"l2_hole": 1.0}}
    assert known.find("two-hash") is None  # a trial that was stopped early says nothing of its end
    taken_over = known.find("three-hash")
    assert taken_over is not None
    assert taken_over[0] == Source("gone", "search-0009")  # where the checkpoints are
    assert known.find("unheard") is None
