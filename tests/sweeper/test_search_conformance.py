"""One suite for every search algorithm of the table: ask, report, tell, kill, reopen, lose the study, in process, on real studies."""

import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from toy_rooms import SPACE, toy_rooms

from sweeper.capabilities import ALGORITHMS, CONSTRAINTS, LISTS, MODELS, ONE, REBUILD, SEVERAL, WARM_START
from sweeper.errors import SpecError, StudyError
from sweeper.journal import Change, TrialRecord
from sweeper.search import Assignment, Proposals, check_storage
from sweeper.search.storage import DAMAGED, FILE
from sweeper.space import resolve
from sweeper.spec import Spec
from sweeper.validation import validate

pytestmark = pytest.mark.conformance

TRIALS, SHORT = 14, 9  # tpe and gp draw their first ten at random, bohb eight
RANGES = {"rate": {"low": 0.0, "high": 1.0}, "shift": {"low": -1.0, "high": 1.0}}
KNOBS: dict[str, Any] = RANGES | {"count": {"low": 1, "high": 8}}
LISTED: dict[str, Any] = {"rate": {"low": 0.0, "high": 1.0, "points": 8}, "kind": "search"}
VARIANTS: Mapping[str, dict[str, Any]] = {
    ONE: {},
    SEVERAL: {"objective": {"also": ["psnr_hole"]}},
    MODELS: {"model": ["toy", "other"], "knobs": {"toy": KNOBS, "other": RANGES | {"rate": {"low": 0.5, "high": 1.0}}}},
    CONSTRAINTS: {"objective": {"constraints": [{"metric": "size", "at_most": 1}]}},
    LISTS: {"knobs": LISTED},
    WARM_START: {"warm_start": {"configurations": [{"rate": 0.25}]}},
}
installed = {name: not entry.missing for name, entry in ALGORITHMS.items()}
GOOD = ("complete", "infeasible")
Open = Callable[..., Proposals]


def needs_package(name: str) -> Any:
    """A parameter that is skipped where the algorithm's package is not installed."""
    return pytest.param(name, marks=pytest.mark.skipif(not installed[name], reason=lacking(name)))


def lacking(name: str) -> str:
    """Why an algorithm is skipped."""
    return f"{' and '.join(ALGORITHMS[name].missing)} not installed; pip install {shlex.quote(ALGORITHMS[name].package)}"


def cases(accepted: bool) -> Iterator[Any]:
    """Every algorithm with every variant that the table accepts, or refuses."""
    for name, entry in ALGORITHMS.items():
        for trait in VARIANTS:
            extra = [] if trait in (ONE, SEVERAL) or ONE not in entry.refuses else [SEVERAL]
            if (trait not in entry.refuses) == accepted:
                marks = pytest.mark.skipif(accepted and not installed[name], reason=lacking(name))
                yield pytest.param(name, [trait, *extra], marks=marks, id=f"{name}-{trait}")


def spec_of(algorithm: str, traits: list[str], name: str = "mine", **changes: Any) -> Spec:
    fields: dict[str, Any] = {
        "name": name,
        "model": "toy",
        "data": {"name": "photos"},
        "knobs": KNOBS,
        "search": {"algorithm": algorithm, "seed": 5},
        "scheduler": {"kind": next(iter(ALGORITHMS[algorithm].schedulers), "none")},
        "budget": {"trials": TRIALS, "epochs": 2},
    }
    objective: dict[str, Any] = {}
    for trait in traits:
        objective |= VARIANTS[trait].get("objective", {})
        fields |= {key: value for key, value in VARIANTS[trait].items() if key != "objective"}
    return validate(fields | {"objective": objective} | changes, toy_rooms())


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database for many studies, since making one takes longer than a study."""
    return f"sqlite:///{tmp_path_factory.mktemp('studies') / 'all.db'}"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without a study."""
    path = tmp_path_factory.mktemp("empty") / FILE
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def opened(tmp_path: Path, empty: Path) -> Open:
    """Opens a sweep's study; the same spec is the same study again."""
    shutil.copy(empty, tmp_path / FILE)

    def proposals(spec: Spec, initial: Any = (), folder: Path = tmp_path) -> Proposals:
        rooms = toy_rooms()
        also = {name: rooms.metrics[name] for name in spec.objective.also}
        return Proposals(spec, resolve(spec, rooms), "min", folder, also, initial)

    return proposals


