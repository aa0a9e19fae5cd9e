"""What the engine's tests share: one Ray, one MLflow store, a tiny sweep, and models that misbehave on purpose (user_models.py)."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import sweeper.ray_session  # noqa: F401 - its environment variables must be set before Ray is imported
from sweeper import runner
from sweeper.cli import app
from sweeper.cli.rooms import installed_rooms
from sweeper.home import Home
from sweeper.journal import TrialRecord, read_events
from sweeper.rooms import Rooms
from sweeper.runner import Outcome, run
from sweeper.spec import Spec
from sweeper.tracking import Store
from sweeper.validation import validate

ROOT = Path(__file__).resolve().parents[2]
SEARCH_PATH = [str(ROOT / "platform"), str(ROOT), str(Path(__file__).parent)]
OBJECT_STORE_BYTES = 80 * 2**20

sys.path.append(SEARCH_PATH[-1])


SECRET = "do-not-log-a81f03"


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


class SilentProgress:
    """Implements `sweeper.recorder.Progress`; keeps what it is told in `events`."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def stage(self, title: str, total: int, done: int) -> None:
        self.events.append(("stage", title, total, done))

    def started(self, trial: str) -> None:
        self.events.append(("started", trial))

    def advanced(self, trial: str, step: int, value: float) -> None:
        self.events.append(("advanced", trial, step, value))

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        self.events.append(("ended", trial, state, reason, value))

    def note(self, text: str) -> None:
        self.events.append(("note", text))


@dataclass
class Done:
    """A sweep that was run, and everything that it left."""

    spec: Spec
    outcome: Outcome
    events: list[tuple[Any, ...]]
    folder: Path
    store: Store

    @property
    def journal(self) -> list[dict[str, Any]]:
        return list(read_events(self.folder / "journal.jsonl"))

    @property
    def parent(self) -> Run:
        return MlflowClient(self.store.uri).get_run(self.outcome.run_id)

    @property
    def children(self) -> dict[str, Run]:
        """Every run under the parent, by its trial's name; a trial with two runs would be lost here, so their number is checked."""
        client = MlflowClient(self.store.uri)
        runs = client.search_runs([self.store.experiment], f"tags.`mlflow.parentRunId` = '{self.outcome.run_id}'")
        named = {run.data.tags["sweep.trial"].split("/")[1]: run for run in runs}
        assert len(named) == len(runs)
        return named

    def record(self, trial: str) -> TrialRecord:
        return next(record for record in self.outcome.records if record.trial == trial)


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch, data_dir: str) -> None:
    """No test reads the user's settings, nor writes to the user's home."""
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEP_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SWEEP_DATA_DIR", data_dir)


@pytest.fixture(scope="session")
def driver_environment(data_dir: str) -> dict[str, str]:
    """Environment of a driver in a process of its own, and of every Ray worker."""
    hidden = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEP_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"PYTHONPATH": os.pathsep.join(SEARCH_PATH), "SWEEP_DATA_DIR": data_dir}


@pytest.fixture(scope="session")
def local_ray(driver_environment: dict[str, str]) -> Iterator[None]:
    """One Ray with two CPUs for all sweeps that run in this process."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", driver_environment["PYTHONPATH"])
        patch.setenv("SECRET_TOKEN", SECRET)  # of the driver and of every worker; nothing may write it down
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield
        ray.shutdown()


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs `sweep ...` as the console script would."""

    def said(*arguments: str) -> Said:
        monkeypatch.setattr("sys.argv", ["sweep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            app.main()
        captured = capsys.readouterr()
        code = caught.value.code
        return Said(code if isinstance(code, int) else 0, captured.out, captured.err)

    return said


@pytest.fixture(scope="session")
def looked_at(local_ray: None, home: Home, rooms: Rooms, tiny_spec: Callable[..., Spec], new_progress: Callable[[], SilentProgress]) -> str:
    """A finished sweep with early stops, final runs, pictures and plots, and "LOOKED-other" on smaller holes; to look at, not to change."""
    knobs = {"bottleneck": [256, 512], "learning_rate": {"low": 1e-4, "high": 1e-2}}
    notify = {"webhook": f"http://user:{SECRET}@127.0.0.1:9/hook?token={SECRET}", "command": f"true --token {SECRET}"}
    asha = {"kind": "asha", "reduction": 2}
    changes = {"knobs": knobs, "scheduler": asha, "budget": {"trials": 6, "epochs": 2}, "seeds": 2, "pictures": 1, "notify": notify}
    runner.run(tiny_spec("looked", **changes), rooms, home, new_progress(), spec_name="looked")
    smaller = tiny_spec("looked-other", mask={"kind": "centre", "hole_px": 4}, budget={"trials": 1, "epochs": 1})
    runner.run(smaller, rooms, home, new_progress(), spec_name="looked")
    return "looked"


@pytest.fixture(scope="session")
def rooms() -> Rooms:
    return installed_rooms()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Where all sweeps that run in this process live; a store is made once, since that takes seconds."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def store(home: Home) -> Store:
    return Store(home.store_uri)


@pytest.fixture(scope="session")
def new_progress() -> Callable[[], SilentProgress]:
    return SilentProgress


@pytest.fixture(scope="session")
def tiny(data_dir: str) -> Callable[..., dict[str, Any]]:
    """Fields of a sweep whose epochs take a fraction of a second; sections that are mappings are merged, others replaced."""

    def fields(name: str = "tiny", **changes: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "name": name,
            "model": "cnn_autoencoder",
            "data": {"name": "photos", "image_px": 32, "train": 96, "validation": 32, "test": 32, "data_dir": data_dir},
            "knobs": {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0},
            "search": {"algorithm": "random"},
            "budget": {"trials": 1, "epochs": 2},
            "seeds": 0,
            "pictures": 0,
        }
        for key, value in changes.items():
            base[key] = base[key] | value if isinstance(value, Mapping) and key in base else value
        return {key: value for key, value in base.items() if value is not None}

    return fields


@pytest.fixture(scope="session")
def tiny_spec(tiny: Callable[..., dict[str, Any]], rooms: Rooms) -> Callable[..., Spec]:
    """The same, validated."""
    return lambda name="tiny", **changes: validate(tiny(name, **changes), rooms)


@pytest.fixture(scope="session")
def run_spec(local_ray: None, rooms: Rooms, home: Home, store: Store) -> Callable[..., Done]:
    """Runs a spec in this process's Ray, or goes on with it; trials of other tests' sweeps are not taken over unless `fresh` is False."""

    def done(spec: Spec, *, fresh: bool = True) -> Done:
        progress = SilentProgress()
        outcome = run(spec, rooms, home, progress, spec_name="from_a_test", fresh=fresh)
        return Done(spec, outcome, progress.events, home.folder(spec.name), store)

    return done
