"""How a sweep stands: from its folder where that is here, else from the store. Imports nothing heavy, since people look often."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.home import Home
from sweeper.journal import TrialRecord, driver_of, ranked, read_events, read_trials
from sweeper.rows import Reader, SweepRow

LIVE_TAG = "sweep.live"
SPENT = ("wall_s", "accelerator_h", "cost")
SILENT_S = 120.0


@dataclass(frozen=True)
class Running:
    """A trial that runs: its name, its newest step, the objective there (None before the first)."""

    trial: str
    step: int
    value: float | None


@dataclass(frozen=True)
class Status:
    """How a sweep stands.

    Attributes:
        name: the sweep's.
        state: "running", "finished", "interrupted" or "failed"; "lost" where its driver is gone without a word, "silent" where a driver
            elsewhere has not been heard of for a while.
        source: "folder" or "store".
        objective: the first objective.
        mode: "min" or "max".
        trials: search trials by state, as far as they have ended or run.
        finals: final runs likewise.
        running: what runs now.
        best: trial, step and value of the best so far; None before the first.
        budget: the limits of the spec, by name.
        used: how much of them is used, by name, as far as it is known.
        heard_s: seconds since the last word of the driver; None where it is not known.
    """

    name: str
    state: str
    source: str
    objective: str
    mode: str
    trials: Mapping[str, int]
    finals: Mapping[str, int]
    running: list[Running]
    best: tuple[str, int, float] | None
    budget: Mapping[str, Any] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    heard_s: float | None = None

    @property
    def runs(self) -> bool:
        """Whether a driver is at work, as far as is known."""
        return self.state in ("running", "silent")


def is_here(home: Home, name: str) -> bool:
    """Whether a sweep's folder is on this machine."""
    return (home.folder(name) / "journal.jsonl").exists()


def running_here(home: Home) -> list[str]:
    """Names of the sweeps that run on this machine."""
    folders = sorted(path.parent for path in home.root.glob("sweeps/*/journal.jsonl"))
    return [folder.name for folder in folders if driver_of(folder) is not None]


def true_state(home: Home, row: SweepRow) -> str:
    """A sweep's state; "lost" where the store says running and the driver that ran in a folder here is gone."""
    state = row.tags.get("sweep.state", "")
    if state == "running" and is_here(home, row.name) and driver_of(home.folder(row.name)) is None:
        return "lost"
    return state


def status_here(home: Home, name: str, row: SweepRow | None = None) -> Status:
    """How a sweep stands by its own journal.

    Args:
        home: where it lives.
        name: the sweep.
        row: what the store says of it, for a journal that does not say itself what its objective is; None = the journal says it.
    """
    folder = home.folder(name)
    trials = read_trials(folder)
    tags = dict(row.tags) if row else {}
    spent: dict[str, float] = {"wall_s": 0.0}
    over, heard_s = "", None
    for event in read_events(folder / "journal.jsonl"):
        heard_s = event.get("time", heard_s)
        if event["event"] == "sweep":
            tags, over = event["tags"], ""
        elif event["event"] == "clock":
            spent = {name: event[name] for name in SPENT}
        elif event["event"] == "over":
            over = event["state"]
    running = driver_of(folder) is not None
    state = "running" if running else over or (row.tags.get("sweep.state", "") if row else "")
    metric, mode = tags.get("sweep.objective", ""), tags.get("sweep.mode", "min")
    best = ranked(trials.values(), metric, mode)
    found = best[0].best(metric, mode) if best else None
    budget = json.loads(tags.get("sweep.budget", "{}"))
    return Status(
        name=name,
        state="lost" if state in ("running", "") and not running else state,
        source="folder",
        objective=metric,
        mode=mode,
        trials=dict(Counter(record.state for record in trials.values() if record.kind == "search")),
        finals=dict(Counter(record.state for record in trials.values() if record.kind != "search")),
        running=[_newest(record, metric) for record in trials.values() if record.state == "running"] if running else [],
        best=(best[0].trial, *found) if found else None,
        budget=_limits(budget),
        used={"trials": sum(record.kind == "search" for record in trials.values())} | spent,
        heard_s=None if heard_s is None else time.time() - heard_s,
    )


def status_there(reader: Reader, row: SweepRow) -> Status:
    """How a sweep stands by the store alone: what its driver tells there every few seconds, else what its trials say."""
    tags = row.tags
    metric, mode, state = tags["sweep.objective"], tags["sweep.mode"], tags.get("sweep.state", "")
    live = json.loads(tags.get(LIVE_TAG, "{}"))
    heard_s = time.time() - live["time"] if live else None
    used: dict[str, float] = live["spent"] if live else {}
    if state == "running" and live:
        if heard_s is not None and heard_s > SILENT_S:
            state = "silent"
        search, finals, best, running = live["search"], live["final"], live["best"], [Running(*entry) for entry in live["running"]]
    else:
        search, finals, best = _counted(reader.trials(row.name), metric, mode)
        running = []
    return Status(
        name=row.name,
        state=state,
        source="store",
        objective=metric,
        mode=mode,
        trials=search,
        finals=finals,
        running=running,
        best=tuple(best) if best else None,
        budget=_limits(json.loads(tags.get("sweep.budget", "{}"))),
        used={"trials": sum(search.values())} | used,
        heard_s=heard_s,
    )


def _counted(trials: pd.DataFrame, metric: str, mode: str) -> tuple[dict[str, int], dict[str, int], tuple[str, int, float] | None]:
    """Search trials and final runs by state, and the best search trial with its step and value."""
    search, finals = (trials[(trials["role"] == "search") == is_search] for is_search in (True, False))
    counts, final_counts = ({str(key): int(count) for key, count in each["state"].value_counts().items()} for each in (search, finals))
    column = f"metric.best_{metric}"
    found = search[search[column].notna() & (search["state"] != "infeasible")] if column in search else search.iloc[:0]
    if found.empty:
        return counts, final_counts, None
    top = found.sort_values([column, "trial"], ascending=[mode == "min", True]).iloc[0]
    return counts, final_counts, (str(top["trial"]), int(top["metric.best_step"]), float(top[column]))


def _newest(record: TrialRecord, metric: str) -> Running:
    step = max(record.results, default=0)
    return Running(record.trial, step, record.results[step].get(metric) if record.results else None)


def _limits(budget: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a budget sets."""
    return {name: limit for name, limit in budget.items() if limit not in (None, {}) and name != "prices"}


def size_bytes(folder: Path) -> int:
    """How much a folder holds."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
