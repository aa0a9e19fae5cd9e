"""BOHB: what it makes of a study, that it learns, that it draws the same again, and that it is refused where it cannot be had."""

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from toy_rooms import toy_rooms

from sweeper.capabilities import ALGORITHMS, SCHEDULERS
from sweeper.cli.tables import capability_notes
from sweeper.errors import SpecError
from sweeper.home import Home
from sweeper.journal import TrialRecord
from sweeper.runner import Outcome, run
from sweeper.search import Assignment, Proposals
from sweeper.search.algorithms import Draw, sampler, trial_seed
from sweeper.search.bohb import hyperparameter, position_of, results_by_budget, value_at
from sweeper.space import resolve
from sweeper.spec import Spec
from sweeper.validation import validate

REMEDY = "pip install 'inpaint-sweeps[bohb]'"
needs_packages = pytest.mark.skipif(
    bool(ALGORITHMS["bohb"].missing), reason=f"{' and '.join(ALGORITHMS['bohb'].missing)} not installed; {REMEDY}"
)
PLANE: dict[str, BaseDistribution] = {"x": FloatDistribution(-1.0, 1.0), "rate": FloatDistribution(1e-6, 1e-2, log=True)}
KINDS: dict[str, BaseDistribution] = {
    "linear": FloatDistribution(-3.0, 1 / 3),
    "log": FloatDistribution(1e-15, 1e-13, log=True),  # which ConfigSpace's own floats, of 13 decimals, do not hold
    "whole": IntDistribution(2, 9),
    "whole_log": IntDistribution(1, 1000, log=True),
    "words": CategoricalDistribution(["fc", "conv"]),
    "mixed": CategoricalDistribution([False, 2, 0.5, "two", None]),
    "one": FloatDistribution(0.25, 0.25),
    "one_word": CategoricalDistribution(["fc"]),
}
BRACKET, BRACKETS, SEEDS = 9, 3, 3


def sampled(study: optuna.Study, space: Mapping[str, BaseDistribution], sweep_seed: int, algorithm: str = "bohb") -> optuna.Trial:
    """The next trial of a study, drawn as the engine draws it: by a sampler made for it alone."""
    number = len(study.get_trials(deepcopy=False))
    study.sampler = sampler(algorithm, Draw(trial_seed(sweep_seed, number), sweep_seed, 99, conditional=False, space=space))
    trial = study.ask()
    for name, distribution in space.items():
        trial._suggest(name, distribution)
    return trial


def far(params: Mapping[str, Any]) -> float:
    """Square of the distance from the optimum in the unit square: x = 0.5 and rate = 1e-5."""
    return float((params["x"] - 0.5) ** 2 / 4 + ((math.log10(params["rate"]) + 5) / 4) ** 2)


def brackets(algorithm: str, seed: int, count: int = BRACKETS) -> Iterator[float]:
    """Hyperband's brackets of nine of which three go on and one to the end; how far each trial is."""
    study = optuna.create_study()
    for _ in range(count):
        begun = []
        for _ in range(BRACKET):
            trial = sampled(study, PLANE, seed, algorithm)
            trial.report(far(trial.params), 1)
            yield far(trial.params)
            begun.append(trial)
        begun.sort(key=lambda trial: far(trial.params))
        for place, trial in enumerate(begun):
            for step in (3, 9)[: 2 if place == 0 else 1 if place < 3 else 0]:
                trial.report(far(trial.params), step)
            study.tell(trial, far(trial.params) if place == 0 else None, TrialState.COMPLETE if place == 0 else TrialState.PRUNED)


def spec_of(**changes: Any) -> Spec:
    fields: dict[str, Any] = {
        "name": "mine",
        "model": "toy",
        "data": {"name": "photos"},
        "knobs": {"rate": {"low": 0.0, "high": 1.0}, "kind": "search"},
        "search": {"algorithm": "bohb", "seed": 5},
        "scheduler": {"kind": "hyperband"},
        "budget": {"trials": 12, "epochs": 3},
    }
    return validate(fields | changes, toy_rooms())


# --- what it makes of a study ---------------------------------------------------------------------------------------------------------


