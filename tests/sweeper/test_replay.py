"""Recorded learning curves replayed: times computed by hand, decisions of a real sweep, and recordings that cannot be replayed."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_rooms import toy_rooms

from sweeper.cli.export import step_rows
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.recording import Curve, Recording, read_table, recording
from sweeper.replay import Policy, Run, outcomes, replay
from sweeper.runner import run
from sweeper.search.recorded import RecordedSearch
from sweeper.space import KnobSearch
from sweeper.spec import Budget, Data, Scheduler, Search, Spec
from sweeper.sqlite_reader import open_reader
from sweeper.validation import validate
from tests.sweeper.conftest import Said, SilentProgress

NONE = Scheduler()
ASHA = Scheduler(kind="asha", grace_steps=1, reduction=2)  # of up to 4 steps: rungs after 1, 2 and 4
Sweep = Callable[..., Said]


def recorded(*curves: Sequence[float], step_s: Sequence[float] | None = None, mode: str = "min") -> Recording:
    """Curves of the objective; the knob "rate" is a curve's place, a step takes a second and is an epoch."""
    seconds = step_s or [1.0] * len(curves)
    made = [
        Curve(f"search-{place:04d}", {"rate": float(place)}, "complete", tuple(curve), (took,) * len(curve), (1.0,) * len(curve))
        for place, (curve, took) in enumerate(zip(curves, seconds, strict=True))
    ]
    return Recording("by hand", "toy", "l2_hole", mode, tuple(made))


def replayed(of: Recording, policy: Policy, target: float | None = None, seed: int = 0) -> Run:
    return replay(of, of.searched({}), policy, seed, target)


def spec_of(algorithm: str, trials: int, seed: int = 0) -> Spec:
    search = Search.model_validate({"algorithm": algorithm, "seed": seed})
    return Spec(name="each", model="toy", data=Data(name="none"), search=search, budget=Budget(trials=trials, epochs=1))


def smooth(count: int, steps: int = 9) -> Recording:
    """Curves whose ends lie on a bowl over two knobs, in an order that tells nothing; no two of them cross."""
    draws = np.random.default_rng(5).uniform(size=(count, 2))
    curves = []
    for place, (rate, shift) in enumerate(draws.tolist()):
        values = tuple(1 + 4 * (rate - 0.3) ** 2 + (shift - 0.6) ** 2 + 1 / step for step in range(1, steps + 1))
        knobs = {"rate": rate, "shift": shift}
        curves.append(Curve(f"search-{place:04d}", knobs, "complete", values, (1.0,) * steps, (1.0,) * steps))
    return Recording("smooth", "toy", "l2_hole", "min", tuple(curves))


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [
        (1, 3 + 1 + 2 + 2 + 4),
        (2, 7),  # one trains 3 s, then the last curve's 4; the other 1, 2 and 2
        (3, 6),  # 3 s; 1 s, then 2; 2 s, then 4
        (9, 4),
    ],
)
def test_without_early_stopping_the_clock_goes_as_the_workers_are_free(workers: int, seconds: float) -> None:
    of = recorded([9, 8], [7], [6, 5], [4], [3, 2], step_s=[1.5, 1, 1, 2, 2])
    assert replayed(of, Policy("grid", NONE, workers)) == Run(seconds=seconds, trials=5, epochs=8)


def test_the_clock_stops_where_the_target_is_reached() -> None:
    of = recorded([9, 8, 7], [6, 5, 4], [3, 2, 1], step_s=[1, 2, 5])
    assert replayed(of, Policy("grid", NONE, 1), target=5) == Run(seconds=3 + 4, trials=2, epochs=5)
    # two workers: 3 steps of a second and 2 of two seconds; the third curve has begun after 3 s
    assert replayed(of, Policy("grid", NONE, 2), target=5) == Run(seconds=4, trials=3, epochs=5)


def test_asha_stops_what_is_worse_than_the_better_half() -> None:
    of = recorded([5, 4, 3, 2], [6, 1, 1, 1], [4, 3.5, 2.5, 1.5])
    # the second is worse than the first after a step and stops; the third is better at each rung
    assert replayed(of, Policy("grid", ASHA, 1)) == Run(seconds=4 + 1 + 4, trials=3, epochs=9)


