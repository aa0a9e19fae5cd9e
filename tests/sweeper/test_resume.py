"""One sweep in processes of its own: killed in mid-sweep, resumed, interrupted with Ctrl-C, resumed again to its end."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from sweeper.driver import session_request
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import ENDED, Journal, read_events
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from sweeper.tracking import Store
from tests.sweeper.drivers import PATIENCE_S, Driver, start_driver, wait_for

pytestmark = pytest.mark.conformance
NAME, TRIALS, EPOCHS, SEEDS = "interrupted", 9, 8, 1

Event = dict[str, Any]


@dataclass
class Story:
    """What was found at each stop."""

    home: Home
    spec: Spec
    killed: list[Event] = field(default_factory=list)
    left_running: list[str] = field(default_factory=list)
    refused_while_running: bool = False
    code_of_interrupt: int | None = None
    text_of_interrupt: str = ""
    interrupted: list[Event] = field(default_factory=list)
    states_after_interrupt: dict[str, str] = field(default_factory=dict)
    processes_after_interrupt: bool = True
    code_of_end: int | None = None
    text_of_end: str = ""
    journal: list[Event] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(self.home.store_uri, create=False)


def events_in(folder: Path) -> list[Event]:
    return list(read_events(folder / "journal.jsonl"))


def ends_in(folder: Path) -> int:
    return sum(event["event"] == "end" for event in events_in(folder))


def statuses(store: Store) -> dict[str, str]:
    """MLflow's status of the sweep's own run and of each trial's."""
    sweep = store.sweep(NAME)
    assert sweep is not None
    trials = {row["trial"]: row["status"] for row in store.trials(NAME).to_dict("records")}
    return trials | {"sweep": store.client.get_run(sweep.run_id).info.status}


