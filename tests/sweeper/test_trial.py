"""The worker's side of a sweep, driven by hand: steps, checkpoints that are damaged, models that go wrong."""

import itertools
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.driver import session_request
from sweeper.rooms import Rooms
from sweeper.spec import Constraint, Spec
from sweeper.trial import SweepTrial, TrialPlan

EPOCHS = 3
PLAIN = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0.3}

Start = Callable[..., SweepTrial]


@pytest.fixture
def plan(tiny_spec: Callable[..., Spec], rooms: Rooms) -> TrialPlan:
    spec = tiny_spec(model="user_models:Fateful", knobs={"fate": "well"}, budget={"epochs": EPOCHS})
    return TrialPlan(rooms, session_request(spec, spec.models[0], {}, 0), EPOCHS)


@pytest.fixture
def start(plan: TrialPlan) -> Start:
    """A trial as a worker sets it up, without a worker."""

    def started(fate: str = "well", *, trial: str = "search-0000", resume_from: list[str] | None = None, **plan_changes: Any) -> SweepTrial:
        worker = object.__new__(SweepTrial)
        worker.setup(config(fate, trial=trial, resume_from=resume_from), replace(plan, **plan_changes))
        return worker

    return started


def config(fate: str = "well", *, trial: str = "search-0000", resume_from: list[str] | None = None, seed: int = 3) -> dict[str, Any]:
    return {
        "trial": trial,
        "number": 0,
        "model": "user_models:Fateful",
        "knobs": PLAIN | {"fate": fate},
        "seed": seed,
        "resume_from": resume_from or [],
    }


def saved(worker: SweepTrial, folder: Path) -> str:
    folder.mkdir(parents=True)
    worker.save_checkpoint(str(folder))
    return str(folder)


