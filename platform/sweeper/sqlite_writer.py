"""Writes into an MLflow SQLite file: points of a run, or whole runs with their ids, as they are in another store; makes such a file small.

MLflow's client makes an object of each point, which takes seven times as long as writing; and it gives every run a new id and the present
time, so that lineage would name runs that nobody has. Written are the tables that `sweeper.sqlite_reader` reads, in a file whose schema is
known there, and as MLflow writes them.

Source: MLflow 3.17, `SqlAlchemyStore.log_batch`.
"""

import math
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sweeper.errors import TrackingError
from sweeper.rows import EXPERIMENT, StoredPoint, StoredRun
from sweeper.sqlite_reader import SCHEMAS, TIMEOUT_S

TABLES = ("tags", "params", "metrics", "latest_metrics")
PAGE_BYTES = 1024
_RUN = (
    "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, "
    "lifecycle_stage, artifact_uri, experiment_id) VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)"
)
_POINT = "INSERT INTO {table} (run_uuid, key, value, is_nan, timestamp, step) VALUES (?, ?, ?, ?, ?, ?)"
_NEW = f"{_POINT.format(table='metrics')} ON CONFLICT DO NOTHING"
_LATEST = (
    f"{_POINT.format(table='latest_metrics')} ON CONFLICT DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan, "
    "timestamp = excluded.timestamp, step = excluded.step "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"
)


def add_points(file: Path, run_id: str, points: Sequence[StoredPoint]) -> None:
    """Adds points to a run in one go; a point that it has stays there once.

    Args:
        file: MLflow's.
        run_id: an active run.
        points: any number.

    Raises:
        TrackingError: a file that cannot be written, whose schema is not known, or that has no such run.
    """
    rows = [_row(run_id, point) for point in points]
    with _writing(file) as connection:
        if not connection.execute("SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'", (run_id,)).fetchall():
            raise TrackingError(f"a run must be in the MLflow file {file} to take metrics, but {run_id} is not, or was deleted; restore it")
        connection.executemany(_NEW, rows)
        connection.executemany(_LATEST, rows)


def put_runs(file: Path, runs: Sequence[StoredRun], replaced: Iterable[str], place: Callable[[str], str]) -> None:
    """Writes runs in one go: all or none.

    Args:
        file: MLflow's, with the engine's experiment in it.
        runs: to be written.
        replaced: ids of runs that go first.
        place: (run id) -> the address of its files.

    Raises:
        TrackingError: a file that cannot be written, or whose schema is not known.
    """
    with _writing(file) as connection:
        (experiment,) = connection.execute("SELECT experiment_id FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        for run_id in {*replaced, *(run.run_id for run in runs)}:
            for table in (*TABLES, "runs"):
                connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))
        for run in runs:
            name, address = run.tags.get("mlflow.runName", ""), place(run.run_id)
            connection.execute(_RUN, (run.run_id, name, run.status, run.begun_ms, run.ended_ms, address, experiment))
            for table, texts in (("tags", run.tags), ("params", run.params)):
                rows = [(run.run_id, key, value) for key, value in texts.items()]
                connection.executemany(f"INSERT INTO {table} (run_uuid, key, value) VALUES (?, ?, ?)", rows)
            for table, points in (("metrics", run.points), ("latest_metrics", run.last)):
                connection.executemany(_POINT.format(table=table), [_row(run.run_id, point) for point in points])


def make_small(file: Path, location: str) -> None:
    """Makes a file that is to be read more than written as small as MLflow can still read.

    The rows of runs move into tables without row ids and without further indexes, which is half the size, and nothing is left of the folder
    that MLflow has noted for its experiments.

    Args:
        file: MLflow's.
        location: what is noted instead.
    """
    with _writing(file) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (location,))
        for table in TABLES:
            (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
            if made.endswith("WITHOUT ROWID"):
                continue
            connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            connection.execute(f"{made} WITHOUT ROWID")
            connection.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")
            connection.execute(f"DROP TABLE old_{table}")
    with closing(sqlite3.connect(file, timeout=TIMEOUT_S)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("VACUUM")


def location_of(file: Path) -> str:
    """Where MLflow puts the files of the engine's runs."""
    with _writing(file) as connection:
        (found,) = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    return str(found)


def _row(run_id: str, point: StoredPoint) -> tuple[str, str, float, bool, int, int]:
    """As MLflow writes it: what is no number is 0 with a mark, what is infinite the greatest number."""
    none = math.isnan(point.value)
    value = 0.0 if none else min(max(point.value, -sys.float_info.max), sys.float_info.max)
    return run_id, point.metric, value, none, point.time_ms, point.step


@contextmanager
def _writing(file: Path) -> Iterator[sqlite3.Connection]:
    """One transaction in a file of a known schema."""
    try:
        with closing(sqlite3.connect(file, timeout=TIMEOUT_S)) as connection, connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if not any(version in SCHEMAS for (version,) in found):
                raise TrackingError(
                    f"an MLflow file must have one of the schemas {', '.join(SCHEMAS)} to be written to, but {file} has "
                    f"{', '.join(version for (version,) in found)}; use the MLflow that this project's lock file names"
                )
            connection.execute("BEGIN IMMEDIATE")
            yield connection
    except sqlite3.Error as error:
        raise TrackingError(f"the MLflow file {file} must take runs, but does not ({error}); check its disk and rights") from error