def test_what_the_scheduler_has_lost_is_paid_for() -> None:
    of = recorded([5, 4, 3, 2], [6, 5, 4, 1], [7, 6, 5, 1])
    # 4 + 1 + 1 epochs, and all that come to 1 are stopped: the second is trained on for three steps
    assert replayed(of, Policy("grid", ASHA, 1), target=1) == Run(seconds=6 + 3, trials=3, epochs=9, lost=True)
    # two workers go on with both at once, when the first has ended after 4 s
    assert replayed(of, Policy("grid", ASHA, 2), target=1) == Run(seconds=4 + 3, trials=3, epochs=6 + 5, lost=True)


def test_the_greatest_value_wins_where_it_is_to() -> None:
    of = recorded([5, 6], [1, 2], [7, 8], mode="max")
    assert of.best == 8
    assert of.target(0.25) == 6
    assert replayed(of, Policy("grid", ASHA, 1)) == Run(seconds=2 + 1 + 2, trials=3, epochs=5)


def test_the_target_is_a_share_of_the_best() -> None:
    of = recorded([5, 4], [math.nan, 2])
    assert of.target(0.02) == pytest.approx(2.04)
    assert not of.reaches(math.nan, 10)


@pytest.mark.parametrize("algorithm", ["grid", "random", "tpe"])
def test_without_a_scheduler_every_epoch_is_trained_once(algorithm: str) -> None:
    of = smooth(20)
    assert replayed(of, Policy(algorithm, NONE, 3)).epochs == of.epochs == 20 * 9


