"""One suite for every scheduler of the table: a real sweep in a real Ray with a crash and a NaN, cut off on the way and taken up again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_rooms import TARGET, ToyError, toy_rooms

from sweeper.capabilities import SCHEDULERS
from sweeper.errors import SpecError
from sweeper.home import Home
from sweeper.journal import ENDED, TrialRecord, read_events
from sweeper.runner import Outcome, run
from sweeper.search import checkpoints_needed, lets_all_in, scheduler
from sweeper.space import KnobSearch, resolve
from sweeper.spec import Spec
from sweeper.tracking import STATUS, Store
from sweeper.validation import validate
from tests.sweeper.conftest import SilentProgress

pytestmark = pytest.mark.conformance

STEPS, CUT_AFTER = 6, 9
TRIALS = {"hyperband": 12}  # a bracket of three, one of five of which two go on, and what is left; the others need fewer
SEED = 7  # its third trial crashes, its fourth diverges; rates of the others: 0.5 (the paper's), 0.34, 0.72, 0.48; then 0.26, 0.76, 0.53
CRASHED, DIVERGED, GOOD_RATE = "search-0002", "search-0003", 0.7  # the greater the rate, the better
ENDS = {"complete": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL", "diverged": "FAIL"}


class CutProgress(SilentProgress):
    """Ends the driver after so many steps of all trials together."""

    def advanced(self, trial: str, step: int, value: float) -> None:
        super().advanced(trial, step, value)
        if sum(event[0] == "advanced" for event in self.events) == CUT_AFTER:
            raise ToyError("cut off")


def spec_of(kind: str, **changes: Any) -> Spec:
    fields: dict[str, Any] = {
        "name": kind,
        "model": "toy",
        "data": {"name": "photos"},
        "knobs": {"rate": {"low": 0.0, "high": 1.0}, "fated": True},
        "search": {"algorithm": "random", "seed": SEED},
        "scheduler": {"kind": kind},
        "budget": {"trials": TRIALS.get(kind, 6), "epochs": STEPS},
        "seeds": 0,
        "pictures": 0,
    }
    if SCHEDULERS[kind].changes_knobs:
        fields |= {"scheduler": {"kind": kind, "perturb_steps": 2}, "retrain": False, "seeds": 1}
    return validate(fields | changes, toy_rooms())


@dataclass
class Story:
    """A sweep that was cut off and taken up again."""

    spec: Spec
    outcome: Outcome
    journal: list[dict[str, Any]]
    events_when_cut: int
    notes: list[str]
    folder: Path
    store: Store

    @property
    def names(self) -> list[str]:
        return [f"search-{number:04d}" for number in range(self.spec.budget.trials)]

    @property
    def search(self) -> dict[str, TrialRecord]:
        return {record.trial: record for record in self.outcome.records if record.kind == "search"}


@pytest.fixture(scope="module", params=[kind for kind in SCHEDULERS if kind != "none"])  # none: test_runner, test_resume
def story(request: pytest.FixtureRequest, local_ray: None, home: Home, store: Store) -> Story:
    spec, folder = spec_of(request.param), home.folder(request.param)
    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeper.losses.WORKER_RESTARTS", 1)
        first, second = CutProgress(), SilentProgress()
        with pytest.raises(ToyError, match="cut off"):
            run(spec, toy_rooms(), home, first, spec_name="from_a_test", fresh=True)
        when_cut = len(list(read_events(folder / "journal.jsonl")))
        outcome = run(spec, toy_rooms(), home, second, spec_name="from_a_test", fresh=True)
        notes = [event[1] for progress in (first, second) for event in progress.events if event[0] == "note"]
    return Story(spec, outcome, list(read_events(folder / "journal.jsonl")), when_cut, notes, folder, store)


def test_every_trial_comes_to_its_end_whatever_becomes_of_others(story: Story) -> None:
    states = {trial: record.state for trial, record in story.search.items()}
    assert sorted(states) == story.names
    assert (states[CRASHED], states[DIVERGED]) == ("failed", "diverged")
    assert "a bug in the toy" in story.search[CRASHED].reason
    others = {state for trial, state in states.items() if trial not in (CRASHED, DIVERGED)}
    assert others <= {"complete", "stopped"}
    assert story.outcome.best is not None
    assert story.outcome.best.state == "complete"
    assert story.outcome.best.knobs["rate"] > GOOD_RATE
    assert ("stopped" in others) != SCHEDULERS[story.spec.scheduler.kind].changes_knobs


def test_it_was_cut_off_in_the_middle(story: Story) -> None:
    """Otherwise the other tests here would show nothing."""
    ended = [event["trial"] for event in story.journal[: story.events_when_cut] if event["event"] == "end"]
    assert len(ended) < story.spec.budget.trials
    assert sum(event["event"] == "result" for event in story.journal[: story.events_when_cut]) == CUT_AFTER


def test_the_steps_of_a_trial_stay_in_order_and_none_is_told_twice_or_after_its_end(story: Story) -> None:
    steps: dict[str, int] = {}
    over: set[str] = set()
    for event in story.journal:
        if "trial" not in event:
            continue
        assert event["trial"] not in over
        if event["event"] == "result" and event["trial"].startswith("search"):
            assert event["step"] == steps.get(event["trial"], 0) + 1
            steps[event["trial"]] = event["step"]
        if event["event"] == "end":
            over.add(event["trial"])
    for record in story.search.values():
        assert (steps.get(record.trial, 0) == STEPS) == (record.state == "complete")


def test_the_study_and_the_store_hold_each_trial_once_and_none_is_running(story: Story) -> None:
    study = optuna.load_study(study_name=story.spec.name, storage=f"sqlite:///{story.folder / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == [ENDS[story.search[name].state] for name in story.names]
    for trial in study.trials:
        record = story.search[f"search-{trial.number:04d}"]
        assert trial.params == {"rate": record.first_knobs["rate"]}
        assert trial.intermediate_values == {step: result["l2_hole"] for step, result in record.results.items()}
    rows = story.store.trials(story.spec.name).to_dict("records")
    assert sorted(row["trial"] for row in rows) == sorted(record.trial for record in story.outcome.records)
    for row in rows:
        record = next(record for record in story.outcome.records if record.trial == row["trial"])
        assert record.state in ENDED
        assert (row["state"], row["status"]) == (record.state, STATUS[record.state])


def test_every_step_follows_from_the_one_before_or_from_the_donors(story: Story) -> None:
    """The toy's own formula, by hand: half of the rate's share of what is left; a change takes the donor's place and the new rate."""
    for record in story.search.values():
        place, rate = 0.0, record.first_knobs["rate"]
        changes = {change.step: change for change in record.changes}
        for step, result in sorted(record.results.items()):
            place += 0.5 * rate * (TARGET - place)
            assert result["place"] == pytest.approx(place)
            assert result["l2_hole"] == pytest.approx(TARGET - place)
            if step in changes:
                donor = story.search[changes[step].donor]
                place, rate = donor.results[step]["place"], changes[step].after["rate"]