def truncate(checkpoint: str) -> None:
    path = Path(checkpoint) / "checkpoint.pt"
    os.truncate(path, path.stat().st_size // 2)


def values(results: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(result["step"], result["metrics"]["l2_hole"]) for result in results]


def test_each_step_is_told_and_the_last_one_ends_the_trial(start: Start, plan: TrialPlan) -> None:
    worker = start()
    results = [worker.step() for _ in range(EPOCHS)]
    session = plan.rooms.open_session(replace(plan.request, knobs=PLAIN, seed=3))  # the same training without a trial around it
    for number, result in enumerate(results, 1):
        expected = session.step()
        assert result["step"] == number
        assert {name: result["metrics"][name] for name in expected} == expected
        assert result["l2_hole"] == expected["l2_hole"]
        assert result["should_checkpoint"]
        assert ("done" in result, "finished" in result) == (number == EPOCHS, number == EPOCHS)
        assert "test" not in result
    assert results[0]["l2_hole"] != results[1]["l2_hole"]


def test_a_final_run_measures_the_test_split_once_with_its_best_weights(start: Start, plan: TrialPlan) -> None:
    worker = start(trial="final-0")
    results = [worker.step() for _ in range(EPOCHS)]
    assert ["test" in result for result in results] == [False] * (EPOCHS - 1) + [True]
    session = plan.rooms.open_session(replace(plan.request, knobs=PLAIN, seed=3))
    for _ in range(EPOCHS):
        session.step()
    session.restore_best()
    assert results[-1]["test"] == session.evaluate("test")
    assert results[-1]["fills"] == session.evaluate_with_fills("test")[1]
    assert results[-1]["test"]["l2_hole"] != results[-1]["metrics"]["l2_hole"]


def test_a_final_run_of_a_trained_session_measures_it_and_trains_nothing(start: Start, plan: TrialPlan, tmp_path: Path) -> None:
    trained = start(trial="search-0000")
    for _ in range(EPOCHS):
        trained.step()
    final = start(trial="final-0", resume_from=[saved(trained, tmp_path / "checkpoint_000000")])
    result = final.step()
    session = plan.rooms.open_session(replace(plan.request, knobs=PLAIN, seed=3))
    for _ in range(EPOCHS):
        session.step()
    session.restore_best()
    assert (result["test"], result["fills"]) == session.evaluate_with_fills("test")
    costs = {"wall_s": result["metrics"]["wall_s"], "parameters": session.parameters}
    assert result["metrics"] == session.evaluate("validation") | {"epoch": EPOCHS} | costs
    assert result["l2_hole"] == result["metrics"]["l2_hole"]
    assert (result["step"], result["finished"], result["done"]) == (EPOCHS, True, True)
    assert start(trial="search-0000", resume_from=[str(tmp_path / "checkpoint_000000")]).step().keys() == {"step", "finished", "done"}


def test_the_clock_counts_the_steps_of_all_processes(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()  # one at each look: a step looks twice
    monkeypatch.setattr("sweeper.trial.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    first = start()
    assert [first.step()["metrics"]["wall_s"] for _ in range(2)] == [1, 2]
    checkpoint = saved(first, tmp_path / "checkpoint_000000")
    assert start(resume_from=[checkpoint]).step()["metrics"]["wall_s"] == 3
    assert start().step()["metrics"]["wall_s"] == 1
    assert first.reset_config(config())
    assert first.step()["metrics"]["wall_s"] == 1


def test_the_costs_of_training_are_told_with_each_step(start: Start, plan: TrialPlan) -> None:
    session = plan.rooms.open_session(replace(plan.request, knobs=PLAIN, seed=3))
    metrics = start().step()["metrics"]
    assert metrics["parameters"] == session.parameters == sum(weight.numel() for weight in session.model.networks["network"].parameters())
    assert metrics["train_image_s"] == pytest.approx(metrics["wall_s"] / 96)
    assert 0.05 < metrics["memory_gib"] < 16


def test_a_model_that_is_too_large_is_not_trained(start: Start) -> None:
    worker = start(constraints=(Constraint(metric="parameters", at_most=1000),))
    result = worker.step()
    assert set(result) == {"step", "infeasible", "metrics", "done"}
    assert re.fullmatch(r"parameters \S+ is outside at most 1000", result["infeasible"])
    assert result["step"] == 0
    assert "l2_hole" in start(constraints=(Constraint(metric="parameters", at_most=1e9),)).step()["metrics"]


def test_a_checkpoint_continues_exactly(start: Start, tmp_path: Path) -> None:
    straight = start()
    expected = [straight.step() for _ in range(EPOCHS)]
    first = start()
    first.step()
    checkpoint = saved(first, tmp_path / "checkpoint_000000")
    for resumed in (start(resume_from=[checkpoint]), start()):
        resumed.load_checkpoint(checkpoint)
        assert values([resumed.step() for _ in range(2)]) == values(expected[1:])


@pytest.fixture
def checkpoints(start: Start, tmp_path: Path) -> list[str]:
    """Those of steps 2 and 1, the newest first."""
    worker = start()
    folders = []
    for number in range(2):
        worker.step()
        folders.append(saved(worker, tmp_path / f"checkpoint_{number:06d}"))
    return folders[::-1]


def test_a_truncated_checkpoint_gives_way_to_the_one_before(start: Start, checkpoints: list[str]) -> None:
    straight = start()
    expected = values([straight.step() for _ in range(EPOCHS)])
    truncate(checkpoints[0])
    resumed = start(resume_from=checkpoints)
    assert values([resumed.step() for _ in range(2)]) == expected[1:]
    restarted = start()  # a lost worker: Ray names the newest alone
    restarted.load_checkpoint(checkpoints[0])
    assert values([restarted.step() for _ in range(2)]) == expected[1:]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing"])
def test_with_no_whole_checkpoint_the_trial_starts_over(damage: str, start: Start, checkpoints: list[str]) -> None:
    straight = start()
    expected = values([straight.step()])
    for checkpoint in checkpoints:
        if damage == "truncated":
            truncate(checkpoint)
        elif damage == "emptied":
            (Path(checkpoint) / "checkpoint.pt").write_bytes(b"")
        else:
            (Path(checkpoint) / "checkpoint.pt").unlink()
    assert values([start(resume_from=checkpoints).step()]) == expected
    restarted = start()
    restarted.load_checkpoint(checkpoints[0])
    assert values([restarted.step()]) == expected


def test_a_trial_that_was_interrupted_after_its_last_step_trains_no_more(start: Start, tmp_path: Path) -> None:
    worker = start()
    for _ in range(EPOCHS):
        worker.step()
    resumed = start(resume_from=[saved(worker, tmp_path / "checkpoint_000000")])
    assert resumed.step() == {"step": EPOCHS, "finished": True, "done": True}


def test_weights_that_are_lost_end_the_trial_as_diverged(start: Start, tmp_path: Path) -> None:
    worker = start("nan")
    good = worker.step()
    assert math.isfinite(good["l2_hole"])
    checkpoint = saved(worker, tmp_path / "checkpoint_000000")
    result = worker.step()
    assert result == {"step": 2, "diverged": "loss", "done": True}  # no metrics, and no checkpoint of it
    again = start("well", resume_from=[checkpoint])
    assert math.isfinite(again.step()["l2_hole"])


def test_a_fill_that_is_not_finite_ends_the_trial_as_diverged(start: Start) -> None:
    assert start("blind").step() == {"step": 1, "diverged": "l2_hole", "done": True}


def test_a_collapsed_game_ends_the_trial_unless_told_otherwise(start: Start) -> None:
    worker = start("collapse")
    assert "done" not in worker.step()
    result = worker.step()
    assert (result["done"], result["collapsed"], result["step"]) == (True, "one side won", 2)
    patient = start("collapse", stop_collapsed=False)
    results = [patient.step() for _ in range(EPOCHS)]
    assert [result.get("finished", False) for result in results] == [False, False, True]
    assert all("collapsed" not in result for result in results)


@pytest.mark.parametrize(
    ("need", "free", "starved"),
    [(20, 20, False), (20, 19.2, False), (20, 12, True), (1, 0.6, False), (1, 0.4, True)],  # CUDA itself takes up to one, or half of little
)
def test_a_trial_whose_gpu_is_taken_by_others_runs_again_alone(need: float, free: float, starved: bool, start: Start, rooms: Rooms) -> None:
    others = replace(rooms, free_gpu_gib=lambda: free)
    result = start(rooms=others, gpu_memory_gib=need).step()
    told = f"its GPU has {free:g} GiB free where resources.gpu_memory_gib is {need:g}"
    assert (result == {"starved": told, "done": True}) == starved
    assert ("step" in result) != starved
    assert start(rooms=others).step()["step"] == 1  # nothing is asked for


def test_a_trial_that_lost_too_many_workers_only_says_so(start: Start) -> None:
    worker = start()
    worker.reset_config(config() | {"lost": "its node was lost 51 times"})
    assert worker.step() == {"failed": "its node was lost 51 times", "done": True}
    worker.reset_config(config())
    assert worker.step()["step"] == 1


def test_a_model_that_does_not_open_is_told_not_raised(start: Start) -> None:
    worker = start("refuse")
    assert worker.step() == {"failed": "fate must not be 'refuse', but it is; choose another", "done": True}
    worker.save_checkpoint("/nowhere")  # nothing to save, nothing written


def test_an_error_that_nobody_expected_is_raised_for_ray_to_restart(start: Start) -> None:
    with pytest.raises(RuntimeError, match="a bug in the model"):
        start("crash").step()


def test_a_worker_that_is_used_again_starts_from_a_clean_slate(start: Start) -> None:
    fresh = start()
    expected = fresh.step()
    for fate in ("nan", "refuse", "well"):
        worker = start(fate, trial="final-0")
        for _ in range(2 if fate != "refuse" else 1):
            worker.step()
        assert worker.reset_config(config())
        result = worker.step()
        assert (result["step"], result["l2_hole"]) == (1, expected["l2_hole"])
        assert "test" not in result


def test_a_worker_without_the_data_folder_trains_from_its_nodes_cache(
    start: Start, plan: TrialPlan, rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = values([start().step()])
    facts = rooms.prepare(plan.request.data, plan.request.mask)
    monkeypatch.delenv("SWEEP_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWEEP_NODE_CACHE", str(tmp_path / "node"))
    told = replace(plan.request, data={**plan.request.data, "data_dir": None}, prepared=facts.prepared, fingerprint=facts.fingerprint)
    assert values([start(request=told).step()]) == expected
    assert [path.name for path in (tmp_path / "node").iterdir() if path.is_dir()] == [f"{Path(facts.prepared).name}-{facts.fingerprint}"]
    assert not (tmp_path / "home").exists()  # nothing was prepared a second time
    other = start(request=replace(told, fingerprint="0123456789abcdef"))
    assert "must have the fingerprint 0123456789abcdef" in other.step()["failed"]
