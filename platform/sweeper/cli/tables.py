"""What the commands print: leaderboards, lists of sweeps, models and knobs."""

import datetime as dt
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from sweeper.capabilities import ALGORITHM_TRAITS, ALGORITHMS, SCHEDULER_TRAITS, SCHEDULERS, Algorithm, SchedulerKind
from sweeper.rooms import Knob
from sweeper.rows import SweepRow

LEADERBOARD_ROWS = 10
SHOWN_MODEL = "model"
UNRANKED = ("infeasible",)


def leaderboard(
    trials: pd.DataFrame,
    metric: str,
    mode: str,
    searched: list[str],
    also: Iterable[str] = (),
    *,
    title: str = "the best",
    rows: int = LEADERBOARD_ROWS,
) -> Table:
    """The best search trials by the first objective, with the knobs that were searched."""
    better = "lower" if mode == "min" else "higher"
    table = Table(title=f"{title} by {metric} (validation, {better} is better)", title_justify="left")
    values = [metric, *also]
    for name in ("trial", "state", *values, "step", *searched):
        table.add_column(name, justify="right" if name in (*values, "step") else "left", no_wrap=name == "trial")
    for row in ranked(trials, metric, mode).head(rows).to_dict("records"):
        knobs = [str(row[name]) if name == SHOWN_MODEL else shorten(row.get(f"param.{name}", "")) for name in searched]
        numbers = [f"{row.get(f'metric.best_{name}', float('nan')):.4g}" for name in values]
        table.add_row(row["trial"], row["state"], *numbers, f"{row['metric.best_step']:.0f}", *knobs)
    return table


def pareto_front(trials: pd.DataFrame, modes: Mapping[str, str]) -> pd.DataFrame:
    """Search trials that no other one beats in one objective without losing in another.

    Args:
        trials: as `Store.trials` gives them.
        modes: "min" or "max" for each objective.
    """
    columns = [f"metric.best_{name}" for name in modes]
    found = _ranked_at_all(trials)
    found = found[found.reindex(columns=columns).notna().all(axis=1)]
    losses = found[columns].to_numpy(float) * [1 if mode == "min" else -1 for mode in modes.values()]
    beaten = [bool(((losses <= own).all(axis=1) & (losses < own).any(axis=1)).any()) for own in losses]
    return found[[not lost for lost in beaten]]


def ranked(trials: pd.DataFrame, metric: str, mode: str) -> pd.DataFrame:
    """Search trials that have a value and break no constraint, the best first."""
    column = f"metric.best_{metric}"
    if column not in trials:
        return trials.iloc[:0]
    found = _ranked_at_all(trials)
    found = found[found[column].notna()]
    return found.sort_values([column, "trial"], ascending=[mode == "min", True])


def _ranked_at_all(trials: pd.DataFrame) -> pd.DataFrame:
    """Search trials that may win."""
    search = trials[trials["role"] == "search"]
    return search[~search["state"].isin(UNRANKED)] if "state" in search else search


def searched_knobs(trials: pd.DataFrame) -> list[str]:
    """Knobs that take more than one value among the search trials; "model" among them where there are several."""
    search = trials[trials["role"] == "search"]
    several = [SHOWN_MODEL] if SHOWN_MODEL in search and search[SHOWN_MODEL].nunique() > 1 else []
    return several + [
        column.removeprefix("param.") for column in search.columns if column.startswith("param.") and search[column].nunique() > 1
    ]


def shorten(text: object) -> str:
    """A number in four digits, nothing for a value that is not there, anything else as it is."""
    if isinstance(text, float) and math.isnan(text):
        return ""
    try:
        return f"{float(str(text)):.4g}"
    except ValueError:
        return str(text)


def sweep_list(sweeps: Iterable[tuple[SweepRow, str]]) -> Table:
    """All sweeps with their states, the newest first."""
    table = Table("name", "state", "model", "data", "objective", "best", "begun", title="sweeps", title_justify="left")
    for sweep, state in sweeps:
        best = sweep.metrics.get("best_value")
        begun = dt.datetime.fromtimestamp(sweep.started_s).strftime("%Y-%m-%d %H:%M")
        tags = sweep.tags
        table.add_row(
            sweep.name,
            state,
            tags.get("sweep.model", ""),
            tags.get("sweep.data", ""),
            tags.get("sweep.objective", ""),
            "" if best is None else f"{best:.4g}",
            begun,
        )
    return table