def test_a_population_takes_from_its_best_and_each_trial_stays_itself(story: Story) -> None:
    changes = [(record, change) for record in story.search.values() for change in record.changes]
    if not SCHEDULERS[story.spec.scheduler.kind].changes_knobs:
        assert changes == []
        return
    assert changes
    for record, change in changes:
        assert change.step % story.spec.scheduler.perturb_steps == 0
        donor = story.search[change.donor]
        assert donor.results[change.step]["l2_hole"] < record.results[change.step]["l2_hole"]
        assert change.before["rate"] != change.after["rate"]
        assert 0 <= change.after["rate"] <= 1
        assert {name: value for name, value in change.after.items() if name != "rate"} == {
            name: value for name, value in change.before.items() if name != "rate"
        }
        assert any(
            note.startswith(f"{record.trial} goes on after step {change.step} from {change.donor} with rate") for note in story.notes
        )
        assert change.checkpoint.split("/")[1] == change.donor
    assert {record.seed for record in story.search.values()} == {SEED}
    written = [event for event in story.journal if event["event"] == "mutate"]
    assert [(event["trial"], event["step"]) for event in written] == sorted(
        ((record.trial, change.step) for record, change in changes), key=lambda entry: entry[1]
    )
    rows = {row["trial"]: row for row in story.store.trials(story.spec.name).to_dict("records")}
    run_ids = {record.trial: rows[record.trial]["run_id"] for record, _ in changes}
    for record, change in changes:
        assert f"sweep.change.{change.step:05d}" in story.store.client.get_run(run_ids[record.trial]).data.tags


