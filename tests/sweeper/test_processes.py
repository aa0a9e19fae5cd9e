"""Trials that several processes train together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.driver import session_request
from sweeper.errors import SpecError
from sweeper.known import identity
from sweeper.rooms import Rooms, SessionRequest
from sweeper.spec import Resources, Spec
from sweeper.trial import SweepTrial, TrialPlan
from sweeper.validation import validate
from tests.processes import gone


@pytest.mark.parametrize(
    ("resources", "processes", "device"),
    [
        ({}, 1, "cpu"),
        ({"gpus": 0.25}, 1, "cuda"),
        ({"gpus": 1}, 1, "cuda"),
        ({"gpus": 2}, 2, "cuda"),
        ({"gpus": 2, "processes": 1}, 1, "cuda"),
        ({"cpus": 2, "processes": 2}, 2, "cpu"),
    ],
)
def test_a_trial_has_a_process_for_each_of_its_gpus_or_as_many_as_it_asks_for(
    resources: dict[str, Any], processes: int, device: str, tiny_spec: Callable[..., Spec]
) -> None:
    assert Resources(**resources).processes_a_trial == processes
    request = session_request(tiny_spec(resources=resources), "cnn_autoencoder", {}, 0)
    assert (request.processes, request.device) == (processes, device)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"resources": {"gpus": 2, "processes": 3}},
            "resources.processes: must be resources.gpus = 2, since each has a GPU of its own, or 1",
        ),
        (
            {"resources": {"gpus": 0.5, "processes": 2}},
            "resources.processes: must be resources.gpus = 0.5, since each has a GPU of its own",
        ),
        ({"resources": {"processes": 0}}, "resources.processes: input should be greater than or equal to 1, but got 0"),
        ({"resources": {"processes": 3}}, "batch_images of CnnAutoencoder must be divisible by processes = 3, but got 32; use a multiple"),
        ({"resources": {"gpus": 3}}, "batch_images of CnnAutoencoder must be divisible by processes = 3, but got 32; use a multiple"),
        ({"model": "pixel_regression", "knobs": {}, "resources": {"processes": 2}}, "PixelRegression must be trained by one process"),
    ],
    ids=str,
)
def test_what_cannot_be_shared_out_is_told_before_anything_starts(
    changes: dict[str, Any], told: str, tiny: Callable[..., dict[str, Any]], rooms: Rooms
) -> None:
    fields = tiny(**changes)
    if "model" in changes:
        fields["knobs"] = {}
    with pytest.raises(SpecError) as caught:
        validate(fields, rooms)
    assert told in str(caught.value)


def test_the_identity_of_a_trial_of_one_process_is_what_it_was_before_there_were_several() -> None:
    request = SessionRequest("m", {"a": 1}, {"name": "photos"}, {"kind": "centre"}, 3, "l2_hole", 32, "cpu", 2)
    assert identity(request, "search", 2, "code", "data") == "cd27d1799fd50af3"
    assert identity(replace(request, processes=2), "search", 2, "code", "data") != "cd27d1799fd50af3"


@pytest.mark.faults
@pytest.mark.timeout(900)  # Ray gives its workers the least priority: on a busy machine, minutes instead of seconds
@pytest.mark.usefixtures("local_ray")
def test_a_sweep_goes_on_after_its_worker_was_killed_and_leaves_no_process_behind(
    tiny: Callable[..., dict[str, Any]], rooms: Rooms, run_spec: Callable[..., Any], tmp_path: Path
) -> None:
    knobs = {"folder": str(tmp_path)}
    fields = tiny("processes", model="user_models:Orphaned", knobs=knobs, resources={"cpus": 2, "processes": 2})
    done = run_spec(validate(fields, rooms))
    assert {record.trial: record.state for record in done.outcome.records} == {"search-0000": "complete"}
    assert list(done.record("search-0000").results) == [1, 2]
    processes = {int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()}
    assert len(processes) == 4  # two before the worker was killed, two after
    assert all(gone(process) for process in processes)


def test_a_worker_ends_the_processes_of_a_trial_before_the_next_and_at_its_own_end(
    tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path
) -> None:
    (tmp_path / "killed").touch()
    spec = tiny_spec(model="user_models:Orphaned", knobs={"folder": str(tmp_path)}, resources={"cpus": 2, "processes": 2})
    config = {"trial": "search-0000", "model": spec.model, "knobs": dict(spec.knobs), "seed": 0, "resume_from": []}
    worker = object.__new__(SweepTrial)
    worker.setup(config, TrialPlan(rooms, session_request(spec, spec.models[0], {}, 0), 1))
    result = worker.step()
    assert (result["step"], result["finished"]) == (1, True)
    first = {int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()}
    assert len(first) == 2
    worker.reset_config(config)
    assert all(gone(process) for process in first)
    worker.step()
    second = {int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()} - first
    assert len(second) == 2
    worker.cleanup()
    assert all(gone(process) for process in second)
