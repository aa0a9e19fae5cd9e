"""Which configuration comes next, what the study is told, and what a crash leaves to be put right."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import FIFOScheduler

from sweeper.journal import TrialRecord
from sweeper.rooms import Rooms
from sweeper.search import Assignment, Proposals, scheduler
from sweeper.space import grid, resolve, resolve_knobs
from sweeper.spec import Spec

TinySpec = Callable[..., Spec]
SEARCHED = {"bottleneck": [256, 512, 1024], "learning_rate": {"low": 1e-4, "high": 1e-2}, "neck": "search", "overlap_px": "search"}
PAPER = {"bottleneck": 512, "learning_rate": 1e-3, "neck": "fc", "overlap_px": 0}


@pytest.fixture
def open_study(tiny_spec: TinySpec, rooms: Rooms, tmp_path: Path) -> Callable[..., Proposals]:
    """Opens the study of a sweep over `SEARCHED`; the same folder again is the same study again."""

    def opened(algorithm: str = "random", folder: str = "one", *, seed: int = 0, trials: int = 8, **changes: Any) -> Proposals:
        fields = {"knobs": SEARCHED, "search": {"algorithm": algorithm, "seed": seed}, "budget": {"trials": trials}} | changes
        spec = tiny_spec(**fields)
        (tmp_path / folder).mkdir(exist_ok=True)
        also = {name: rooms.metrics[name] for name in spec.objective.also}
        return Proposals(spec, resolve(spec, rooms), rooms.metrics[spec.objective.metric], tmp_path / folder, also)

    return opened


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., list[optuna.trial.FrozenTrial]]:
    """The trials of a study as Optuna itself reads them from its file."""

    def trials(folder: str = "one") -> list[optuna.trial.FrozenTrial]:
        study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path / folder / 'study.db'}")
        return list(study.trials)

    return trials


def asked(proposals: Proposals, count: int) -> list[Assignment]:
    found = [proposals.ask() for _ in range(count)]
    return [assignment for assignment in found if assignment is not None]


def record(assignment: Assignment, state: Any = "running", values: dict[int, float] | None = None) -> TrialRecord:
    """What the journal holds of an assignment."""
    results = {step: {"l2_hole": value} for step, value in (values or {}).items()}
    return TrialRecord(assignment.trial, assignment.number, assignment.model, assignment.knobs, assignment.seed, state, "", results)


@pytest.mark.parametrize(("algorithm", "changes"), [("random", {}), ("tpe", {}), ("nsga2", {"objective": {"also": ["psnr_hole"]}})])
def test_the_first_trial_is_the_papers_and_the_rest_lie_in_their_ranges(
    algorithm: str, changes: dict[str, Any], open_study: Callable[..., Proposals], rooms: Rooms
) -> None:
    assignments = asked(open_study(algorithm, seed=3, **changes), 9)
    assert [assignment.trial for assignment in assignments] == [f"search-{number:04d}" for number in range(8)]  # the ninth is refused
    assert {name: assignments[0].knobs[name] for name in PAPER} == PAPER
    for assignment in assignments:
        assert list(assignment.knobs) == list(rooms.spaces["cnn_autoencoder"])
        assert all(knob.holds(assignment.knobs[name]) for name, knob in rooms.spaces["cnn_autoencoder"].items())
        assert 1e-4 <= assignment.knobs["learning_rate"] <= 1e-2
        assert assignment.knobs["bottleneck"] in (256, 512, 1024)
        assert assignment.knobs["base_filters"] == 16
        assert assignment.seed == 3
    assert len({assignment.knobs["learning_rate"] for assignment in assignments}) == 8


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
def test_the_same_seed_draws_the_same_another_seed_other_configurations(algorithm: str, open_study: Callable[..., Proposals]) -> None:
    first, same, other = (
        [assignment.knobs for assignment in asked(open_study(algorithm, folder, seed=seed), 5)]
        for folder, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == same
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_the_grid_is_the_whole_product_the_papers_cell_first(open_study: Callable[..., Proposals]) -> None:
    knobs = {"bottleneck": [256, 512], "learning_rate": {"low": 1e-4, "high": 1e-2}, "neck": "search"}
    proposals = open_study("grid", knobs=knobs, trials=50)
    assert proposals.limit == 2 * 3 * 2
    assignments = asked(proposals, 20)
    chosen = [(each.knobs["bottleneck"], round(each.knobs["learning_rate"], 9), each.knobs["neck"]) for each in assignments]
    assert chosen[0] == (512, 1e-3, "fc")
    assert sorted(chosen) == sorted((width, rate, neck) for width in (256, 512) for rate in (1e-4, 1e-3, 1e-2) for neck in ("fc", "conv"))


def test_a_budget_below_the_grid_takes_its_first_cells(open_study: Callable[..., Proposals], tiny_spec: TinySpec, rooms: Rooms) -> None:
    proposals = open_study("grid", knobs={"bottleneck": [256, 512, 1024]}, trials=2)
    spec = tiny_spec(knobs={"bottleneck": [256, 512, 1024]}, budget={"trials": 2}, search={"algorithm": "grid"})
    assert proposals.limit == 2
    assert [each.knobs for each in asked(proposals, 5)] == grid(resolve_knobs(spec, rooms))[:2]


def test_seeds_among_the_knobs_become_the_trials_seeds(open_study: Callable[..., Proposals]) -> None:
    assignments = asked(open_study("grid", knobs={"bottleneck": [256, 512], "seed": [5, 6]}, trials=9), 9)
    assert sorted((each.knobs["bottleneck"], each.seed) for each in assignments) == [(256, 5), (256, 6), (512, 5), (512, 6)]
    assert all("seed" not in each.knobs for each in assignments)


def test_a_preview_tells_the_first_configurations(open_study: Callable[..., Proposals]) -> None:
    previewed = list(open_study(folder="a").preview(3))
    assert previewed == asked(open_study(folder="b"), 3)
    assert len(list(open_study(folder="c", trials=2).preview(5))) == 2


def test_the_study_is_told_each_end_as_what_it_is(open_study: Callable[..., Proposals], stored: Callable[..., Any]) -> None:
    proposals = open_study("tpe")
    trials = [each.trial for each in asked(proposals, 5)]
    for trial, values in zip(trials, ([3.0, 2.0, 2.5], [4.0, 3.5], [], [6.0], [5.0]), strict=True):
        for step, value in enumerate(values, 1):
            proposals.report(trial, step, value)
    proposals.tell(trials[0], "complete", [2.0])
    proposals.tell(trials[1], "stopped", [3.5])
    proposals.tell(trials[2], "diverged", None)
    proposals.tell(trials[3], "failed", [6.0])
    finished, pruned, diverged, failed, running = stored()
    assert (finished.state, finished.value, finished.intermediate_values) == (TrialState.COMPLETE, 2.0, {1: 3.0, 2: 2.0, 3: 2.5})
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 4.0, 2: 3.5})
    assert diverged.state == failed.state == TrialState.FAIL
    assert (running.state, running.intermediate_values) == (TrialState.RUNNING, {1: 5.0})
    assert finished.params == PAPER


def test_a_metric_to_maximise_is_maximised(open_study: Callable[..., Proposals], tmp_path: Path) -> None:
    open_study(objective={"metric": "psnr_hole"})
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path / 'one' / 'study.db'}")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_after_a_crash_the_study_learns_what_the_journal_knows(open_study: Callable[..., Proposals], stored: Callable[..., Any]) -> None:
    """One trial for each place at which the driver can die."""
    before = open_study("tpe")
    told, ended, stopped, diverged, half, unheard = asked(before, 6)
    before.report(told.trial, 1, 3.0)
    before.tell(told.trial, "complete", [3.0])
    before.report(ended.trial, 1, 4.0)
    before.report(half.trial, 1, 5.0)

    after = open_study("tpe")
    records = [
        record(told, "complete", {1: 3.0}),
        record(ended, "complete", {1: 4.0, 2: 3.5, 3: 3.75}),  # the journal has its end, the study its first step alone
        record(stopped, "stopped", {1: 9.0}),  # the study has heard of no step
        record(diverged, "diverged"),
        record(half, "running", {1: 5.0, 2: 4.5}),  # a step that the study has not heard of
    ]
    unfinished = after.reconcile(records, "l2_hole", "min")
    assert [each.trial for each in unfinished] == [half.trial, unheard.trial]
    assert unfinished[0] == records[4]
    assert (unfinished[1].knobs, unfinished[1].seed, unfinished[1].results) == (unheard.knobs, unheard.seed, {})
    found = stored()
    assert [trial.state.name for trial in found] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING", "RUNNING"]
    assert (found[1].value, found[1].intermediate_values) == (3.5, {1: 4.0, 2: 3.5, 3: 3.75})
    assert found[2].intermediate_values == {1: 9.0}
    assert found[4].intermediate_values == {1: 5.0, 2: 4.5}

    for trial in (half, unheard):  # they can go on as if nothing had been
        after.report(trial.trial, 3, 4.25)
        after.tell(trial.trial, "complete", [4.25])
    assert [trial.state.name for trial in stored()][4:] == ["COMPLETE", "COMPLETE"]
    assert after.begun() == 6
    assert [each.number for each in asked(after, 5)] == [6, 7]
    assert open_study("tpe").ask() is None


def test_a_second_crash_changes_nothing(open_study: Callable[..., Proposals], stored: Callable[..., Any]) -> None:
    trial, other = asked(open_study(), 2)
    records = [record(trial, "complete", {1: 2.0}), record(other, "running", {1: 3.0})]
    for _ in range(2):
        unfinished = open_study().reconcile(records, "l2_hole", "min")
        assert [each.trial for each in unfinished] == [other.trial]
    assert [found.state.name for found in stored()] == ["COMPLETE", "RUNNING"]


def test_a_finished_study_needs_no_putting_right(open_study: Callable[..., Proposals]) -> None:
    proposals = open_study(trials=2)
    for each in asked(proposals, 2):
        proposals.tell(each.trial, "complete", [1.0])
    again = open_study(trials=2)
    assert again.reconcile([], "l2_hole", "min") == []
    assert (again.begun(), again.ask()) == (2, None)


def test_a_study_taken_up_again_does_not_draw_the_same_values_again(open_study: Callable[..., Proposals]) -> None:
    rates = [each.knobs["learning_rate"] for each in asked(open_study(), 3)]
    rates += [each.knobs["learning_rate"] for each in asked(open_study(), 3)]
    assert len(set(rates)) == 6


def test_a_trial_that_ended_without_a_value_is_told_as_failed(open_study: Callable[..., Proposals], stored: Callable[..., Any]) -> None:
    proposals = open_study()
    (trial,) = asked(proposals, 1)
    proposals.tell(trial.trial, "complete", None)
    assert stored()[0].state == TrialState.FAIL


# --- ASHA -------------------------------------------------------------------------------------------------------------------------

CURVES = {  # value of each trial at steps 1 to 8; reduction 2, so the rungs are steps 1, 2, 4 and 8
    "a": [4.0, 3.0, 2.5, 2.0, 1.9, 1.8, 1.7, 1.6],
    "b": [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3],
    "c": [5.0, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3],
    "d": [2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9, 1.8],
    "e": [1.0, 3.5, 3.4, 3.3, 3.2, 3.1, 3.0, 2.9],
}
ORDER = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("a", 2), ("b", 2), ("e", 1), ("d", 2), ("e", 2), ("b", 3), ("b", 4), ("a", 3), ("a", 4)]
STOPPED = {("c", 1), ("e", 2), ("a", 4)}


def ray_trial(name: str, attempt: int) -> Any:
    """What Ray hands to a scheduler: its own id changes with every attempt, the name in the sweep does not."""
    return SimpleNamespace(trial_id=f"ray-{attempt}-{name}", config={"trial": name})


def decide(asha: Any, events: list[tuple[str, int]], attempt: int, mode: str = "min") -> list[str]:
    """Feeds results in order; returns the decisions."""
    decisions = []
    added: dict[str, Any] = {}
    for name, step in events:
        if name not in added:
            added[name] = ray_trial(name, attempt)
            asha.on_trial_add(None, added[name])
        value = CURVES[name][step - 1] * (1 if mode == "min" else -1)
        decisions.append(asha.on_trial_result(None, added[name], {"step": step, "l2_hole": value, "psnr_hole": value}))
    return decisions


@pytest.fixture
def asha_spec(tiny_spec: TinySpec) -> Spec:
    return tiny_spec(scheduler={"kind": "asha", "grace_steps": 1, "reduction": 2}, budget={"epochs": 8})


def test_asha_stops_what_is_worse_than_the_median_of_its_rung(asha_spec: Spec) -> None:
    """Worked by hand. Rung 1: c 5.0 against the median of 4, 2. Rung 2: a's 3.0 is first; b passes; d's 2.4 is below the median 2.45;
    e's 3.5 is above the median of 3, 1.9, 2.4. Rung 4: b 1.7 is first, a's 2.0 is worse.
    """
    decisions = decide(scheduler(asha_spec, "min", 8), ORDER, 0)
    assert {event for event, decision in zip(ORDER, decisions, strict=True) if decision == "STOP"} == STOPPED


def test_asha_ends_a_trial_at_its_last_step(asha_spec: Spec) -> None:
    assert decide(scheduler(asha_spec, "min", 4), [("b", step) for step in (1, 2, 3, 4)], 0) == ["CONTINUE"] * 3 + ["STOP"]


def test_asha_follows_the_mode_of_the_metric(asha_spec: Spec) -> None:
    spec = asha_spec.model_copy(update={"objective": asha_spec.objective.model_copy(update={"metric": "psnr_hole"})})
    decisions = decide(scheduler(spec, "max", 8), ORDER, 0, mode="max")
    assert {event for event, decision in zip(ORDER, decisions, strict=True) if decision == "STOP"} == STOPPED


@pytest.mark.parametrize("cut", range(1, len(ORDER)))
def test_a_replayed_asha_decides_as_one_that_was_never_interrupted(cut: int, asha_spec: Spec) -> None:
    straight = decide(scheduler(asha_spec, "min", 8), ORDER, 0)
    records = []
    for number, name in enumerate(CURVES):
        steps = [step for trial, step in ORDER[:cut] if trial == name]
        if steps:
            results = {step: {"l2_hole": CURVES[name][step - 1]} for step in steps}
            records.append(TrialRecord(name, number, "cnn_autoencoder", {}, 0, results=results))
    resumed = scheduler(asha_spec, "min", 8, records)
    assert decide(resumed, ORDER[cut:], 1) == straight[cut:]


def test_a_result_that_is_told_twice_changes_no_rung(asha_spec: Spec) -> None:
    """After a lost worker a trial tells its last steps again."""
    twice = [event for event in ORDER if event not in STOPPED for _ in range(2)]
    once = [event for event in ORDER if event not in STOPPED]
    assert decide(scheduler(asha_spec, "min", 8), twice, 0)[::2] == decide(scheduler(asha_spec, "min", 8), once, 0)


def test_without_a_scheduler_nothing_is_stopped(tiny_spec: TinySpec) -> None:
    assert isinstance(scheduler(tiny_spec(), "min", 8), FIFOScheduler)