def test_every_value_is_a_result_of_its_step_and_a_failure_is_a_crash_in_the_step_after() -> None:
    study = optuna.create_study(direction="maximize")

    def add(x: float, state: TrialState, values: dict[int, float], space: Mapping[str, BaseDistribution] = {"x": PLANE["x"]}) -> None:
        params = dict.fromkeys(space, x)
        value = 1.0 if state == TrialState.COMPLETE else None
        trial = optuna.create_trial(state=state, params=params, distributions=dict(space), intermediate_values=values, value=value)
        study.add_trial(trial)

    add(0.1, TrialState.COMPLETE, {1: 1.0, 2: 2.0, 3: 3.0})
    add(0.2, TrialState.PRUNED, {1: 0.5})
    add(0.3, TrialState.FAIL, {1: 4.0, 2: math.nan})
    add(0.4, TrialState.FAIL, {})
    add(0.5, TrialState.RUNNING, {1: 5.0, 2: 6.0})
    add(0.6, TrialState.RUNNING, {1: 7.0}, {})  # a crash kept it from being drawn
    assert results_by_budget(reversed(study.trials), ["x"], -1.0) == {
        1: [({"x": 0.1}, -1.0), ({"x": 0.2}, -0.5), ({"x": 0.3}, -4.0), ({"x": 0.4}, None), ({"x": 0.5}, -5.0)],
        2: [({"x": 0.1}, -2.0), ({"x": 0.3}, None), ({"x": 0.5}, -6.0)],
        3: [({"x": 0.1}, -3.0)],
    }


@pytest.mark.parametrize(
    ("kind", "value", "position"),
    [
        ("linear", -3.0, 0.0),
        ("linear", 1 / 3, 1.0),
        ("linear", -3.0 + 10 / 12, 0.25),
        ("log", 1e-14, 0.5),
        ("log", 1e-13, 1.0),
        ("whole", 7, 7),
        ("whole_log", 1000, 1000),
        ("words", "conv", 1),
        ("mixed", False, 0),
        ("mixed", 2, 1),
        ("mixed", None, 4),
    ],
)
def test_a_value_has_a_place_and_comes_back_from_it(kind: str, value: Any, position: float) -> None:
    assert position_of(KINDS[kind], value) == pytest.approx(position, abs=1e-12)
    back = value_at(KINDS[kind], np.asarray([position])[0])
    assert type(back) is type(value)
    assert back == pytest.approx(value, rel=1e-12) if isinstance(value, float) else back == value


@needs_packages
def test_parameters_are_what_configspace_has_for_them() -> None:
    made = {name: hyperparameter(name, each) for name, each in KINDS.items() if not each.single()}
    assert {name: type(each).__name__.removesuffix("Hyperparameter") for name, each in made.items()} == {
        "linear": "UniformFloat",
        "log": "UniformFloat",
        "whole": "UniformInteger",
        "whole_log": "UniformInteger",
        "words": "Categorical",
        "mixed": "Categorical",
    }
    assert (made["whole"].lower, made["whole"].upper, made["whole"].log) == (2, 9, False)
    assert (made["whole_log"].lower, made["whole_log"].upper, made["whole_log"].log) == (1, 1000, True)
    assert list(made["mixed"].choices) == [0, 1, 2, 3, 4]


@needs_packages
def test_what_is_drawn_lies_in_its_distribution_as_a_plain_value() -> None:
    """With a model too: of six parameters 14 results are needed, and each trial makes two."""
    study = optuna.create_study()
    for _ in range(11):
        trial = sampled(study, KINDS, 1)
        study.add_trial(study.get_trials()[-1])  # a second result of the same parameters
        trial.report(trial.params["linear"], 1)
        study.tell(trial, trial.params["linear"])
    drawn = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    kinds = {"linear": {float}, "log": {float}, "whole": {int}, "whole_log": {int}, "words": {str}, "one": {float}, "one_word": {str}}
    assert {name: {type(params[name]) for params in drawn} for name in kinds} == kinds
    assert {type(params["mixed"]) for params in drawn} <= {bool, int, float, str, type(None)}
    assert all(each._contains(each.to_internal_repr(params[name])) for params in drawn for name, each in KINDS.items())
    assert len({params["log"] for params in drawn}) == len(drawn)