def resolve_searched(spec: Spec, model: str) -> list[str]:
    """The knobs of a model that are searched."""
    return [name for name, knob in resolve(spec, toy_rooms())[model].items() if not knob.fixed]


def losses(assignment: Assignment) -> list[float]:
    """The objective after each of two steps: least at rate 0.3 and shift -0.5."""
    rate, shift = assignment.knobs["rate"], assignment.knobs["shift"]
    end = (rate - 0.3) ** 2 + (shift + 0.5) ** 2
    return [end + 1.0, end]


def fate(number: int, spec: Spec) -> str:
    if number == 3:
        return "stopped"
    if number == 4:
        return "failed"
    return "infeasible" if spec.objective.constraints and number == 5 else "complete"


def record_of(assignment: Assignment, spec: Spec) -> TrialRecord:
    """What the journal would hold of a trial at its end."""
    state = fate(assignment.number, spec)
    steps = losses(assignment)[: 1 if state == "stopped" else 2] if state != "failed" else []
    results = {step: {"l2_hole": value, "psnr_hole": 10 - value, "epoch": float(step)} for step, value in enumerate(steps, 1)}
    record = TrialRecord(assignment.trial, assignment.number, assignment.model, assignment.knobs, assignment.seed, results=results)
    record.state, record.violations = state, violations_of(state, spec)  # type: ignore[assignment]
    return record


def violations_of(state: str, spec: Spec) -> dict[str, float]:
    return {"size": 3.0 if state == "infeasible" else -0.5} if spec.objective.constraints and state != "failed" else {}


def end(proposals: Proposals, record: TrialRecord, spec: Spec) -> None:
    for step, result in record.results.items():
        proposals.report(record.trial, step, result["l2_hole"])
    proposals.tell(record.trial, record.state, record.best_values("l2_hole", "min", spec.objective.also), record.violations)


def run_through(proposals: Proposals, spec: Spec, count: int) -> list[TrialRecord]:
    """So many trials, one after the other."""
    records = []
    for _ in range(count):
        assignment = proposals.ask()
        if assignment is None:
            break
        records.append(record_of(assignment, spec))
        end(proposals, records[-1], spec)
    return records


def stored(spec: Spec, folder: Path) -> list[optuna.trial.FrozenTrial]:
    """A study's trials as Optuna itself reads them."""
    return optuna.load_study(study_name=spec.name, storage=spec.study or f"sqlite:///{folder / FILE}").trials