def test_a_seed_fixes_a_replay() -> None:
    of = smooth(24)
    first, again, other = (replayed(of, Policy("tpe", ASHA, 4), of.target(0.0), seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("algorithm", ["grid", "random", "sobol", "tpe", "cmaes"])
def test_every_algorithm_gives_each_configuration_once(algorithm: str) -> None:
    of = smooth(13)
    search = RecordedSearch(spec_of(algorithm, 13), of.searched({}), [curve.knobs for curve in of.curves], "min")
    given = []
    while (index := search.ask()) is not None:
        search.report(index, 1, of.curves[index].values[-1])
        search.tell(index, "complete", of.curves[index].values[-1])
        given.append(index)
    assert Counter(given) == Counter(range(13))
    assert (given == sorted(given)) == (algorithm == "grid")


def test_what_learns_proposes_better_ones_than_chance() -> None:
    of = recorded(*([abs(place - 40.0)] for place in np.random.default_rng(1).permutation(64).tolist()))
    of = replace(of, curves=tuple(replace(curve, knobs={"rate": curve.values[0]}) for curve in of.curves))
    learnt: list[float] = []
    for seed in range(3):
        search = RecordedSearch(spec_of("tpe", 64, seed), of.searched({}), [curve.knobs for curve in of.curves], "min")
        for number in range(26):
            index = search.ask()
            assert index is not None
            search.tell(index, "complete", of.curves[index].values[0])
            learnt += [of.curves[index].values[0]] if number >= 10 else []  # the first ten are random
    chance = statistics.mean(curve.values[0] for curve in of.curves)
    assert statistics.mean(learnt) < 0.8 * chance  # the 48 of pure chance would be within a tenth of it, two times in three


def test_outcomes_are_means_over_the_seeds() -> None:
    of = recorded([5, 4], [3, 2], [9, 8], [7, 6])
    runs = [replayed(of, Policy("random", NONE, 1), of.target(0), seed) for seed in range(8)]
    (outcome,) = outcomes(of, of.searched({}), [Policy("random", NONE, 1)], 8, 0.0)
    assert outcome.seconds == statistics.mean(each.seconds for each in runs)
    assert outcome.spread == (min(each.seconds for each in runs), max(each.seconds for each in runs))
    assert {each.seconds for each in runs} <= {2.0, 4.0, 6.0, 8.0}  # whole curves before it, and its own


@pytest.fixture(scope="module")
def toy_sweeps(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, dict[str, int]]]:
    """A sweep without early stopping and the same ones with it, one trial at a time; and how many steps each trial had."""
    home, steps = Home(tmp_path_factory.mktemp("recorded")), {}
    for kind in ("none", "asha", "median"):
        fields: dict[str, Any] = {
            "name": kind,
            "model": "toy",
            "data": {"name": "photos"},
            "knobs": {"rate": {"low": 0.1, "high": 1.0}, "shift": {"low": -1.0, "high": 1.0}, "size": [1, 2]},
            "search": {"algorithm": "random", "seed": 3},
            "scheduler": {"kind": kind},
            "budget": {"trials": 14, "epochs": 6},
            "resources": {"cpus": 2},  # all that there are
            "seeds": 0,
            "pictures": 0,
        }
        run(validate(fields, toy_rooms()), toy_rooms(), home, SilentProgress(), spec_name=kind, fresh=True)
        steps[kind] = {name: len(record.results) for name, record in read_trials(home.folder(kind)).items()}
    return home, steps


@pytest.mark.parametrize("kind", ["asha", "median"])
@pytest.mark.conformance
def test_the_replayed_scheduler_decides_as_it_does_in_a_sweep(kind: str, toy_sweeps: tuple[Home, dict[str, dict[str, int]]]) -> None:
    home, steps = toy_sweeps
    of = recording(step_rows(open_reader(home.store_uri), "none"), "none", "l2_hole", "min")
    assert [len(curve.values) for curve in of.curves] == [6] * 14
    came = {}
    for curve in of.curves:  # whose epochs alone count
        counted = tuple(replace(each, epochs=(float(each is curve),) * 6) for each in of.curves)
        policy = Policy("grid", Scheduler.model_validate({"kind": kind}), 1)
        came[curve.trial] = replayed(replace(of, curves=counted), policy).epochs
    assert came == steps[kind]
    assert sum(came.values()) < 14 * 6


def test_a_sweep_and_its_exported_table_are_replayed_alike(
    toy_sweeps: tuple[Home, dict[str, dict[str, int]]], sweep: Sweep, tmp_path: Path
) -> None:
    home, _ = toy_sweeps
    options = ["--algorithm", "random,tpe", "--workers", "2", "--seeds", "3", "--json", "--home", str(home.root)]
    by_name = json.loads(sweep("replay", "none", *options).out)
    assert by_name["configurations"] == 14
    assert by_name["knobs"]["size"] == "1, 2"
    assert " to " in by_name["knobs"]["rate"]
    for suffix in (".parquet", ".csv"):
        file = tmp_path / f"none{suffix}"
        assert sweep("export", "none", "--steps", "--to", str(file), "--home", str(home.root)).code == 0
        assert json.loads(sweep("replay", str(file), *options).out) == by_name


def test_a_sweep_with_early_stopping_is_no_recording(toy_sweeps: tuple[Home, dict[str, dict[str, int]]], sweep: Sweep) -> None:
    home, _ = toy_sweeps
    said = sweep("replay", "asha", "--home", str(home.root))
    assert said.code == 2
    assert "the curves of a recording must be whole, but" in said.err
    assert "scheduler: {kind: none}" in said.err


def table(changes: Mapping[str, Any] | None = None, trials: int = 6, steps: int = 4) -> pd.DataFrame:
    """An exported table by hand."""
    rows = [
        {
            "sweep": "hand",
            "trial": f"search-{trial:04d}",
            "role": "search",
            "model": "cnn_autoencoder",
            "state": "complete",
            "reason": "",
            "param.dropout": 0.1 * trial,
            "param.neck": "fc",
            "step": step,
            "epoch": step * 0.5,
            "wall_s": step * (trial + 1.0),
            "l2_hole": 5 - trial - 0.1 * step,
        }
        | dict(changes or {})
        for trial in range(trials)
        for step in range(1, steps + 1)
    ]
    return pd.DataFrame(rows)


def test_a_recording_is_read_from_a_table() -> None:
    rows = table()
    rows.loc[rows["trial"] == "search-0001", "state"] = "failed"
    rows.loc[rows["trial"] == "search-0002", ["state", "reason"]] = ["stopped", "wall_s of the budget is spent"]
    of = recording(rows, "hand", "l2_hole", "min")
    assert [curve.trial for curve in of.curves] == ["search-0000", "search-0003", "search-0004", "search-0005"]
    assert of.curves[1].knobs == {"dropout": pytest.approx(0.3)}  # what is equal in all is no knob of the search
    assert of.curves[1].seconds == (4.0,) * 4
    assert of.curves[1].epochs == (0.5,) * 4
    assert of.epochs == 4 * 4 * 0.5
    assert [note.split(" are")[0] for note in of.notes] == ["1 trials of state 'failed'", "1 trials of state 'stopped'"]


def test_a_table_of_either_kind_is_the_same_recording(tmp_path: Path) -> None:
    rows = table()
    rows["param.learning_rate"] = 0.1 / (3 + rows["param.dropout"] * 10)
    rows["param.batch_norm"] = [str(rate > 0.02) for rate in rows["param.learning_rate"]]  # as MLflow holds it
    rows.to_csv(tmp_path / "hand.csv", index=False)
    rows.to_parquet(tmp_path / "hand.parquet", index=False)
    of, other = (recording(read_table(tmp_path / f"hand{suffix}"), "hand", "l2_hole", "min") for suffix in (".csv", ".parquet"))
    assert of == other
    assert of.searched({})["batch_norm"].values == ("True", "False")


def test_what_is_searched_follows_from_what_was_recorded() -> None:
    knobs = [{"rate": 10.0**-place, "count": place, "size": place % 3, "kind": "ab"[place % 2]} for place in range(8)]
    curves = tuple(Curve(f"search-{place:04d}", each, "complete", (1.0,), (1.0,), (1.0,)) for place, each in enumerate(knobs))
    searched = Recording("hand", "toy", "l2_hole", "min", curves).searched({})
    assert searched == {
        "rate": KnobSearch(first=1.0, low=1e-7, high=1.0, log=True),
        "count": KnobSearch(first=0, low=0, high=7, whole=True),
        "size": KnobSearch(first=0, values=(0, 1, 2)),
        "kind": KnobSearch(first="a", values=("a", "b")),
    }


def test_the_command_says_what_to_do_next(sweep: Sweep, tmp_path: Path) -> None:
    table(trials=9).to_parquet(tmp_path / "hand.parquet", index=False)
    said = sweep("replay", str(tmp_path / "hand.parquet"), "--workers", "1", "--seeds", "2", "--within", "0.02", "--reduction", "2")
    assert said.code == 0, said.err
    assert "hand: 9 configurations of cnn_autoencoder, 18 epochs" in said.out
    assert "next, with 1 at once: sweep run SPEC --set search.algorithm=" in said.out
    assert "until within 0.02 of the best, mean of 2 seeds" in said.out
    options = ["--algorithm", "random", "--workers", "2", "--seeds", "2", "--json"]
    told = json.loads(sweep("replay", str(tmp_path / "hand.parquet"), *options).out)
    assert [each["scheduler"] for each in told["outcomes"]] == [{"kind": "asha", "grace_steps": 1, "reduction": 3}, {"kind": "none"}]
    assert told["outcomes"][1]["of_random"] == 1


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda rows: rows.drop(columns=["wall_s", "state"]), (), "but lacks state, wall_s; write it with: sweep export NAME"),
        (lambda rows: rows.assign(model=rows["trial"]), (), "a recording must be of one model, but has search-0000, search-0001"),
        (lambda rows: rows[rows["role"] == "final"], (), "must be of one model, but has none"),
        (lambda rows: rows.assign(state="stopped", reason="the scheduler stopped it"), (), "6 trials were stopped early"),
        (lambda rows: rows.assign(state="running"), (), "two whole curves of l2_hole or more, but has 0"),
        (lambda rows: rows.assign(l2_hole=math.nan), (), "two whole curves of l2_hole or more"),
        (lambda rows: rows.assign(**{"param.dropout": 0.1}), (), "must differ, but have equal knobs"),
        (lambda rows: rows, ("--metric", "psnr_hole"), "there is no column 'psnr_hole'; name another with --metric"),
        (lambda rows: rows, ("--metric", "beauty"), "--metric must be one of"),
        (lambda rows: rows, ("--algorithm", "tpe,magic"), "--algorithm must be of grid, random, sobol, tpe"),
        (lambda rows: rows, ("--scheduler", "hyperband"), "--scheduler must be of none, asha, median, but got hyperband"),
        (lambda rows: rows, ("--algorithm", "nsga2", "--scheduler", "none"), "nsga2 does not go with one objective"),
        (lambda rows: rows, ("--grace-steps", "9", "--scheduler", "asha"), "scheduler.grace_steps: must be at most"),
        (lambda rows: rows, ("--workers", "1,no"), "--workers must be whole numbers"),
        (lambda rows: rows, ("--within", "two"), "--within must be a share"),
    ],
)
def test_what_cannot_be_replayed_is_told(
    change: Callable[[Any], Any], options: tuple[str, ...], says: str, sweep: Sweep, tmp_path: Path
) -> None:
    file = tmp_path / "hand.parquet"
    change(table()).to_parquet(file, index=False)
    said = sweep("replay", str(file), *options)
    assert (said.code, said.out) == (2, ""), said
    assert says in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.parquet", "a recording must be a file that exists, but"),
        ("broken.parquet", "a recording must be a table, but"),
        ("empty.csv", "a recording must be a table, but"),
        ("../sweep", "a sweep's name must be letters"),
    ],
)
def test_what_is_no_recording_is_told(name: str, says: str, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty.csv").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    said = sweep("replay", name)
    assert said.code == 2
    assert says in said.err
