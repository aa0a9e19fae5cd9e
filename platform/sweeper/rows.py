"""What is read of an MLflow store, whoever reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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

    def steps(self, run_ids: list[str]) -> pd.DataFrame:
        """Metrics by step: columns "run_id", "step", "metric", "value"; the summary of the best step is not among them."""
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
