"""`sweep plan`: figures measured here, of a finished sweep or of one step of a spec."""

import json
import statistics
from collections.abc import Callable

import pytest

from sweeper.calibration import line
from sweeper.cli.measuring import work_of_a_spec
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from tests.sweeper.conftest import Done, Said


@pytest.mark.faults
def test_a_finished_sweeps_own_figures_are_taken(
    run_spec: Callable[..., Done], tiny_spec: Callable[..., Spec], home: Home, sweep: Callable[..., Said]
) -> None:
    done = run_spec(tiny_spec("planned"))
    said = sweep("plan", "--from", "planned", "--home", str(home.root), "--nodes", "1,1000", "--trials-per-node", "4", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    trials = [each for each in read_trials(done.folder).values() if each.results]
    last = [each.results[max(each.results)] for each in trials]
    per_step = [metrics["wall_s"] / len(each.results) for each, metrics in zip(trials, last, strict=True)]
    assert told["work"]["step_s"] == pytest.approx(statistics.median(per_step))
    assert told["work"]["steps"] == pytest.approx(sum(len(each.results) for each in trials) / len(trials))
    files = list((done.folder / "checkpoints").glob("attempt-*/*/checkpoint_*/checkpoint.pt"))
    assert told["work"]["checkpoint_bytes"] == pytest.approx(statistics.mean(file.stat().st_size for file in files), rel=0.01)
    assert told["work"]["data_bytes"] == (96 + 32 + 32) * 32 * 32 * 3  # one byte a value
    assert [column["at_once"] for column in told["columns"]] == [4, 4000]
    assert told["columns"][1]["results_s"] == pytest.approx(4000 / told["work"]["step_s"])
    assert all(value > 0 for name, value in told["capacity"].items() if name != "study_growth_s")
    first = told["breaks"][0]
    assert all(f"{first['part']} " in column["verdict"] and first["remedy"] in column["verdict"] for column in told["columns"])
    assert sorted(path.name for path in home.root.iterdir() if path.name.startswith(".sweep-plan")) == []


def test_a_specs_trial_is_measured_here(tiny_spec: Callable[..., Spec], rooms: Rooms) -> None:
    spec = tiny_spec(budget={"trials": 1, "epochs": 2, "step_images": 48})
    work, source = work_of_a_spec(spec, rooms, 5.0)
    assert (work.step_s, work.steps, work.keep, work.trials) == (5, 4, 2, 1)  # two epochs of 96 images, 48 a step
    knobs = {name: setting for name, setting in spec.knobs.items() if name != "batch_images"}
    layers = rooms.layers("cnn_autoencoder", knobs, spec.data.model_dump(), spec.mask.model_dump())
    assert work.checkpoint_bytes >= 2 * 4 * sum(row["parameters"] for row in layers)  # float32, as it is and as it was at its best
    assert "--step-s" in source
    measured, source = work_of_a_spec(spec, rooms, None)
    assert measured.step_s > 0
    assert "measured on this machine" in source


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "a plan needs a SPEC or --from NAME, one of them, but got neither"),
        (["quickstart", "--from", "other"], "one of them, but got both"),
        (["quickstart", "--nodes", "10,many"], "--nodes must be whole numbers above 0"),
        (["--from", "no-such"], "a sweep must lie in"),
    ],
)
def test_a_call_that_cannot_be_planned(arguments: list[str], says: str, sweep: Callable[..., Said]) -> None:
    said = sweep("plan", *arguments)
    assert said.code == 2
    assert says in said.err


def test_the_line_through_points_on_a_line_is_that_line() -> None:
    assert line([3.0, 5.0, 7.0, 9.0]) == pytest.approx((3.0, 2.0))
    assert line([4.0]) == (4.0, 0.0)
    assert line([9.0, 7.0, 5.0]) == (7.0, 0.0)  # what gets faster does not grow
