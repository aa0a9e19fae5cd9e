"""MLflow: runs that a restart finds again, points that are there once, stores that cannot be opened."""

import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from sweeper.errors import TrackingError
from sweeper.tracking import Point, Store
from sweeper.writer import Writer


def state_of(store: Store, run_id: str) -> tuple[str, str]:
    run = MlflowClient(store.uri).get_run(run_id)
    return run.info.status, run.data.tags["sweep.state"]


# --- the store --------------------------------------------------------------------------------------------------------------------


def test_a_run_is_found_again_by_its_name(store: Store) -> None:
    parent = store.begin("found", "sweep", None, None, {"sweep.model": "m"}, {})
    params = {f"knob_{number}": number for number in range(150)}  # more than MLflow takes in one call
    child = store.begin("found", "search", "search-0000", parent, {"sweep.seed": "7"}, params)
    MlflowClient(store.uri).set_terminated(child, "KILLED")
    again = Store(store.uri)  # as after a restart
    assert again.begin("found", "sweep", None, None, {"sweep.model": "m"}, {}) == parent
    assert again.begin("found", "search", "search-0000", parent, {"sweep.seed": "7"}, params) == child
    assert state_of(store, child) == ("RUNNING", "running")
    others = {
        store.begin("found", "search", "search-0001", parent, {}, {}),
        store.begin("found", "final", "final-0", parent, {}, {}),
        store.begin("found-2", "sweep", None, None, {}, {}),
        store.begin("found-2", "search", "search-0000", parent, {}, {}),
    }
    assert len(others | {parent, child}) == 6
    run = MlflowClient(store.uri).get_run(child)
    assert run.data.params == {name: str(value) for name, value in params.items()}
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.info.run_name == "search-0000"


def test_of_runs_that_a_call_without_an_answer_has_doubled_the_oldest_stays(store: Store) -> None:
    client = MlflowClient(store.uri)
    parent = store.begin("doubled", "sweep", None, None, {}, {})
    first = store.begin("doubled", "search", "search-0000", parent, {}, {})
    tags = client.get_run(first).data.tags
    twin = client.create_run(store.experiment, start_time=client.get_run(first).info.start_time + 1000, tags=tags).info.run_id
    assert sorted(store.trials("doubled")["run_id"]) == sorted([first, twin])
    assert store.begin("doubled", "search", "search-0000", parent, {}, {"dropout": 0.5}) == first
    assert list(store.trials("doubled")["run_id"]) == [first]
    assert client.get_run(first).data.params == {"dropout": "0.5"}  # which its first making did not come to


def test_a_point_that_is_sent_again_is_there_once(store: Store) -> None:
    run_id = store.begin("again", "sweep", None, None, {}, {}, started_s=1000.0)
    points = [Point("l2_hole", 3.0, 1, 1001.5), Point("loss", float("nan"), 1, 1001.5)]
    store.log(run_id, points, {})
    store.log(run_id, [*points, Point("l2_hole", 2.0, 2, 1002.5)], {"sweep.best": "a"})
    store.end(run_id, "finished", 1003.0)
    client = MlflowClient(store.uri)
    told = [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, "l2_hole")]
    assert told == [(1, 3.0, 1_001_500), (2, 2.0, 1_002_500)]
    assert len(client.get_metric_history(run_id, "loss")) == 1
    run = client.get_run(run_id)
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_000_000, 1_003_000, "FINISHED")


def test_more_points_than_a_call_takes_are_split(store: Store) -> None:
    run_id = store.begin("split", "sweep", None, None, {}, {})
    store.log(run_id, [Point(f"m{number}", float(number), 1, 1.0) for number in range(2500)], {})
    assert len(MlflowClient(store.uri).get_run(run_id).data.metrics) == 2500