# --- that it learns -------------------------------------------------------------------------------------------------------------------


@needs_packages
def test_its_later_draws_are_nearer_to_the_optimum_than_random_ones() -> None:
    """Of twelve seeds each by itself has a better median; over three of them it is a quarter to a third of the random one."""
    medians = {
        algorithm: np.median([list(brackets(algorithm, seed))[BRACKET:] for seed in range(SEEDS)]) for algorithm in ("bohb", "random")
    }
    assert medians["bohb"] < 0.5 * medians["random"]


@needs_packages
def test_what_it_draws_at_random_beside_the_model_comes_from_the_whole_space() -> None:
    """A third of the draws: the choice to draw at random says nothing of where."""
    study = optuna.create_study()
    for _ in range(40):
        trial = sampled(study, PLANE, 3, "random")
        trial.report(far(trial.params), 1)
        study.tell(trial, far(trial.params))
    found = []
    for number in range(40, 80):
        made = sampler("bohb", Draw(trial_seed(3, number), 3, 99, conditional=False, space=PLANE))
        found.append(made.sample_relative(study, study.trials[0], dict(PLANE)))
    distant = [params for params in found if far(params) > 0.1]
    assert 5 <= len(distant) <= 20
    positions = [position_of(PLANE["rate"], params["rate"]) for params in distant]
    assert min(positions) < 0.25
    assert max(positions) > 0.75


# --- that it draws the same again -----------------------------------------------------------------------------------------------------


@needs_packages
def test_the_same_seed_draws_the_same_whatever_others_draw_and_leaves_their_draws_alone() -> None:
    runs = []
    for seed, noise in ((1, 10), (1, 20), (2, 10)):
        np.random.seed(noise)  # the global state is another program's
        expected = np.random.RandomState(noise).random_sample(3)
        runs.append(list(brackets("bohb", seed, 1)))
        assert list(np.random.random_sample(3)) == list(expected)
    assert runs[0] == runs[1]
    assert not set(runs[0]) & set(runs[2])


@needs_packages
def test_nothing_that_its_packages_say_reaches_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    """Lists of two words, of which all good ones have the same, divide by zero in hpbandster's densities."""
    space = PLANE | {"word": CategoricalDistribution(["a", "b"])}
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study = optuna.create_study()
        for _ in range(14):
            trial = sampled(study, space, 0)
            trial.report(far(trial.params) + 9 * (trial.params["word"] == "b"), 1)
            study.tell(trial, None, TrialState.FAIL if trial.number == 3 else TrialState.PRUNED)
    assert [str(each.message) for each in caught] == []
    assert warnings.filters == before
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def run_toy(local_ray: None, home: Home, new_progress: Callable[[], Any]) -> Callable[[Spec], Outcome]:
    """Runs a sweep of the toy's on the tests' Ray."""
    return lambda spec: run(spec, toy_rooms(), home, new_progress(), spec_name="from_a_test", fresh=True)


def opened(folder: Path) -> Proposals:
    folder.mkdir(exist_ok=True)
    spec = spec_of()
    return Proposals(spec, resolve(spec, toy_rooms()), "min", folder)


def run_through(proposals: Proposals, count: int) -> list[TrialRecord]:
    """So many trials, as the journal would hold them: every third runs to the end, one crashes, the others are stopped or wait."""
    records = []
    for _ in range(count):
        assignment = proposals.ask()
        assert assignment is not None
        records.append(told(proposals, assignment))
    return records


def told(proposals: Proposals, assignment: Assignment) -> TrialRecord:
    number, value = assignment.number, (assignment.knobs["rate"] - 0.3) ** 2 + (assignment.knobs["kind"] == "odd")
    state = "failed" if number == 4 else "complete" if number % 3 == 0 else "stopped" if number % 3 == 1 else "running"
    steps = range(1, 4 if state == "complete" else 2)
    record = TrialRecord(assignment.trial, number, assignment.model, assignment.knobs, assignment.seed)
    record.results = {step: {"l2_hole": value + 1 / step, "epoch": float(step)} for step in steps}
    record.state = state  # type: ignore[assignment]
    for step, result in record.results.items():
        proposals.report(record.trial, step, result["l2_hole"])
    if state != "running":
        proposals.tell(record.trial, state, record.best_values("l2_hole", "min", ()))
    return record