@pytest.mark.parametrize(("algorithm", "traits"), list(cases(accepted=True)))
def test_a_story_of_asks_ends_and_a_kill(algorithm: str, traits: list[str], opened: Open, database: str, tmp_path: Path) -> None:
    name = f"{algorithm}-{'-'.join(traits)}".replace(" ", "_")
    learns = algorithm in ("tpe", "gp", "bohb") and not {LISTS, WARM_START} & set(traits)
    limit = TRIALS if learns else SHORT
    spec = spec_of(algorithm, traits, name, study=database, budget={"trials": limit, "epochs": 2})
    initial = [("toy", {"rate": 0.25})] if WARM_START in traits else []
    before = opened(spec, initial)
    assert before.limit == limit
    records = run_through(before, spec, limit - 3)
    known, unheard = before.ask(), before.ask()
    assert known is not None
    assert unheard is not None
    before.report(known.trial, 1, 7.0)
    half = TrialRecord(known.trial, known.number, known.model, known.knobs, known.seed, results={1: {"l2_hole": 7.0}, 2: {"l2_hole": 6.0}})
    del before  # killed

    after = opened(spec, initial)
    unfinished = after.reconcile([*records, half], "l2_hole", "min")
    assert [(each.trial, each.model, each.knobs, each.seed) for each in unfinished] == [
        (each.trial, each.model, each.knobs, each.seed) for each in (known, unheard)
    ]
    for each in (known, unheard):
        after.tell(each.trial, "complete", [1.0] * (1 + len(spec.objective.also)), violations_of("complete", spec))
    run_through(after, spec, 100)
    assert (after.begun(), after.ask()) == (limit, None)

    found = stored(spec, tmp_path)
    expected = {"complete": "COMPLETE", "infeasible": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert [trial.state.name for trial in found] == [expected[fate(trial.number, spec)] for trial in found]
    assert [trial.number for trial in found] == list(range(limit))
    for trial, record in zip(found, records, strict=False):
        assert {parameter.split(".")[-1]: value for parameter, value in trial.params.items() if parameter != "model"} == {
            knob: record.knobs[knob] for knob in record.knobs if knob in str(trial.params)
        }
        assert all(SPACE[knob].holds(value) for knob, value in record.knobs.items())
        assert trial.constraints == record.violations
        steps = {} if spec.objective.also else {step: result["l2_hole"] for step, result in record.results.items()}
        assert trial.intermediate_values == steps
        if record.state in GOOD:
            assert trial.values == record.best_values("l2_hole", "min", spec.objective.also)
    if MODELS in traits and algorithm != "grid":  # whose first cells are all one model's
        assert {record.model for record in records} == {"toy", "other"}


@pytest.mark.parametrize(("algorithm", "traits"), list(cases(accepted=False)))
def test_what_the_table_says_no_to_is_refused_with_the_reason(algorithm: str, traits: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(algorithm, traits)
    reason = ALGORITHMS[algorithm].refuses[traits[0]]
    place = "knobs.kind" if traits[0] == LISTS and installed[algorithm] else "search.algorithm"
    if installed[algorithm] or traits[0] != LISTS:
        assert any(line.startswith(f"  - {place}: ") and reason in line for line in str(caught.value).splitlines()), caught.value


@pytest.mark.parametrize("algorithm", [name for name, there in installed.items() if not there])
def test_an_algorithm_whose_package_is_missing_says_what_to_install(algorithm: str) -> None:
    remedy = re.escape(f"not installed; pip install {shlex.quote(ALGORITHMS[algorithm].package)}, or use another")
    with pytest.raises(SpecError, match=rf"search.algorithm: {algorithm} needs the packages? .* {remedy}"):
        spec_of(algorithm, [ONE])


def natural(algorithm: str) -> list[str]:
    """What an algorithm is for: several objectives where one is refused."""
    return [SEVERAL if ONE in ALGORITHMS[algorithm].refuses else ONE]


@pytest.mark.parametrize("algorithm", [needs_package(name) for name in ALGORITHMS])
def test_interruptions_and_a_lost_study_change_no_configuration(algorithm: str, opened: Open, database: str, tmp_path: Path) -> None:
    """The same spec and seed, one trial at a time: straight through, taken up twice, and with a study that is gone at the last trials."""
    specs = [spec_of(algorithm, natural(algorithm), f"{algorithm}-{how}", study=database) for how in ("straight", "taken-up")]
    straight = run_through(opened(specs[0]), specs[0], TRIALS)
    again: list[TrialRecord] = []
    for count in (6, 5, TRIALS):
        proposals = opened(specs[1])
        assert proposals.reconcile(again, "l2_hole", "min") == []
        again += run_through(proposals, specs[1], count)
    assert again == straight
    if ONE not in ALGORITHMS[algorithm].refuses:  # a genetic algorithm may give out a parent again
        assert len({str(record.knobs) for record in straight}) == TRIALS
    if REBUILD not in ALGORITHMS[algorithm].refuses:
        lost = spec_of(algorithm, natural(algorithm))  # whose study is empty
        proposals = opened(lost)
        assert proposals.reconcile(straight[:11], "l2_hole", "min") == []
        assert proposals.begun() == 11
        assert run_through(proposals, lost, TRIALS) == straight[11:]
        states = [trial.state.name for trial in stored(lost, tmp_path)]
        assert states == [trial.state.name for trial in stored(specs[0], tmp_path)]


# --- the study ------------------------------------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "garbage":
        path.write_bytes(b"no database at all" * 100)
    elif how == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        shutil.copy(path.with_name("older.db"), path)


@pytest.mark.parametrize("how", ["gone", "garbage", "truncated", "empty", "older"])
def test_a_damaged_study_is_made_anew_and_search_goes_on_where_it_was(how: str, opened: Open, tmp_path: Path) -> None:
    spec = spec_of("tpe", [CONSTRAINTS])
    whole = opened(spec)
    records = run_through(whole, spec, 6)
    shutil.copy(tmp_path / FILE, tmp_path / "older.db")
    records += run_through(whole, spec, 6)
    before = stored(spec, tmp_path)
    expected = whole.ask()
    del whole
    damage(tmp_path / FILE, how)

    after = opened(spec)
    assert after.reconcile(records, "l2_hole", "min") == []
    assert after.ask() == expected
    found = stored(spec, tmp_path)[:12]
    for old, new in zip(before, found, strict=True):
        assert (new.number, new.state, new.values, new.params) == (old.number, old.state, old.values, old.params)
        assert (new.intermediate_values, new.constraints) == (old.intermediate_values, old.constraints)
    assert (tmp_path / DAMAGED).exists() == bool(after.notes) == (how in ("garbage", "truncated"))


def test_a_rebuilt_study_hands_out_what_was_running_and_draws_again_what_nobody_had_heard_of(
    opened: Open, empty: Path, tmp_path: Path
) -> None:
    spec = spec_of("random", [ONE])
    before = opened(spec)
    first, unheard, third = (before.ask() for _ in range(3))
    assert first is not None
    assert unheard is not None
    assert third is not None
    shutil.copy(empty, tmp_path / FILE)
    records = [record_of(first, spec), replace(record_of(third, spec), state="running")]
    unfinished = opened(spec).reconcile(records, "l2_hole", "min")
    assert [(each.trial, each.knobs, each.state) for each in unfinished] == [
        (unheard.trial, unheard.knobs, "running"),
        (third.trial, third.knobs, "running"),
    ]
    assert [trial.state.name for trial in stored(spec, tmp_path)] == ["COMPLETE", "RUNNING", "RUNNING"]


def test_ended_trials_that_are_to_go_on_are_running_again_in_the_same_study(opened: Open, tmp_path: Path) -> None:
    """An extended sweep: the journal says "running" of trials that the study has ended."""
    spec = spec_of("nsga2", [SEVERAL])
    records = run_through(opened(spec), spec, 7)
    generations = [trial.system_attrs for trial in stored(spec, tmp_path)]
    again = [replace(record, state="running") if record.state == "complete" else record for record in records]
    proposals = opened(spec_of("nsga2", [SEVERAL], budget={"trials": TRIALS, "epochs": 4}))
    unfinished = proposals.reconcile(again, "l2_hole", "min")
    assert unfinished == [record for record in again if record.state == "running"]
    found = stored(spec, tmp_path)
    assert {trial.state for trial in found if trial.number not in (3, 4)} == {TrialState.RUNNING}
    assert (found[3].state, found[4].state) == (TrialState.PRUNED, TrialState.FAIL)
    assert [trial.system_attrs for trial in found] == generations
    proposals.tell(unfinished[0].trial, "complete", [0.5, 2.0])
    assert stored(spec, tmp_path)[0].values == [0.5, 2.0]


@pytest.mark.parametrize("drawn", ["nothing", "the model alone"])
def test_a_trial_that_a_crash_kept_from_being_drawn_is_drawn_when_it_is_taken_up(drawn: str, opened: Open, tmp_path: Path) -> None:
    spec = spec_of("tpe", [MODELS])
    proposals = opened(spec)
    expected = [proposals.ask() for _ in range(3)][2]
    with sqlite3.connect(tmp_path / FILE) as connection:
        kept = "" if drawn == "nothing" else " AND param_name != 'model'"
        connection.execute(f"DELETE FROM trial_params WHERE trial_id = 3{kept}")
    taken_up = opened(spec).reconcile([], "l2_hole", "min")[2]
    assert expected is not None
    assert (taken_up.trial, taken_up.model) == (expected.trial, expected.model)
    assert (taken_up.knobs == expected.knobs) == (drawn == "nothing")
    (found,) = [trial for trial in stored(spec, tmp_path) if trial.number == 2]
    assert {name.split(".")[-1] for name in found.params} == {"model", *resolve_searched(spec, taken_up.model)}


@pytest.mark.parametrize(
    ("state", "values", "violations", "told"),
    [
        ("infeasible", [1.0], {"size": 2.0}, "COMPLETE"),
        ("infeasible", None, {"size": 2.0}, "PRUNED"),
        ("complete", [1.0], {"size": -1.0}, "COMPLETE"),
        ("stopped", [1.0], {"size": 0.0}, "PRUNED"),
        ("complete", [float("nan")], {}, "FAIL"),
        ("complete", [1.0], {"size": float("nan")}, "FAIL"),
        ("complete", None, {}, "FAIL"),
    ],
)
def test_the_study_is_told_of_limits_that_are_broken(
    state: str, values: list[float] | None, violations: dict[str, float], told: str, opened: Open, database: str, tmp_path: Path
) -> None:
    spec = spec_of("tpe", [CONSTRAINTS], f"limits-{tmp_path.name}", study=database)
    proposals = opened(spec)
    assignment = proposals.ask()
    assert assignment is not None
    proposals.report(assignment.trial, 1, 4.0)
    proposals.tell(assignment.trial, state, values, violations)
    (found,) = stored(spec, tmp_path)
    assert found.state.name == told
    assert found.constraints == (violations if told != "FAIL" else {})


def test_an_end_that_was_told_half_is_told_whole(opened: Open, tmp_path: Path) -> None:
    """Killed between the constraint and the end."""
    spec = spec_of("tpe", [CONSTRAINTS])
    assignment = opened(spec).ask()
    assert assignment is not None
    study = optuna.load_study(study_name=spec.name, storage=f"sqlite:///{tmp_path / FILE}")
    optuna.trial.Trial(study, study.trials[0]._trial_id).set_constraint("size", -0.5)
    opened(spec).reconcile([record_of(assignment, spec)], "l2_hole", "min")
    (found,) = stored(spec, tmp_path)
    assert (found.state, found.constraints) == (TrialState.COMPLETE, {"size": -0.5})


def test_given_configurations_come_after_the_papers_and_what_does_not_fit_is_listed(opened: Open) -> None:
    spec = spec_of("random", [MODELS])
    initial = [
        ("other", {"rate": 0.6, "shift": 0.5}),
        ("toy", {"rate": 7.0}),  # outside
        ("toy", {"count": 3}),  # the others keep their usual value
        ("nobody", {}),
        ("toy", {"rate": 0.5}),  # the paper's own
        ("toy", {"colour": 1}),
    ]
    proposals = opened(spec, initial)
    assert proposals.left_out == [initial[1], initial[3], initial[5]]
    asked = [proposals.ask() for _ in range(2)]
    later = opened(spec)  # what the study was begun with stays
    later.reconcile([], "l2_hole", "min")
    asked += [later.ask() for _ in range(2)]
    told = [(each.model, each.knobs["rate"], each.knobs["shift"], each.knobs["count"]) for each in asked if each is not None]
    assert told == [("toy", 0.5, 0.0, 2), ("other", 0.75, 0.0, 2), ("other", 0.6, 0.5, 2), ("toy", 0.5, 0.0, 3)]


def test_a_grid_with_a_greater_budget_goes_on_with_its_next_cells(opened: Open, database: str) -> None:
    small = spec_of("grid", [ONE], budget={"trials": 3, "epochs": 2})
    cells = [each.knobs for each in opened(spec_of("grid", [ONE], "whole", study=database)).preview(6)]
    records = run_through(opened(small), small, 9)
    greater = opened(spec_of("grid", [ONE], budget={"trials": 6, "epochs": 2}))
    greater.reconcile(records, "l2_hole", "min")
    assert [record.knobs for record in records] + [each.knobs for each in greater.preview(9)] == cells


def test_the_study_tells_of_knobs_that_changed_on_the_way(opened: Open, empty: Path, tmp_path: Path) -> None:
    spec = spec_of("random", [ONE])
    proposals = opened(spec)
    assignment = proposals.ask()
    assert assignment is not None
    change = Change(2, assignment.knobs, assignment.knobs | {"rate": 0.75}, "search-0003", "attempt-001/search-0003/checkpoint_000001")
    proposals.changed(assignment.trial, change)
    told = {"change after step 2": {"knobs": change.after, "donor": "search-0003"}}
    assert stored(spec, tmp_path)[0].user_attrs == told
    shutil.copy(empty, tmp_path / FILE)
    record = replace(record_of(assignment, spec), knobs=change.after, changes=[change])
    opened(spec).reconcile([record], "l2_hole", "min")
    (found,) = stored(spec, tmp_path)
    assert (found.params["rate"], found.user_attrs) == (assignment.knobs["rate"], told)


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("sqlite:////nowhere/at/all/study.db", "unable to open database file"),
        ("no address", "Could not parse"),
        ("delphi://host/db", "delphi"),
        ("postgresql://me:secret@127.0.0.1:1/db", "127.0.0.1"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_told_before_anything_starts(address: str, part: str) -> None:
    with pytest.raises(StudyError, match="study: a database that Optuna can use must answer at") as caught:
        check_storage(spec_of("tpe", [ONE], study=address))
    assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_another_sweeps_study_of_the_same_name_is_left_alone(opened: Open, database: str, tmp_path: Path) -> None:
    spec = spec_of("random", [ONE], "shared", study=database)
    opened(spec).ask()
    with pytest.raises(StudyError, match=rf"must be this sweep's own, but it belongs to {tmp_path}; give the sweep another name"):
        opened(spec, folder=tmp_path / "elsewhere")
    assert len(stored(spec, tmp_path)) == 1
