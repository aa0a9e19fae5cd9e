"""What a sweep came to, read from the store: leaderboard, best configuration, test result, paths, and what to type next.

Where the store is away the sweep's journal tells the states and the best trial.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape

from sweeper.cli.tables import SHOWN_MODEL, leaderboard, pareto_front, ranked, searched_knobs, shorten
from sweeper.errors import SweepStateError, TrackingError
from sweeper.home import Home
from sweeper.journal import ranked as ranked_records
from sweeper.journal import read_tags, read_trials
from sweeper.rows import Reader, SweepRow
from sweeper.sqlite_reader import open_reader
from sweeper.status import true_state


def known_sweep(reader: Reader, name: str) -> SweepRow:
    """A sweep of the store.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    sweep = reader.sweep(name)
    if sweep is None:
        there = ", ".join(row.name for row in reader.sweeps()) or "none"
        raise SweepStateError(f"a sweep must be in the store {reader.uri}, but {name!r} is not; there is: {there}")
    return sweep


def knobs_of(row: Any) -> dict[str, Any]:
    """The configuration of one row of `Reader.trials`."""
    return {column.removeprefix("param."): row[column] for column in row.index if column.startswith("param.") and pd.notna(row[column])}


def best_of(sweep: SweepRow, trials: pd.DataFrame) -> Any:
    """The row of the sweep's best trial, the one that a finished sweep chose itself; None where no trial has a value."""
    best = ranked(trials, sweep.tags["sweep.objective"], sweep.tags["sweep.mode"])
    if best.empty:
        return None
    chosen = best[best["trial"] == sweep.tags.get("sweep.best")] if sweep.tags.get("sweep.state") == "finished" else best
    return (best if chosen.empty else chosen).iloc[0]


def print_summary_or_journal(out: Console, home: Home, name: str) -> None:
    """Prints a sweep's summary from the store, or from its journal where the store does not answer.

    Raises:
        TrackingError: the store does not answer and there is no journal of that sweep.
        SweepStateError: the store has no such sweep.
    """
    try:
        print_summary(out, open_reader(home.store_uri), name, home.root)
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


def print_summary(out: Console, reader: Reader, name: str, home: Path) -> None:
    """Prints everything there is to know about a sweep.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    sweep = known_sweep(reader, name)
    trials = reader.trials(name)
    metric, mode = sweep.tags["sweep.objective"], sweep.tags["sweep.mode"]
    states = trials[trials["role"] == "search"]["state"].value_counts()
    state = true_state(Home(home), sweep)
    out.print(f"\n[bold]{name}[/bold] is {state}: " + ", ".join(f"{count} {each}" for each, count in states.items()))
    top = best_of(sweep, trials)
    if top is None:
        out.print("no trial has a value yet")
        return
    searched = searched_knobs(trials)
    out.print(leaderboard(trials, metric, mode, searched))
    also = json.loads(sweep.tags.get("sweep.also", "{}"))
    if also:
        out.print(leaderboard(pareto_front(trials, {metric: mode} | also), metric, mode, searched, also, title="Pareto front"))
    plain = sweep.metrics.get(f"ring_mean_validation_{metric}", float("nan"))
    out.print(f"best: [bold]{top['trial']}[/bold] {metric} {top[f'metric.best_{metric}']:.4g}; filling with the ring's mean: {plain:.4g}")
    model = f"{top['model']} with " if SHOWN_MODEL in searched else ""
    out.print("configuration: " + model + ", ".join(f"{knob}={shorten(value)}" for knob, value in knobs_of(top).items()), soft_wrap=True)
    for settings, values in test_results(trials, metric):
        spread = f" +- {values.std():.2g}" if len(values) > 1 else ""
        which = " of " + ", ".join(map(shorten, settings)) if settings else ""
        baseline = sweep.metrics.get(f"ring_mean_test_{metric}", float("nan"))
        measured = f"{metric} {values.mean():.4g}{spread} over {len(values)} seed(s)"
        out.print(f"test split{which}, measured once: {measured}; the ring's mean: {baseline:.4g}")
    for title, path in _paths(home, name).items():
        out.print(f"{title + ':':13} {path}", soft_wrap=True)
    out.print(f"store:        {reader.uri}", soft_wrap=True)
    out.print(f"next:         sweep ui    sweep show {name}    python -m reports.build", soft_wrap=True)


def summary(reader: Reader, name: str, home: Path, rows: int) -> dict[str, Any]:
    """The same as one document; of the leaderboard as many rows as asked for.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    sweep = known_sweep(reader, name)
    trials = reader.trials(name)
    metric, mode = sweep.tags["sweep.objective"], sweep.tags["sweep.mode"]
    also = json.loads(sweep.tags.get("sweep.also", "{}"))
    top = best_of(sweep, trials)
    return {
        "name": name,
        "state": true_state(Home(home), sweep),
        "run_id": sweep.run_id,
        "tags": {key: value for key, value in sweep.tags.items() if key.startswith("sweep.")},
        "objective": metric,
        "mode": mode,
        "trials": {str(key): int(count) for key, count in trials[trials["role"] == "search"]["state"].value_counts().items()},
        "best": None if top is None else trial_document(top),
        "leaderboard": [trial_document(row) for _, row in ranked(trials, metric, mode).head(rows).iterrows()],
        "pareto_front": [str(trial) for trial in pareto_front(trials, {metric: mode} | also)["trial"]] if also else [],
        "test": [
            {"knobs": list(of), "mean": values.mean(), "std": values.std(), "n": len(values)} for of, values in test_results(trials, metric)
        ],
        "baseline": {key: value for key, value in sweep.metrics.items() if key.startswith("ring_mean_")},
        "paths": {title: str(path) for title, path in _paths(home, name).items()},
        "store": reader.uri,
    }


def trial_document(row: Any) -> dict[str, Any]:
    """One row of `Reader.trials` as a document."""
    plain = {key: row[key] for key in ("trial", "role", "model", "state", "reason", "seed", "run_id", "started_s", "ended_s")}
    metrics = {key.removeprefix("metric."): row[key] for key in row.index if key.startswith("metric.") and pd.notna(row[key])}
    return plain | {"knobs": knobs_of(row), "metrics": metrics}


def test_results(trials: pd.DataFrame, metric: str) -> list[tuple[tuple[Any, ...], "pd.Series[float]"]]:
    """Values on the test split over seeds: of the best configuration (no settings named), or of every one that was trained again."""
    column = f"metric.test_{metric}"
    if column not in trials:
        return []
    finals = trials[(trials["role"] == "final") & trials[column].notna()]
    searched = [column for column in _columns(searched_knobs(trials)) if column in finals]
    if finals.empty:
        return []
    if not searched:
        return [((), finals[column])]
    groups = [(settings, group[column]) for settings, group in finals.groupby(searched, sort=False, dropna=False)]
    return [(settings if len(values) < len(finals) else (), values) for settings, values in groups]


def _columns(searched: list[str]) -> list[str]:
    return [name if name == SHOWN_MODEL else f"param.{name}" for name in searched]


def _paths(home: Path, name: str) -> dict[str, Path]:
    """Where what can be looked at lies, as far as it is here."""
    folder = Home(home).folder(name)
    found = {"picture grid": folder / "pictures" / "best.png", "plots": folder / "plots" / "index.html"}
    return {title: path.resolve() for title, path in found.items() if path.exists()}
