"""What is read of an MLflow store, whoever reads it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

EXPERIMENT = "inpaint-sweeps"
NO_TRIALS = ("run_id", "trial", "role", "model", "state")
SUMMARY = "best_"


@dataclass(frozen=True)
class SweepRow:
    """One sweep as the store has it: its run's id, tags, metrics, and when it began (seconds since 1970)."""

    run_id: str
    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started_s: float


class StoredPoint(NamedTuple):
    """One value of one metric as a store has it; `value` may be no number."""

    metric: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class StoredRun:
    """A whole run, to be put into another store.

    Attributes:
        run_id: MLflow's.
        status: MLflow's, "FINISHED".
        begun_ms: when it began, in milliseconds since 1970.
        ended_ms: when it ended, likewise; None where it has not.
        tags: all.
        params: all.
        last: the last value of each metric.
        points: values by step, of those metrics that were asked for.
    """

    run_id: str
    status: str
    begun_ms: int
    ended_ms: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    last: tuple[StoredPoint, ...]
    points: tuple[StoredPoint, ...]


class Reader(Protocol):
    """Reads sweeps from a store; `sweeper.tracking.Store` does for every store, `sweeper.sqlite_reader` for the usual file, fast."""

    @property
    def uri(self) -> str:
        """The store's address."""
        ...

    def sweep(self, name: str) -> SweepRow | None:
        """A sweep by its name."""
        ...

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        ...

    def trials(self, name: str) -> pd.DataFrame:
        """A sweep's children, one row each; see `trial_row` for the columns."""
        ...

    def every_trial(self) -> dict[str, list[dict[str, Any]]]:
        """All sweeps' children, those of each sweep by its name, in one go; see `trial_row` for what each says."""
        ...

    def steps(self, run_ids: list[str]) -> pd.DataFrame:
        """Metrics by step: columns "run_id", "step", "metric", "value"; the summary of the best step is not among them."""
        ...

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """(step, value) by step of some metrics of some runs, by run and metric; what a run has not reported is not among them."""
        ...

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a run's metric, by step; `histories` is faster for several."""
        ...

    def stored_runs(self, name: str, metrics: Iterable[str]) -> list[StoredRun]:
        """A sweep's own run, the first, and its children, whole but for `points`, which are of the named metrics alone."""
        ...

    def fetch(self, run_id: str, artifact: str) -> Path:
        """A run's file, copied here where the store is elsewhere; raises TrackingError where there is none."""
        ...


def trial_row(
    run_id: str,
    status: str,
    artifacts: str,
    times_ms: tuple[int, int | None],
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """One trial of `Reader.trials`.

    Returns:
        "run_id", "trial", "role", "model", "state", "status", "reason", "seed", "code", "artifacts", "started_s", "ended_s", then
        "param.KNOB" (text) and "metric.NAME" (the last value).
    """
    begun_ms, ended_ms = times_ms
    row: dict[str, Any] = {
        "run_id": run_id,
        "trial": tags["sweep.trial"].split("/", 1)[1],
        "role": tags["sweep.role"],
        "model": tags.get("sweep.model", ""),
        "state": tags.get("sweep.state", ""),
        "status": status,
        "reason": tags.get("sweep.reason", ""),
        "seed": int(tags.get("sweep.seed", -1)),
        "code": tags.get("sweep.code", ""),
        "artifacts": artifacts,
        "started_s": begun_ms / 1000,
        "ended_s": ended_ms / 1000 if ended_ms else float("nan"),
    }
    row |= {f"param.{key}": value for key, value in params.items()}
    return row | {f"metric.{key}": value for key, value in metrics.items()}


def trial_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table; the columns that every reader asks for are there without any row."""
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(NO_TRIALS))