def test_sweeps_and_trials_are_read_as_they_were_written(store: Store) -> None:
    parent = store.begin("read", "sweep", None, None, {"sweep.model": "cnn_autoencoder"}, {})
    child = store.begin("read", "search", "search-0003", parent, {"sweep.seed": "7"}, {"bottleneck": 256, "mirror": True})
    writer = Writer(store)
    writer.metrics(child, 1, {"l2_hole": 3.0})
    writer.metrics(child, 2, {"l2_hole": 2.0})
    writer.metrics(parent, 0, {"best_value": 2.0})
    writer.end(child, "diverged", "the loss was not finite at step 3")
    writer.tags(parent, {"sweep.best": "search-0003"})
    writer.end(parent, "finished")
    writer.close()
    sweep = store.sweep("read")
    assert sweep is not None
    assert (sweep.run_id, sweep.name, sweep.metrics) == (parent, "read", {"best_value": 2.0})
    assert {key: sweep.tags[key] for key in ("sweep.model", "sweep.best", "sweep.state", "sweep.role")} == {
        "sweep.model": "cnn_autoencoder",
        "sweep.best": "search-0003",
        "sweep.state": "finished",
        "sweep.role": "sweep",
    }
    (row,) = store.trials("read").to_dict("records")
    assert row["run_id"] == child
    assert (row["trial"], row["role"], row["state"], row["status"], row["seed"]) == ("search-0003", "search", "diverged", "FAILED", 7)
    assert row["reason"] == "the loss was not finite at step 3"
    assert (row["param.bottleneck"], row["param.mirror"], row["metric.l2_hole"]) == ("256", "True", 2.0)
    assert row["started_s"] <= row["ended_s"] <= time.time()
    assert store.history(child, "l2_hole") == [(1, 3.0), (2, 2.0)]
    assert store.history(child, "psnr_hole") == []
    assert [row.name for row in store.sweeps() if row.name == "read"] == ["read"]


def test_what_is_not_there_is_empty(store: Store) -> None:
    assert store.sweep("never") is None
    trials = store.trials("never")
    assert trials.empty
    assert {"run_id", "trial", "role", "state"} <= set(trials.columns)


def test_a_file_is_kept_beside_the_store_and_fetched(store: Store, tmp_path: Path) -> None:
    run_id = store.begin("files", "sweep", None, None, {}, {})
    (tmp_path / "note.txt").write_text("kept")
    store.log_file(run_id, tmp_path / "note.txt", "notes")
    assert store.fetch(run_id, "notes/note.txt").read_text() == "kept"
    artifacts = Path(store.uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert [path.read_text() for path in artifacts.rglob("note.txt")] == ["kept"]
    with pytest.raises(TrackingError, match=f"run {run_id} must have notes/missing.txt, but it cannot be had"):
        store.fetch(run_id, "notes/missing.txt")


def test_a_small_file_is_where_mlflow_looks_for_it_whoever_began_the_run(store: Store) -> None:
    run = store.begin("small", "search", "search-0000", None, {}, {})
    store.log_text(run, "layers.json", "[1]")
    Store(store.uri).log_text(run, "other.json", "[2]")
    assert [MlflowClient(store.uri).list_artifacts(run)[number].path for number in (0, 1)] == ["layers.json", "other.json"]
    assert [store.fetch(run, name).read_text() for name in ("layers.json", "other.json")] == ["[1]", "[2]"]


def test_a_run_that_is_known_to_be_new_is_made_without_a_look(store: Store) -> None:
    first = store.begin("new", "search", "search-0000", None, {}, {})
    assert store.begin("new", "search", "search-0000", None, {}, {}) == first
    params = {f"knob_{number}": number for number in range(150)}  # more than MLflow takes in one call
    second = store.begin("new", "search", "search-0001", None, {}, params, None, True)
    assert second != first
    store.log(second, [Point("l2_hole", 1.0, 1, 1.0)], {"sweep.state": "complete"}, params)
    assert MlflowClient(store.uri).get_run(second).data.params == {name: str(value) for name, value in params.items()}
    assert sorted(store.trials("new")["trial"]) == ["search-0000", "search-0001"]


def test_the_active_run_of_the_calling_program_is_left_alone(store: Store) -> None:
    store.begin("quiet", "sweep", None, None, {}, {})
    assert mlflow.active_run() is None


# --- stores that cannot be opened -------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "garbage.db"
    path.write_text("not a database " * 100)
    for create in (True, False):
        with pytest.raises(TrackingError, match=r"an MLflow store must answer at .*garbage\.db, but it does not .*not a database"):
            Store(f"sqlite:///{path}", create=create)
    assert path.read_text() == "not a database " * 100


def test_a_folder_in_the_files_place_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(TrackingError, match=r"must answer at .*, but it does not .*unable to open"):
        Store(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_missing_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"the store's folder must exist, but .*nowhere does not; make it, or name another"):
        Store(f"sqlite:///{tmp_path / 'nowhere' / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"an MLflow store must exist, but there is none at .*mlflow\.db; run a sweep first"):
        Store(f"sqlite:///{tmp_path / 'mlflow.db'}", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "ftp://somewhere"])
def test_a_server_that_does_not_answer_is_told(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=f"an MLflow store must answer at {uri}, but it does not .*; check the address"):
        Store(uri)
