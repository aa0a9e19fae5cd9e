"""Reads MLflow's SQLite file by its tables: a thousand trials in a fraction of a second.

MLflow's own client takes about two seconds to be imported and another two for a thousand runs, too long for a look at a sweep. What it
writes to these tables has not changed for years; a file whose schema is not the one that this was written for is left to MLflow's client.
"""

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from sweeper.errors import TrackingError
from sweeper.rows import EXPERIMENT, SUMMARY, Reader, SweepRow, trial_row, trial_table

SCHEMAS = ("dc11669786a5",)
TIMEOUT_S = 20
SCHEME = "sqlite:///"
_MINE = "runs.lifecycle_stage = 'active' AND runs.experiment_id IN (SELECT experiment_id FROM experiments WHERE name = :experiment)"
_SWEEPS = f"SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE {_MINE} AND key = 'sweep.role' AND value = 'sweep'"
_NAMED = f"SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE {_MINE} AND key = 'sweep.name' AND value = :name"
_STEPS = "SELECT run_uuid, step, key, CASE WHEN is_nan THEN NULL ELSE value END FROM metrics WHERE run_uuid = :run"


class SqliteReader:
    """Implements `sweeper.rows.Reader` for a file that `reads` has accepted.

    Thread safety: every call opens the file for itself.

    Attributes:
        uri: the store's address.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._path = Path(uri.removeprefix(SCHEME))

    @staticmethod
    def reads(uri: str) -> bool:
        """Whether there is a SQLite file at an address whose schema is known here."""
        path = Path(uri.removeprefix(SCHEME))
        if not uri.startswith(SCHEME) or not path.is_file():
            return False
        try:
            with _opened(path) as connection:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except sqlite3.Error:  # MLflow's client says what is wrong with it
            return False
        return [version for (version,) in found if version in SCHEMAS] != []

    def sweep(self, name: str) -> SweepRow | None:
        """A sweep by its name."""
        return next((row for row in self.sweeps() if row.name == name), None)

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        return [
            SweepRow(run["run_uuid"], run["tags"]["sweep.name"], run["tags"], run["metrics"], run["start_time"] / 1000)
            for run in self._runs(_SWEEPS, {})
        ]

    def trials(self, name: str) -> pd.DataFrame:
        """A sweep's children, one row each; see `rows.trial_row` for the columns."""
        rows = []
        for run in self._runs(_NAMED, {"name": name}):
            if run["tags"]["sweep.role"] != "sweep":
                times = (run["start_time"], run["end_time"])
                rows.append(
                    trial_row(run["run_uuid"], run["status"], run["artifact_uri"], times, run["tags"], run["params"], run["metrics"])
                )
        return trial_table(rows)

    def steps(self, run_ids: list[str]) -> pd.DataFrame:
        """Metrics by step."""
        rows: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for run in run_ids:
                rows += connection.execute(_STEPS, {"run": run}).fetchall()
        found = pd.DataFrame(rows, columns=["run_id", "step", "metric", "value"]).astype({"value": float})
        return found[~found["metric"].str.startswith(SUMMARY)].sort_values(["run_id", "step", "metric"], ignore_index=True)

    def _runs(self, ids: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        """The runs of a query for ids, the newest first, each with its "tags", "params" and "metrics"."""
        parameters = parameters | {"experiment": EXPERIMENT}
        with self._reading() as connection:
            names = ("run_uuid", "status", "start_time", "end_time", "artifact_uri")
            query = f"SELECT {', '.join(names)} FROM runs WHERE run_uuid IN ({ids}) ORDER BY start_time DESC, run_uuid"
            runs = [dict(zip(names, row, strict=True)) for row in connection.execute(query, parameters)]
            parts: dict[str, dict[str, dict[str, Any]]] = {}
            for part, table in (("tags", "tags"), ("params", "params"), ("metrics", "latest_metrics")):
                value = "CASE WHEN is_nan THEN NULL ELSE value END" if part == "metrics" else "value"
                parts[part] = defaultdict(dict)
                for run, key, found in connection.execute(
                    f"SELECT run_uuid, key, {value} FROM {table} WHERE run_uuid IN ({ids})", parameters
                ):
                    parts[part][run][key] = math.nan if found is None else found
        return [run | {part: of_run[run["run_uuid"]] for part, of_run in parts.items()} for run in runs]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with _opened(self._path) as connection:
                yield connection
        except sqlite3.Error as error:
            raise TrackingError(
                f"the MLflow store at {self.uri} must be readable, but does not ({error}); check its disk and rights"
            ) from error


def open_reader(uri: str) -> Reader:
    """What reads a store the fastest.

    Raises:
        TrackingError: there is no store, or it does not answer.
    """
    if SqliteReader.reads(uri):
        return SqliteReader(uri)
    from sweeper.tracking import Store  # takes seconds to be imported

    return Store(uri, create=False)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=TIMEOUT_S)) as connection:
        yield connection