@needs_packages
@pytest.mark.parametrize("kept", [True, False], ids=["interrupted", "study lost"])
def test_an_interrupted_sweep_draws_what_it_would_have_drawn(kept: bool, tmp_path: Path) -> None:
    straight = opened(tmp_path / "straight")
    records = run_through(straight, 8)
    expected = run_through(straight, 4)
    if kept:
        run_through(opened(tmp_path / "again"), 8)
    again = opened(tmp_path / "again")
    waiting = again.reconcile(records, "l2_hole", "min")
    assert [record.trial for record in waiting] == [record.trial for record in records if record.state == "running"]
    assert run_through(again, 4) == expected
    assert all(type(record.knobs["rate"]) is float and type(record.knobs["kind"]) is str for record in expected)


@needs_packages
@pytest.mark.conformance
def test_in_a_real_sweep_it_learns_while_trials_wait_at_their_rungs(
    run_toy: Callable[[Spec], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HyperBand's first rung is step 1: nearly all that is known when a trial is drawn are first steps of trials that are not ended."""
    from hpbandster.optimizers.config_generators.bohb import BOHB

    draw, drawn = BOHB.get_config, []

    def watched(generator: BOHB, budget: int) -> Any:
        configuration, told = draw(generator, budget)
        drawn.append(told["model_based_pick"])
        return configuration, told

    monkeypatch.setattr(BOHB, "get_config", watched)
    knobs = {"rate": {"low": 0.0, "high": 1.0}, "shift": "search"}
    outcome = run_toy(spec_of(name="bohb", knobs=knobs, budget={"trials": 18, "epochs": 9}, seeds=0, pictures=0))
    assert {record.state for record in outcome.records} == {"complete", "stopped"}
    assert len(outcome.records) == len(drawn) + 1 == 18  # the first is the paper's
    assert not any(drawn[:5])
    assert any(drawn[5:])


# --- that it is refused where it cannot be had ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (["hpbandster"], "the package hpbandster, which is not installed"),
        (["ConfigSpace", "hpbandster"], "the packages ConfigSpace and hpbandster, which are not installed"),
    ],
)
def test_without_its_packages_it_is_refused_with_what_to_install(lacking: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ALGORITHMS["bohb"].modules:  # as Python itself marks what cannot be imported
        monkeypatch.setitem(sys.modules, module, None if module in lacking else sys)
    with pytest.raises(SpecError) as caught:
        spec_of()
    assert f"  - search.algorithm: bohb needs {words}; {REMEDY}, or use another" in str(caught.value).splitlines()
    assert any(f"not installed here: {REMEDY.replace('[', chr(92) + '[')}" in note for note in capability_notes())


@pytest.mark.skipif(not ALGORITHMS["bohb"].missing, reason="its packages are installed here")
def test_where_its_packages_really_are_missing_nothing_but_they_are_told() -> None:
    with pytest.raises(SpecError, match=r"^the spec has 1 problem; .*\n  - search.algorithm: bohb needs the packages? .*inpaint-sweeps"):
        spec_of()


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULERS if kind not in ("hyperband", "asha")])
def test_schedulers_without_rungs_are_refused(kind: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(scheduler={"kind": kind})
    told = [line for line in str(caught.value).splitlines() if "bohb" in line and "pip install" not in line]
    if SCHEDULERS[kind].algorithms:
        assert told == [line for line in told if line.startswith(f"  - search.algorithm: must be random or sobol with scheduler {kind}")]
    else:
        assert told == [
            "  - scheduler.kind: must be hyperband or asha with algorithm bohb, which learns from trials that are compared at rungs, "
            f"but got '{kind}'; use tpe with {kind}"
        ]
