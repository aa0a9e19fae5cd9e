"""MLflow: runs that a restart finds again, a writer that loses nothing, stores that cannot be opened."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sweeper import tracking
from sweeper.errors import TrackingError
from sweeper.tracking import Store, Writer


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


# --- the writer -------------------------------------------------------------------------------------------------------------------


class Client:
    """Stands for MLflow's client: notes the calls, and refuses the first `refusals` of them."""

    def __init__(self, refusals: float = 0) -> None:
        self.refusals = refusals
        self.calls: list[tuple[str, Any, Any]] = []

    def log_batch(self, run_id: str, metrics: Any = (), tags: Any = ()) -> None:
        self._note(run_id, [(metric.key, metric.step, metric.value) for metric in metrics], {tag.key: tag.value for tag in tags})

    def set_terminated(self, run_id: str, status: str) -> None:
        self._note(run_id, "status", status)

    def _note(self, run_id: str, what: Any, more: Any) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise MlflowException("the server is away\nand some detail")
        self.calls.append((run_id, what, more))

    @property
    def metrics(self) -> list[tuple[str, int, float]]:
        return [metric for _, what, _ in self.calls if what != "status" for metric in what]


def writer_to(client: Client) -> Writer:
    return Writer(SimpleNamespace(uri="memory", client=client))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "RETRY_S", 0.005)


def test_the_writer_sends_everything_in_order_in_few_calls() -> None:
    client = Client(refusals=1)  # while the first call is tried again, the rest gathers
    writer = writer_to(client)
    for step in range(1, 501):
        writer.metrics("a", step, {"l2_hole": 1 / step, "loss": float(step)})
    writer.end("a", "complete", "why")
    writer.close()
    expected = [entry for step in range(1, 501) for entry in (("l2_hole", step, 1 / step), ("loss", step, float(step)))]
    assert client.metrics == expected
    assert client.calls[-1] == ("a", "status", "FINISHED")
    tags = [more for _, what, more in client.calls if what != "status" and more]
    assert tags == [{"sweep.state": "complete", "sweep.reason": "why"}]
    assert len(client.calls) < 100
    assert max(len(what) for _, what, _ in client.calls) <= tracking.METRICS_A_CALL


def test_more_metrics_than_a_call_takes_are_split() -> None:
    client = Client()
    writer = writer_to(client)
    writer.metrics("a", 1, {f"m{number}": 0.0 for number in range(2500)})
    writer.close()
    assert [len(what) for _, what, _ in client.calls] == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("state", "status"),
    [("complete", "FINISHED"), ("stopped", "FINISHED"), ("diverged", "FAILED"), ("failed", "FAILED"), ("interrupted", "KILLED")],
)
def test_each_end_has_its_status(state: str, status: str) -> None:
    client = Client()
    writer = writer_to(client)
    writer.end("a", state)
    writer.close()
    assert client.calls == [("a", [], {"sweep.state": state}), ("a", "status", status)]


def test_what_the_store_refuses_is_sent_again() -> None:
    client = Client(refusals=6)
    writer = writer_to(client)
    writer.metrics("a", 1, {"l2_hole": 3.0})
    writer.metrics("b", 1, {"l2_hole": 4.0})
    deadline = time.monotonic() + 30
    while len(client.metrics) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    writer.metrics("a", 2, {"l2_hole": 2.0})
    writer.close()
    assert [(run_id, *metric) for run_id, what, _ in client.calls for metric in what if run_id == "a"] == [
        ("a", "l2_hole", 1, 3.0),
        ("a", "l2_hole", 2, 2.0),
    ]
    assert ("l2_hole", 1, 4.0) in client.metrics


def test_a_refusal_at_the_end_is_tried_again_before_giving_up() -> None:
    client = Client(refusals=2)
    writer = writer_to(client)
    writer.metrics("a", 1, {"l2_hole": 3.0})
    writer.close()
    assert client.metrics == [("l2_hole", 1, 3.0)]


def test_what_stays_unsent_is_told() -> None:
    writer = writer_to(Client(refusals=float("inf")))
    writer.metrics("a", 1, {"l2_hole": 3.0})
    with pytest.raises(TrackingError, match=r"must take every metric, but some are unsent \(the server is away\).*then run 'sweep resume'"):
        writer.close()


def test_a_store_that_refuses_one_run_still_gets_the_others() -> None:
    class Partial(Client):
        def _note(self, run_id: str, what: Any, more: Any) -> None:
            if run_id == "bad":
                raise MlflowException("no such run")
            super()._note(run_id, what, more)

    client = Partial()
    writer = writer_to(client)
    writer.metrics("bad", 1, {"l2_hole": 3.0})
    writer.metrics("good", 1, {"l2_hole": 4.0})
    with pytest.raises(TrackingError, match="no such run"):
        writer.close()
    assert client.metrics == [("l2_hole", 1, 4.0)]


def test_an_error_that_nobody_expected_is_told_too() -> None:
    class Broken(Client):
        def _note(self, run_id: str, what: Any, more: Any) -> None:
            raise TypeError("a bug in the client")

    writer = writer_to(Broken())
    writer.metrics("a", 1, {"l2_hole": 3.0})
    with pytest.raises(TrackingError, match="a bug in the client"):
        writer.close()
