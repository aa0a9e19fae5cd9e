"""Reads MLflow's SQLite file by its tables: a thousand trials in a fraction of a second.

MLflow's own client takes about two seconds to be imported and another two for a thousand runs, too long for a look at a sweep. What it
writes to these tables has not changed for years; a file whose schema is not the one that this was written for is left to MLflow's client.
"""

import math
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from sweeper.artifacts import FOLDER, SCHEME, kept_beside, local_folder
from sweeper.errors import TrackingError
from sweeper.rows import EXPERIMENT, SUMMARY, Reader, StoredPoint, StoredRun, SweepRow, trial_row, trial_table

SCHEMAS = ("dc11669786a5",)
TIMEOUT_S = 20
RUNS_A_QUERY = 500
_MINE = "runs.lifecycle_stage = 'active' AND runs.experiment_id IN (SELECT experiment_id FROM experiments WHERE name = :experiment)"
_SWEEPS = f"SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE {_MINE} AND key = 'sweep.role' AND value = 'sweep'"
_NAMED = f"SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE {_MINE} AND key = 'sweep.name' AND value = :name"
_TRIALS = f"SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE {_MINE} AND key = 'sweep.role' AND value != 'sweep'"
_POINTS = "SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END, timestamp, step FROM"
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
        return trial_table([_trial_row(run) for run in self._runs(_NAMED, {"name": name}) if run["tags"]["sweep.role"] != "sweep"])

    def every_trial(self) -> dict[str, list[dict[str, Any]]]:
        """All sweeps' children, those of each sweep by its name."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in self._runs(_TRIALS, {}):
            found[run["tags"]["sweep.name"]].append(_trial_row(run))
        return dict(found)

    def steps(self, run_ids: list[str]) -> pd.DataFrame:
        """Metrics by step."""
        rows: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for run in run_ids:
                rows += connection.execute(_STEPS, {"run": run}).fetchall()
        found = pd.DataFrame(rows, columns=["run_id", "step", "metric", "value"]).astype({"value": float})
        return found[~found["metric"].str.startswith(SUMMARY)].sort_values(["run_id", "step", "metric"], ignore_index=True)

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """(step, value) by step of some metrics of some runs, by run and metric."""
        points: dict[tuple[str, str], set[tuple[int, float]]] = defaultdict(set)
        wanted = dict.fromkeys(run_ids)
        with self._reading() as connection:
            for start in range(0, len(wanted), RUNS_A_QUERY):
                some = list(wanted)[start : start + RUNS_A_QUERY]
                places = [", ".join("?" * len(values)) for values in (some, metrics)]
                query = (
                    "SELECT run_uuid, key, step, CASE WHEN is_nan THEN NULL ELSE value END FROM metrics "
                    f"WHERE run_uuid IN ({places[0]}) AND key IN ({places[1]})"
                )
                for run, metric, step, value in connection.execute(query, [*some, *metrics]):
                    points[run, metric].add((step, math.nan if value is None else value))
        return {key: sorted(values) for key, values in points.items()}

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a run's metric, by step."""
        return self.histories([run_id], [metric]).get((run_id, metric), [])

    def stored_runs(self, name: str, metrics: Iterable[str]) -> list[StoredRun]:
        """A sweep's own run, the first, and its children."""
        wanted = tuple(metrics)
        parameters = {"name": name, "experiment": EXPERIMENT} | {f"m{place}": metric for place, metric in enumerate(wanted)}
        of_some = f" AND key IN ({', '.join(f':m{place}' for place in range(len(wanted)))})"
        tables = {"last": f"{_POINTS} latest_metrics WHERE run_uuid IN ({_NAMED})"}
        tables["points"] = f"{_POINTS} metrics WHERE run_uuid IN ({_NAMED}){of_some} ORDER BY key, step"
        runs = sorted(self._runs(_NAMED, {"name": name}), key=lambda run: (run["tags"]["sweep.role"] != "sweep", run["run_uuid"]))
        found: dict[str, dict[str, list[StoredPoint]]] = {table: defaultdict(list) for table in tables}
        with self._reading() as connection:
            for table, query in tables.items():
                for run, key, value, time_ms, step in connection.execute(query, parameters):
                    found[table][run].append(StoredPoint(key, math.nan if value is None else value, time_ms, step))
        parts = [{table: tuple(points[run["run_uuid"]]) for table, points in found.items()} for run in runs]
        return [
            StoredRun(run["run_uuid"], run["status"], run["start_time"], run["end_time"], run["tags"], run["params"], **part)
            for run, part in zip(runs, parts, strict=True)
        ]

    def fetch(self, run_id: str, artifact: str) -> Path:
        """A run's file."""
        beside = kept_beside(self.uri, run_id, artifact)
        if beside is not None:
            return beside
        with self._reading() as connection:
            found = connection.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
        own = self._path.parent / FOLDER / run_id  # an archive's run has its files there or nowhere
        folder = own if own.is_dir() else local_folder(found[0]) if found else None
        if folder is None:  # in a bucket or behind a server: MLflow knows how to get it, and what is wrong where it cannot
            from sweeper.tracking import Store

            return Store(self.uri, create=False).fetch(run_id, artifact)
        if not (folder / artifact).exists():
            raise TrackingError(f"run {run_id} must have {artifact}, but {folder} has none; check the store's artifacts")
        return folder / artifact

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
                    parts[part][run][sys.intern(key)] = math.nan if found is None else found
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


def _trial_row(run: dict[str, Any]) -> dict[str, Any]:
    times = (run["start_time"], run["end_time"])
    return trial_row(run["run_uuid"], run["status"], run["artifact_uri"], times, run["tags"], run["params"], run["metrics"])


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
