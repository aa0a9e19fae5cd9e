"""A new store is a copy of an empty one that is made once; MLflow takes it for its own."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import mlflow.version
import pytest

from sweeper import blank_store
from sweeper.errors import TrackingError
from sweeper.tracking import Store

KEPT = f"inpaint-sweeps/mlflow-{mlflow.version.VERSION}.db"


def tables(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def test_the_first_store_leaves_an_empty_one_behind_and_the_next_is_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    blank_store.make(first)
    kept = (tmp_path / "cache" / KEPT).read_bytes()
    blank_store.make(second)
    assert first.read_bytes() == second.read_bytes() == kept
    assert "experiments" in tables(second)
    Store(f"sqlite:///{second}")
    assert (tmp_path / "cache" / KEPT).read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "first.db", "second.db"]


def test_a_store_that_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "mlflow.db").write_text("somebody's")
    blank_store.make(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_text() == "somebody's"


def test_without_a_cache_a_store_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert "experiments" in tables(tmp_path / "mlflow.db")


def test_several_who_make_the_same_store_at_once_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blank_store.make(tmp_path / "before.db")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(blank_store.make, [tmp_path / "mlflow.db"] * 4))
    assert tables(tmp_path / "mlflow.db") == tables(tmp_path / "before.db")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blank_store.make(tmp_path / "before.db")
    monkeypatch.setattr("sweeper.blank_store.shutil.copyfile", full)
    with pytest.raises(TrackingError, match="No space left on device"):
        Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert not (tmp_path / "mlflow.db").exists()
