"""What a sweep came to, read from the store: leaderboard, best configuration, test result, paths, and what to type next.

Where the store is away the sweep's journal tells the states and the best trial.
"""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from sweeper.cli.tables import leaderboard, pareto_front, ranked, searched_knobs, shorten
from sweeper.errors import SweepStateError, TrackingError
from sweeper.home import Home
from sweeper.journal import ranked as ranked_records
from sweeper.journal import read_tags, read_trials
from sweeper.tracking import Store


def print_summary_or_journal(out: Console, home: Home, name: str) -> None:
    """Prints a sweep's summary from the store, or from its journal where the store does not answer.

    Raises:
        TrackingError: the store does not answer and there is no journal of that sweep.
        SweepStateError: the store has no such sweep.
    """
    try:
        print_summary(out, Store(home.store_uri, create=False), name, home.root)
    except TrackingError as error:
        if not read_tags(home.folder(name)):
            raise
        out.print(f"[yellow]note[/yellow] {escape(str(error))}", soft_wrap=True)
        print_from_journal(out, home, name)


def print_from_journal(out: Console, home: Home, name: str) -> None:
    """Prints what a sweep's journal knows: states, the best trial, where the journal is."""
    folder = home.folder(name)
    tags, records = read_tags(folder), read_trials(folder)
    metric, mode = tags["sweep.objective"], tags["sweep.mode"]
    states = Counter(record.state for record in records.values() if record.kind == "search")
    told = ", ".join(f"{count} {state}" for state, count in states.most_common())
    out.print(f"\n[bold]{name}[/bold], from its journal: {told or 'no trial yet'}")
    best = next(iter(ranked_records(records.values(), metric, mode)), None)
    found = best.best(metric, mode) if best is not None else None
    if best is not None and found is not None:
        out.print(f"best: [bold]{best.trial}[/bold] {metric} {found[1]:.4g} at step {found[0]}")
        out.print("configuration: " + ", ".join(f"{knob}={shorten(value)}" for knob, value in best.knobs.items()), soft_wrap=True)
    tested = [result[f"test_{metric}"] for record in records.values() for result in record.results.values() if f"test_{metric}" in result]
    if tested:
        out.print(f"test split, measured once: {metric} {pd.Series(tested).mean():.4g} over {len(tested)} run(s)")
    out.print(f"journal:      {(folder / 'journal.jsonl').resolve()}", soft_wrap=True)
    out.print(f"next:         sweep sync {name}{home.options}", soft_wrap=True)


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
