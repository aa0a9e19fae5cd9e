"""A real MLflow store filled with made-up numbers, through the engine's own writer."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from sweeper.tracking import Store
from sweeper.writer import Writer

CIFAR10_COUNTS = {"train": 45000, "validation": 5000, "test": 10000}


class Filler:
    """Puts sweeps into the store of a home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store(f"sqlite:///{home / 'mlflow.db'}")
        self._writer = Writer(self.store)

    def sweep(
        self,
        name: str,
        *,
        spec: str = "beyond_cnns_table1",
        model: str = "cnn_autoencoder",
        state: str = "finished",
        counts: Mapping[str, int] = CIFAR10_COUNTS,
        baseline: Mapping[str, float] | None = None,
        mode: str = "min",
        objective: str = "l2_hole",
        fingerprint: str = "f00dfeed",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A sweep's own run, with `tags` in place of the usual ones; gives its id."""
        every = {
            "sweep.spec": spec,
            "sweep.model": model,
            "sweep.data": "cifar10",
            "sweep.data_fingerprint": fingerprint,
            "sweep.data_counts": json.dumps(dict(counts)),
            "sweep.image_px": "32",
            "sweep.mask": "centre 8 px",
            "sweep.objective": objective,
            "sweep.mode": mode,
            "sweep.epochs": "10",
            "git.commit": "0123456789abcdef0123456789abcdef01234567",
            "git.dirty": "false",
            "hardware.cluster": "2 cores",
        } | dict(tags or {})
        run_id = self.store.begin(name, "sweep", None, None, every, {})
        self._writer.metrics(run_id, 0, baseline or {})
        self._writer.end(run_id, state)
        return run_id

    def trial(
        self,
        sweep: str,
        parent: str,
        trial: str,
        metrics: Mapping[str, float],
        *,
        knobs: Mapping[str, object] | None = None,
        state: str = "complete",
        seed: int = 0,
        code: str = "",
        model: str = "",
    ) -> str:
        """A trial's run; gives its id."""
        tags = {"sweep.seed": str(seed)} | ({"sweep.code": code} if code else {}) | ({"sweep.model": model} if model else {})
        run_id = self.store.begin(sweep, trial.split("-")[0], trial, parent, tags, knobs or {})
        self._writer.metrics(run_id, 10, {"epoch": 10.0, "best_step": 9.0, "wall_s": 120.0} | dict(metrics))
        self._writer.end(run_id, state)
        return run_id

    def steps(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """What a trial reports at a step."""
        self._writer.metrics(run_id, step, dict(metrics))

    def picture(self, parent: str, colour: tuple[int, int, int]) -> bytes:
        """A sweep's picture grid; gives its bytes."""
        file = self.home / "best.png"
        Image.new("RGB", (8, 8), colour).save(file)
        self.store.log_file(parent, file, "pictures")
        return file.read_bytes()

    def done(self) -> None:
        """Everything is in the store from here on."""
        self._writer.close()


@pytest.fixture(scope="module", autouse=True)
def no_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is prepared on this machine does not matter to a test, nor to what a module's tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_DATA_DIR", str(tmp_path_factory.getbasetemp() / "no-data"))
        yield


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store holds no sweep; making one takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("empty-home")
    Filler(home).done()
    return home


@pytest.fixture
def home(empty_home: Path, tmp_path: Path) -> Path:
    """A home folder with an empty store of its own."""
    return copied(empty_home, tmp_path / "home")


@pytest.fixture
def filler(home: Path) -> Filler:
    """Fills `home`."""
    return Filler(home)


def copied(empty_home: Path, place: Path) -> Path:
    """A new home folder with an empty store."""
    place.mkdir()
    shutil.copy(empty_home / "mlflow.db", place / "mlflow.db")
    return place


def small_store(filler: Filler) -> bytes:
    """One sweep with one trial and a picture; gives the picture's bytes."""
    parent = filler.sweep("small", baseline={"ring_mean_validation_l2_hole": 6.3})
    filler.trial("small", parent, "search-0000", {"best_l2_hole": 3.0, "best_train_l2_hole": 2.8}, knobs={"bottleneck": 256})
    picture = filler.picture(parent, (200, 100, 50))
    filler.done()
    return picture
