"""Points that are written into MLflow's file directly are there as MLflow's client would have put them there."""

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sweeper.errors import TrackingError
from sweeper.rows import StoredPoint
from sweeper.sqlite_writer import add_points
from sweeper.tracking import Point, Store


def file_of(store: Store) -> Path:
    return Path(store.uri.removeprefix("sqlite:///"))


def rows_of(store: Store, run_id: str) -> list[list[tuple[object, ...]]]:
    """What the two tables of metrics hold of a run."""
    with closing(sqlite3.connect(file_of(store))) as connection:
        every = "SELECT key, value, is_nan, timestamp, step FROM {} WHERE run_uuid = ? ORDER BY 1, 5, 4, 2"
        return [connection.execute(every.format(table), (run_id,)).fetchall() for table in ("metrics", "latest_metrics")]


def batches() -> list[list[StoredPoint]]:
    """Points in an order that puts older ones after newer ones, doubled ones, and values that are no number or infinite."""
    draw = random.Random(0)
    values = [0.5, -1.0, float("nan"), float("inf"), float("-inf"), 0.0]
    points = [
        StoredPoint(draw.choice(("loss", "l2_hole", "psnr")), draw.choice(values), draw.randrange(1000, 1005), draw.randrange(4))
        for _ in range(300)
    ]
    return [points[start : start + 60] for start in range(0, 300, 60)] + [points[:30]]


def as_metrics(points: Sequence[StoredPoint]) -> list[Metric]:
    return [Metric(point.metric, point.value, point.time_ms, point.step) for point in points]


def test_points_are_as_mlflow_writes_them(store: Store) -> None:
    client = MlflowClient(store.uri)
    direct, through = (store.begin(name, "sweep", None, None, {}, {}) for name in ("direct", "through"))
    for batch in batches():
        add_points(file_of(store), direct, batch)
        client.log_batch(through, metrics=as_metrics(batch))
        assert rows_of(store, direct) == rows_of(store, through)
    assert len(rows_of(store, direct)[0]) > 50
    assert client.get_run(direct).data.metrics.keys() == client.get_run(through).data.metrics.keys()


def test_a_run_that_is_not_there_or_deleted_takes_none(store: Store) -> None:
    run_id = store.begin("deleted", "sweep", None, None, {}, {})
    MlflowClient(store.uri).delete_run(run_id)
    for gone in (run_id, "0" * 32):
        with pytest.raises(TrackingError, match=f"but {gone} is not, or was deleted"):
            add_points(file_of(store), gone, [StoredPoint("loss", 1.0, 1, 1)])
        assert rows_of(store, gone) == [[], []]


def test_a_file_of_another_schema_is_left_to_mlflow(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.sqlite_reader.SCHEMAS", ("another",))
    monkeypatch.setattr("sweeper.sqlite_writer.SCHEMAS", ("another",))
    with pytest.raises(TrackingError, match="must have one of the schemas another to be written to"):
        add_points(file_of(store), "run", [StoredPoint("loss", 1.0, 1, 1)])
    other = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = other.begin("other", "sweep", None, None, {}, {})
    other.log(run_id, [Point("loss", 1.0, 1, 1.0)], {"tag": "value"})
    assert MlflowClient(other.uri).get_run(run_id).data.metrics == {"loss": 1.0}