def sweep_document(sweep: SweepRow, state: str) -> dict[str, Any]:
    """One sweep of the list as a document."""
    told = {key: sweep.tags.get(f"sweep.{key}", "") for key in ("spec", "model", "data", "image_px", "mask", "objective", "mode", "best")}
    best = sweep.metrics.get("best_value")
    return {"name": sweep.name, "state": state, **told, "best_value": best, "started_s": sweep.started_s, "run_id": sweep.run_id}


def knob_document(name: str, knob: Knob) -> dict[str, Any]:
    """One knob as a document."""
    bounds = {key: getattr(knob, key) for key in ("values", "low", "high", "kind", "log") if hasattr(knob, key)}
    return {
        "knob": name,
        "allowed": knob.allowed,
        "paper": knob.paper,
        "unit": knob.unit,
        "source": knob.source,
        "reason": knob.reason,
    } | bounds


def knob_table(model: str, space: Mapping[str, Knob]) -> Table:
    """A model's knobs: range, the paper's value, where it stands, why these bounds."""
    table = Table("knob", "range", "paper", "unit", "source", "why", title=f"knobs of {model}", title_justify="left")
    for name, knob in space.items():
        table.add_row(name, knob.allowed, str(knob.paper), knob.unit, knob.source, knob.reason)
    return table


def network_table(network: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A network's layers in the order in which they run, with the sum of their weights; rows as `Rooms.layers` gives them."""
    table = Table(title=network, title_justify="left", show_footer=True)
    headings = ("layer", "kind", "followed by", "filter", "stride", "padding", "output", "parameters")
    footers = {"layer": "total", "parameters": f"{sum(row['parameters'] for row in rows):,}"}
    for heading in headings:
        table.add_column(heading, footers.get(heading, ""), justify="right" if heading in ("stride", "parameters") else "left")
    for row in rows:
        stride = "" if row["stride"] is None else str(row["stride"])
        output = "x".join(map(str, row["output"]))
        follows = ", ".join(row["follows"])
        table.add_row(row["name"], row["kind"], follows, row["filter"], stride, row["padding"], output, f"{row['parameters']:,}")
    return table


def algorithm_table() -> Table:
    """The search algorithms: what each goes with, what must be installed for it, who makes it."""
    columns = ("schedulers", "needs", "source")
    table = Table("algorithm", *ALGORITHM_TRAITS, *columns, title="algorithms (search.algorithm)", title_justify="left")
    for name, entry in ALGORITHMS.items():
        schedulers = ", ".join(entry.schedulers) or "all"
        table.add_row(name, *_yes_or_no(entry, ALGORITHM_TRAITS), schedulers, ", ".join(entry.modules), entry.source)
    return table


def scheduler_table() -> Table:
    """The schedulers: what each goes with, which settings it reads, who makes it."""
    columns = ("algorithms", "searched knobs", "trials", "settings", "source")
    table = Table("scheduler", *SCHEDULER_TRAITS, *columns, title="schedulers (scheduler.kind)", title_justify="left")
    for name, kind in SCHEDULERS.items():
        others = [each for each, entry in ALGORITHMS.items() if entry.schedulers and name not in entry.schedulers]
        algorithms = ", ".join(kind.algorithms) or "all" + (f" but {', '.join(others)}" if others else "")
        limits = (algorithms, kind.knobs, f"{kind.least_trials} or more", ", ".join(kind.uses))
        table.add_row(name, *_yes_or_no(kind, SCHEDULER_TRAITS), *limits, kind.source)
    return table


def capability_notes() -> Iterator[str]:
    """What each algorithm and scheduler is, what it makes of an interruption, and why it does not go with what it does not."""
    entries: list[tuple[str, Algorithm | SchedulerKind]] = [*ALGORITHMS.items(), *SCHEDULERS.items()]
    for name, entry in entries:
        yield f"[bold]{name}[/bold]  " + "; ".join(filter(None, (entry.title, entry.note)))
        if isinstance(entry, SchedulerKind):
            yield f"    after an interruption: {entry.resumes}"
        elif entry.missing:
            yield escape(f"    not installed here: pip install {shlex.quote(entry.package)}")
        for trait, reason in entry.refuses.items():
            yield f"    not with {trait}: {reason}"


def _yes_or_no(entry: Algorithm | SchedulerKind, traits: Iterable[str]) -> list[str]:
    return ["no" if trait in entry.refuses else "yes" for trait in traits]