def test_a_populations_result_is_measured_as_it_was_trained(story: Story) -> None:
    if SCHEDULERS[story.spec.scheduler.kind].changes_knobs:
        (final,) = [record for record in story.outcome.records if record.kind == "final"]
        assert story.outcome.best is not None
        assert (final.knobs, final.state) == (story.outcome.best.knobs, "complete")
        assert final.results[STEPS]["test_l2_hole"] == pytest.approx(story.outcome.best.results[STEPS]["l2_hole"])


# --- without Ray's controller -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_trials_that_wait_for_each_other_are_all_let_in(kind: str) -> None:
    spec = spec_of(kind)
    made = scheduler(spec, "min", STEPS, [], resolve(spec, toy_rooms())["toy"])
    assert lets_all_in(made) == SCHEDULERS[kind].pauses
    assert checkpoints_needed(spec.scheduler) == (2 + 2 if SCHEDULERS[kind].changes_knobs else 1)


Refusal = tuple[str, dict[str, Any], str]
REFUSALS: list[Refusal] = [
    *((kind, {"objective": {"also": ["psnr_hole"]}}, "scheduler.kind: .*several objectives") for kind in SCHEDULERS if kind != "none"),
    ("pbt", {"search": {"algorithm": "tpe"}}, "search.algorithm: must be random or sobol with scheduler pbt"),
    ("pbt", {"retrain": True}, "retrain: must be false with scheduler pbt"),
    ("pbt", {"objective": {"constraints": [{"metric": "size", "at_most": 1}]}}, "scheduler.kind: pbt does not go with constraints"),
    ("pbt", {"model": ["toy", "other"], "knobs": {"toy": {"shift": "search"}}}, "scheduler.kind: pbt does not go with several models"),
    ("pbt", {"budget": {"trials": 3, "epochs": STEPS}}, "budget.trials: must be at least 4 with scheduler pbt, but got 3"),
    ("pbt", {"scheduler": {"kind": "pbt", "perturb_steps": STEPS}}, "scheduler.perturb_steps: must be below budget.epochs = 6, but got 6"),
    ("pbt", {"knobs": {"kind": "search"}}, "knobs.kind: pbt changes numbers alone, but got plain, odd"),
    ("pbt", {"knobs": {"fated": "search"}}, "knobs.fated: pbt changes numbers alone, but got True, False"),
    ("pbt", {"knobs": {"size": "search"}}, "knobs.size: .*, but size changes the layers; fix it"),
    ("pbt", {"knobs": {"rate": "search", "seed": [1, 2]}}, "knobs.seed: .*a seed is no knob; fix it"),
    ("pb2", {"knobs": {"count": [1, 2]}}, "knobs.count: pb2 searches ranges alone, but got a list"),
    ("median", {"budget": {"trials": 3, "epochs": STEPS}}, "budget.trials: must be at least 4 with scheduler median, but got 3"),
    ("median", {"scheduler": {"kind": "median", "grace_steps": 7}}, "scheduler.grace_steps: must be at most budget.epochs = 6, but got 7"),
    ("hyperband", {"scheduler": {"kind": "hyperband", "grace_steps": 2}}, "scheduler.grace_steps: goes with asha, median, but kind is"),
    ("asha", {"scheduler": {"kind": "asha", "perturb_steps": 2}}, "scheduler.perturb_steps: goes with pbt, pb2, but kind is 'asha'"),
]


