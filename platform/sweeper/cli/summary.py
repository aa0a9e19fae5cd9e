"""What a sweep came to, read from the store: leaderboard, best configuration, test result, paths, and what to type next."""

import json
from pathlib import Path

import pandas as pd
from rich.console import Console

from sweeper.cli.tables import leaderboard, pareto_front, ranked, searched_knobs, shorten
from sweeper.errors import SweepStateError
from sweeper.tracking import Store


def print_summary(out: Console, store: Store, name: str, home: Path) -> None:
    """Prints everything there is to know about a sweep.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    sweep = store.sweep(name)
    if sweep is None:
        there = ", ".join(row.name for row in store.sweeps()) or "none"
        raise SweepStateError(f"a sweep must be in the store {store.uri}, but {name!r} is not; there is: {there}")
    trials = store.trials(name)
    metric, mode = sweep.tags["sweep.objective"], sweep.tags["sweep.mode"]
    best = ranked(trials, metric, mode)
    states = trials[trials["role"] == "search"]["state"].value_counts()
    out.print(f"\n[bold]{name}[/bold] is {sweep.tags['sweep.state']}: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    if best.empty:
        out.print("no trial has a value yet")
        return
    searched = searched_knobs(trials)
    out.print(leaderboard(trials, metric, mode, searched))
    also = json.loads(sweep.tags.get("sweep.also", "{}"))
    if also:
        out.print(leaderboard(pareto_front(trials, {metric: mode} | also), metric, mode, searched, also, title="Pareto front"))
    top = best.iloc[0]
    plain = sweep.metrics.get(f"ring_mean_validation_{metric}", float("nan"))
    out.print(f"best: [bold]{top['trial']}[/bold] {metric} {top[f'metric.best_{metric}']:.4g}; filling with the ring's mean: {plain:.4g}")
    settings = {column.removeprefix("param."): top[column] for column in trials.columns if column.startswith("param.")}
    out.print("configuration: " + ", ".join(f"{knob}={shorten(value)}" for knob, value in settings.items()), soft_wrap=True)
    _print_test(out, trials, metric, sweep.metrics)
    _print_paths(out, store, name, home)


def _print_test(out: Console, trials: pd.DataFrame, metric: str, baseline: object) -> None:
    """The result on the test split, mean and spread over seeds: of the best configuration, or of every one that was trained again."""
    column = f"metric.test_{metric}"
    if column not in trials:
        return
    finals = trials[(trials["role"] == "final") & trials[column].notna()]
    searched = [f"param.{knob}" for knob in searched_knobs(trials)]
    groups = finals.groupby(searched, sort=False, dropna=False) if searched else [((), finals)]
    plain = baseline.get(f"ring_mean_test_{metric}", float("nan")) if isinstance(baseline, dict) else float("nan")
    for settings, group in groups if len(finals) else []:
        values = group[column]
        spread = f" +- {values.std():.2g}" if len(values) > 1 else ""
        which = " of " + ", ".join(map(shorten, settings)) if len(values) < len(finals) else ""
        measured = f"{metric} {values.mean():.4g}{spread} over {len(values)} seed(s)"
        out.print(f"test split{which}, measured once: {measured}; the ring's mean: {plain:.4g}")


def _print_paths(out: Console, store: Store, name: str, home: Path) -> None:
    picture = home / "sweeps" / name / "pictures" / "best.png"
    if picture.exists():
        out.print(f"picture grid: {picture.resolve()}", soft_wrap=True)
    out.print(f"store:        {store.uri}", soft_wrap=True)
    out.print(f"next:         sweep ui    sweep show {name}    python -m reports.build", soft_wrap=True)