@pytest.fixture(scope="module")
def story(
    tiny: Callable[..., dict[str, Any]],
    tiny_spec: Callable[..., Spec],
    driver_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Story]:
    root = tmp_path_factory.mktemp("story")
    changes: dict[str, Any] = {
        "knobs": {"learning_rate": {"low": 1e-4, "high": 1e-2}, "dropout": 0.1},
        "budget": {"trials": TRIALS, "epochs": EPOCHS},
        "seeds": SEEDS,
        "pictures": 1,
    }
    (root / "mine.yaml").write_text(yaml.safe_dump(tiny(NAME, **changes)))
    found = Story(Home(root), tiny_spec(NAME, **changes))
    folder = found.home.folder(NAME)
    drivers: list[Driver] = []

    def start(*arguments: str) -> Driver:
        drivers.append(start_driver(list(arguments), root, root / f"output-{len(drivers)}.txt", driver_environment))
        return drivers[-1]

    def ends_or_driver_stops(driver: Driver, count: int) -> bool:
        return ends_in(folder) >= count or driver.process.poll() is not None

    def torn_or_driver_stops(driver: Driver) -> bool:
        return (ends_in(folder) >= 1 and half_way(events_in(folder))) or driver.process.poll() is not None

    try:
        first = start("run", str(root / "mine.yaml"))
        assert wait_for(lambda: torn_or_driver_stops(first)), first.text
        first.process.kill()
        first.process.wait()
        first.end()  # Ray's agents notice a dead node after a minute
        found.killed = events_in(folder)
        found.left_running = [name for name, status in statuses(found.store).items() if status == "RUNNING"]

        second = start("resume", NAME)
        more = ends_in(folder) + 1
        assert wait_for(lambda: ends_or_driver_stops(second, more)), second.text
        try:
            Journal(folder).close()
        except SweepStateError:
            found.refused_while_running = True
        os.killpg(second.process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        found.code_of_interrupt = second.process.wait(PATIENCE_S)
        found.processes_after_interrupt = not second.wait_until_gone()
        found.text_of_interrupt = second.text
        found.interrupted = events_in(folder)
        found.states_after_interrupt = statuses(found.store)

        third = start("resume", NAME)
        found.code_of_end = third.process.wait(PATIENCE_S)
        found.text_of_end = third.text
        found.journal = events_in(folder)
        yield found
    finally:
        for driver in drivers:
            driver.end()


def half_way(events: list[Event]) -> bool:
    """Whether a trial has begun to train and has at least half of its steps before it."""
    steps = {event["trial"]: event["step"] for event in events if event["event"] == "result"}
    return any(step <= EPOCHS // 2 for trial, step in steps.items() if trial not in ended(events))


def ended(events: list[Event]) -> set[str]:
    return {event["trial"] for event in events if event["event"] == "end"}


def test_the_driver_was_killed_in_mid_sweep(story: Story) -> None:
    """Otherwise the other tests here would show nothing."""
    assert 1 <= len(ended(story.killed)) < TRIALS
    assert "sweep" in story.left_running  # nobody could tell MLflow of the end
    assert len(ended(story.killed)) < len(ended(story.interrupted)) < TRIALS + SEEDS


def test_while_one_driver_runs_no_other_may(story: Story) -> None:
    assert story.refused_while_running


def test_ctrl_c_says_how_to_go_on(story: Story) -> None:
    assert story.code_of_interrupt == 130
    assert f"Go on with: sweep resume {NAME} --home {story.home.root}" in story.text_of_interrupt
    assert "Traceback" not in story.text_of_interrupt


def test_ctrl_c_leaves_no_run_running_and_no_process(story: Story) -> None:
    assert story.states_after_interrupt["sweep"] == "KILLED"
    assert "RUNNING" not in story.states_after_interrupt.values()
    done = ended(story.interrupted)
    assert {name for name, status in story.states_after_interrupt.items() if status == "FINISHED"} == done
    assert not story.processes_after_interrupt


def test_the_resumed_sweep_finishes(story: Story) -> None:
    assert story.code_of_end == 0, story.text_of_end
    expected = {f"search-{number:04d}" for number in range(TRIALS)} | {f"final-{index}" for index in range(SEEDS)}
    assert ended(story.journal) == expected
    assert {event["state"] for event in story.journal if event["event"] == "end"} == {"complete"}
    assert f"{NAME} is finished" in story.text_of_end
    assert (story.home.folder(NAME) / "pictures" / "best.png").exists()


def test_no_finished_trial_is_run_again(story: Story) -> None:
    """The journal only grows, and after a trial's end nothing more is told of it; no step is told twice."""
    assert story.interrupted[: len(story.killed)] == story.killed
    assert story.journal[: len(story.interrupted)] == story.interrupted
    over: set[str] = set()
    told = set()
    for event in story.journal:
        if "trial" not in event:
            continue
        assert event["trial"] not in over
        key = (event["event"], event["trial"], event.get("step"))
        assert key not in told
        told.add(key)
        if event["event"] == "end":
            over.add(event["trial"])
    steps = [key for key in told if key[0] == "result"]
    assert len(steps) == (TRIALS + SEEDS) * EPOCHS


def test_the_store_holds_one_run_a_trial_and_none_is_running(story: Story) -> None:
    rows = story.store.trials(NAME)
    assert sorted(rows["trial"]) == sorted(ended(story.journal))
    assert set(rows["state"]) == {"complete"}
    assert set(statuses(story.store).values()) == {"FINISHED"}
    parents = [row for row in story.store.sweeps() if row.name == NAME]
    assert len(parents) == 1
    assert parents[0].tags["sweep.state"] == "finished"
    assert parents[0].tags["sweep.spec"] == "mine"
    every = story.store.client.search_runs([story.store.experiment])
    assert len(every) == 1 + TRIALS + SEEDS


def test_every_metric_is_in_the_store(story: Story) -> None:
    with Journal(story.home.folder(NAME)) as journal:
        records = journal.trials
    run_ids = dict(zip(*(story.store.trials(NAME)[column] for column in ("trial", "run_id")), strict=True))
    for record in records.values():
        assert record.state in ENDED
        for name in ("l2_hole", "psnr_image", "loss", "epoch"):
            expected = [(step, metrics[name]) for step, metrics in sorted(record.results.items())]
            assert story.store.history(run_ids[record.trial], name) == expected


def test_the_study_was_told_every_end(story: Story) -> None:
    study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{story.home.folder(NAME) / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
    assert all(list(trial.intermediate_values) == list(range(1, EPOCHS + 1)) for trial in study.trials)


def test_a_trial_that_was_interrupted_went_on_as_if_it_had_not_been(story: Story, rooms: Rooms) -> None:
    begun = {event["trial"]: event for event in story.killed if event["event"] == "start"}
    torn = sorted(set(begun) - ended(story.killed))
    assert torn
    session = rooms.open_session(session_request(story.spec, story.spec.models[0], begun[torn[0]]["knobs"], begun[torn[0]]["seed"]))
    expected = {step: session.step()["l2_hole"] for step in range(1, EPOCHS + 1)}
    with Journal(story.home.folder(NAME)) as journal:
        results = {step: metrics["l2_hole"] for step, metrics in journal.trials[torn[0]].results.items()}
    assert results == pytest.approx(expected, rel=1e-3)