@pytest.mark.parametrize(("kind", "changes", "problem"), REFUSALS)
def test_what_does_not_go_together_is_refused_with_the_reason(kind: str, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec_of(kind, **changes)


@pytest.mark.parametrize("knob", ["count", "listed"])
def test_a_population_changes_whole_numbers_and_lists_of_numbers_too(knob: str) -> None:
    knobs: dict[str, Any] = {"count": "search"} if knob == "count" else {"rate": [0.1, 0.2, 0.4]}
    assert spec_of("pbt", knobs=knobs).scheduler.kind == "pbt"


@pytest.mark.parametrize(
    ("results", "steps", "next_change"),
    [([], 2, 2), ([1, 1], 2, 2), ([2, 1], 2, 4), ([2, 2], 2, 4), ([5, 3], 3, 6), ([6, 0], 3, 9)],
)
def test_after_a_resume_the_next_change_comes_where_no_trial_has_passed(results: list[int], steps: int, next_change: int) -> None:
    spec = spec_of("pbt", scheduler={"kind": "pbt", "perturb_steps": steps}, budget={"trials": 6, "epochs": 20})
    records = [
        TrialRecord(f"search-{n:04d}", n, "toy", {}, 0, results={step: {} for step in range(1, last + 1)}) for n, last in enumerate(results)
    ]
    records.append(TrialRecord("search-0009", 9, "toy", {}, 0, "complete", results={20: {}}))  # ended: nobody waits for it
    made = scheduler(spec, "min", 20, records, {"rate": KnobSearch(0.5, low=0.0, high=1.0)})
    assert made._next_perturbation_sync == next_change


def decide(made: Any, trials: dict[str, Any], order: list[tuple[str, int, float]]) -> list[str]:
    return [made.on_trial_result(None, trials[name], {"step": step, "l2_hole": value}) for name, step, value in order]


def test_the_median_rule_stops_what_is_worse_than_the_others_means_also_after_a_replay(ray_trial: Callable[[str], Any]) -> None:
    """Worked by hand. At step 1 the means of a, b and c are 4, 3 and 2: d's 3 is no worse than their median. At step 2 they are 3.5, 2.5
    and 1.5: d's best, 2.75, is worse than 2.5. With d's own mean, 2.875, the median is 2.6875: e's best, 2.5, is no worse.
    """
    spec = spec_of("median")
    order = [
        (name, step, value) for name, values in {"a": (4, 3), "b": (3, 2), "c": (2, 1)}.items() for step, value in enumerate(values, 1)
    ]
    made = scheduler(spec, "min", STEPS)
    names = {name: ray_trial(name) for name in "abcde"}
    assert decide(made, names, order) == ["CONTINUE"] * 6
    later = [("d", 1, 3.0), ("d", 2, 2.75), ("e", 1, 2.5), ("e", 2, 2.5)]
    expected = ["CONTINUE", "STOP", "CONTINUE", "CONTINUE"]
    assert decide(made, names, later) == expected
    records = [TrialRecord(n, i, "toy", {}, 0, results={s: {"l2_hole": v} for m, s, v in order if m == n}) for i, n in enumerate("abc")]
    again = scheduler(spec, "min", STEPS, records)
    assert decide(again, names, [order[0], *later]) == ["CONTINUE", *expected]  # a step that is told again counts once
    again.on_trial_complete(None, names["e"], {"step": 3, "diverged": "loss", "done": True})  # tells nothing


def test_hyperbands_first_bracket_is_full_once_it_has_had_its_trials_however_few_run_at_once() -> None:
    """Of nine steps the first bracket takes three trials to their end; the second compares five at step 3."""

    class RayTrial:
        status = "RUNNING"

    made = scheduler(spec_of("hyperband"), "min", 9)

    def decisions(trial: RayTrial) -> list[str]:
        """Up to the first that does not let it go on."""
        found = []
        while not found or found[-1] == "CONTINUE":
            found.append(made.on_trial_result(None, trial, {"step": len(found) + 1, "l2_hole": 1.0}))
        return found

    for _ in range(3):  # one at a time, each ended before the next begins
        trial = RayTrial()
        made.on_trial_add(None, trial)
        assert decisions(trial) == ["CONTINUE"] * 8 + ["STOP"]
        made.on_trial_remove(None, trial)
    fourth, fifth = RayTrial(), RayTrial()
    made.on_trial_add(None, fourth)
    made.on_trial_add(None, fifth)
    assert decisions(fourth) == ["CONTINUE", "CONTINUE", "PAUSE"]


@pytest.fixture
def ray_trial() -> Callable[[str], Any]:
    """What Ray hands to a scheduler: its own id, and the name in the sweep."""
    from types import SimpleNamespace

    return lambda name: SimpleNamespace(trial_id=f"ray-{name}", config={"trial": name})
