"""MLflow's file read without MLflow: the same answers, and left alone where its schema is another."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine

from sweeper.errors import TrackingError
from sweeper.home import Home
from sweeper.sqlite_reader import SCHEMAS, SqliteReader, open_reader
from sweeper.tracking import Store
from sweeper.writer import Writer


@pytest.fixture(scope="module")
def filled(store: Store) -> str:
    """A sweep with two trials, one of them with a value that is not finite, and one run of another name."""
    name = "fast"
    parent = store.begin(name, "sweep", None, None, {"sweep.objective": "l2_hole", "sweep.mode": "min"}, {})
    for number in range(2):
        trial = store.begin(name, "search", f"search-{number:04d}", parent, {"sweep.seed": "3", "sweep.model": "wgan"}, {"rate": 0.1})
        writer = Writer(store)
        for step in (1, 2):
            writer.metrics(trial, step, {"l2_hole": math.nan if number else step / 3, "loss": 2.0**-step})
        writer.metrics(trial, 2, {"best_l2_hole": 1 / 3, "best_step": 1.0})
        writer.end(trial, "complete")
        writer.close()
    store.begin("read-other", "sweep", None, None, {"sweep.objective": "l2_hole", "sweep.mode": "min"}, {})
    return name


def test_both_readers_give_the_same(store: Store, filled: str) -> None:
    reader = SqliteReader(store.uri)
    assert [row.name for row in reader.sweeps()] == [row.name for row in store.sweeps()]
    fast, slow = reader.sweep(filled), store.sweep(filled)
    assert fast is not None
    assert slow is not None
    assert (fast.run_id, fast.tags, fast.metrics, fast.started_s) == (slow.run_id, slow.tags, slow.metrics, slow.started_s)
    mine, theirs = reader.trials(filled), store.trials(filled)
    pd.testing.assert_frame_equal(mine[sorted(mine)], theirs[sorted(theirs)])
    assert mine["model"].tolist() == ["wgan", "wgan"]
    ids = mine["run_id"].tolist()
    pd.testing.assert_frame_equal(reader.steps(ids), store.steps(ids))
    assert len(reader.steps(ids)) == 8
    assert reader.histories(ids, ["loss", "unheard"]) == store.histories(ids, ["loss", "unheard"])
    assert reader.histories(ids[:1], ["loss"]) == {(ids[0], "loss"): [(1, 0.5), (2, 0.25)]}
    assert reader.history(ids[0], "unheard") == store.history(ids[0], "unheard") == []
    assert reader.sweep("unread") is None
    assert reader.trials("unread").columns.tolist() == store.trials("unread").columns.tolist()


def test_both_readers_give_all_trials_in_one_go(store: Store, filled: str) -> None:
    fast, slow = SqliteReader(store.uri).every_trial(), store.every_trial()
    assert fast.keys() == slow.keys()
    for name in fast:
        mine, theirs = (pd.DataFrame(sorted(rows[name], key=lambda row: row["run_id"])) for rows in (fast, slow))
        pd.testing.assert_frame_equal(mine[sorted(mine)], theirs[sorted(theirs)])
    assert {row["trial"] for row in fast[filled]} == {"search-0000", "search-0001"}


def test_both_readers_give_a_whole_sweep(store: Store, filled: str) -> None:
    fast, slow = (reader.stored_runs(filled, ["loss"]) for reader in (SqliteReader(store.uri), store))
    assert [run.run_id for run in fast] == [run.run_id for run in slow]
    assert [run.tags["sweep.role"] for run in fast] == ["sweep", "search", "search"]
    for mine, theirs in zip(fast, slow, strict=True):
        assert (mine.status, mine.begun_ms, mine.ended_ms) == (theirs.status, theirs.begun_ms, theirs.ended_ms)
        assert (mine.tags, mine.params, mine.points) == (theirs.tags, theirs.params, theirs.points)
        assert {point.metric for point in mine.last} == {point.metric for point in theirs.last}
    assert [(point.step, point.value) for point in fast[1].points] == [(1, 0.5), (2, 0.25)]


def test_both_readers_find_a_runs_files(store: Store, filled: str, tmp_path: Path) -> None:
    reader = SqliteReader(store.uri)
    run = reader.sweep(filled)
    assert run is not None
    store.log_text(run.run_id, "spec.yaml", "name: fast")
    assert reader.fetch(run.run_id, "spec.yaml").read_text() == store.fetch(run.run_id, "spec.yaml").read_text() == "name: fast"
    for each in (reader, store):
        with pytest.raises(TrackingError, match=rf"run {run.run_id} must have gone\.txt"):
            each.fetch(run.run_id, "gone.txt")


def test_the_installed_mlflow_writes_a_schema_that_is_known(store: Store, home: Home) -> None:
    with create_engine(store.uri).connect() as connection:
        (version,) = connection.exec_driver_sql("SELECT version_num FROM alembic_version").one()
    assert version in SCHEMAS
    assert isinstance(open_reader(home.store_uri), SqliteReader)


def test_another_schema_is_left_to_mlflow(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    assert not SqliteReader.reads(f"sqlite:///{tmp_path}/mlflow.db")


def test_no_file_is_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="an MLflow store must exist"):
        open_reader(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
