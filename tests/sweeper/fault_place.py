"""A home folder with one sweep, the drivers that work on it, and what is found there after a fault."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from mlflow import MlflowClient

from sweeper.journal import ENDED, read_events, read_trials
from sweeper.tracking import Store
from tests.sweeper.drivers import Driver, start_driver, wait_for

NAME, TRIALS, EPOCHS = "faulty", 3, 6
PATIENCE_S = 400  # for a busy machine; nothing waits longer than it must
QUICK_WORKERS = {"RAY_worker_niceness": "0"}  # a busy machine must not starve them
ROOT = Path(__file__).resolve().parents[2]
SEARCH_PATH = [str(ROOT / "platform"), str(ROOT), str(Path(__file__).parent)]


@dataclass(frozen=True)
class Finding:
    """What a sweep came to.

    Attributes:
        finished: trials with an end in the journal.
        lost: trials without an end, or whose run lacks something that the journal has.
        duplicated: ends, runs and points beyond the first.
        running: runs that the store has as RUNNING, and trials that the study has so.
        study: trials that the study should have and has not, or has too many.
        recover_s: from the fault, or from the start of what recovers from it, to the next sign of life.
        problems: the above in words; empty where all is well.
    """

    finished: int
    lost: int
    duplicated: int
    running: int
    study: int
    recover_s: float
    problems: tuple[str, ...]


@dataclass
class Place:
    """A home folder with a sweep, the processes that work on it, and what recovery took.

    Attributes:
        root: the home folder.
        data_dir: folder of the prepared images.
        store: MLflow's address; empty = the default in the home folder.
        trials: how many trials the sweep has.
        recover_s: see `Finding`.
        found: what was found while a server was there that is no longer.
    """

    root: Path
    data_dir: str
    store: str = ""
    trials: int = TRIALS
    recover_s: float = float("nan")
    found: Finding | None = None
    _drivers: list[Driver] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.root / "sweeps" / NAME

    @property
    def environment(self) -> dict[str, str]:
        hidden = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEP_HOME")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return kept | QUICK_WORKERS | {"PYTHONPATH": os.pathsep.join(SEARCH_PATH), "SWEEP_DATA_DIR": self.data_dir}

    def write_spec(self, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "name": NAME,
            "model": "user_models:Fateful",
            "data": {"name": "photos", "image_px": 32, "train": 96, "validation": 32, "test": 32, "data_dir": self.data_dir},
            "knobs": {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": [0.0, 0.1, 0.2]},
            "search": {"algorithm": "grid"},
            "budget": {"trials": self.trials, "epochs": EPOCHS},
            "seeds": 0,
            "pictures": 0,
        }
        (self.root / "mine.yaml").write_text(yaml.safe_dump(fields | changes))

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Driver:
        """Starts `sweep ARGUMENTS` on this place."""
        options = ["--store", self.store] if self.store else []
        output = self.root / f"output-{len(self._drivers)}.txt"
        self._drivers.append(start_driver([*arguments, *options], self.root, output, self.environment | dict(environment or {})))
        return self._drivers[-1]

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Driver:
        return self.start("run", str(self.root / "mine.yaml"), *arguments, environment=environment)

    def resume(self, *arguments: str, environment: Mapping[str, str] | None = None, code: int = 0) -> Driver:
        """Resumes the sweep to its end; notes the seconds to the first new line of the journal."""
        begun_s, lines = time.monotonic(), len(self.events())
        driver = self.start("resume", NAME, *arguments, environment=environment)
        self.until(driver, lambda: len(self.events()) > lines)
        self.recover_s = time.monotonic() - begun_s
        self.ends(driver, code)
        return driver

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [event for event in read_events(self.folder / "journal.jsonl") if kind in (None, event["event"])]

    def until(self, driver: Driver, condition: Callable[[], bool]) -> None:
        """Waits for something that a driver does.

        Raises:
            AssertionError: it ended before, or did nothing for long.
        """
        found = wait_for(lambda: condition() or driver.process.poll() is not None, PATIENCE_S)
        if not found or not condition():
            raise AssertionError(f"the driver did not come to that: {driver.text}")

    def until_results(self, driver: Driver, count: int) -> None:
        self.until(driver, lambda: len(self.events("result")) >= count)

    def ends(self, driver: Driver, code: int = 0) -> None:
        """Waits for a driver's end.

        Raises:
            AssertionError: another exit code, or a traceback on the screen.
        """
        found = driver.process.wait(PATIENCE_S)
        if found != code or "Traceback (most recent call last)" in driver.text:
            raise AssertionError(f"exit code {found} instead of {code}: {driver.text}")

    def kill(self, driver: Driver) -> None:
        """kill -9, then waits until Ray's processes have noticed."""
        driver.process.kill()
        driver.process.wait()
        if not wait_for(lambda: not driver.left_over(), PATIENCE_S):
            raise AssertionError(f"processes were left over: {driver.left_over()}")

    def close(self) -> None:
        for driver in self._drivers:
            driver.end()

    def finding(self) -> Finding:
        """Compares journal, store and study."""
        records = read_trials(self.folder)
        expected = {f"search-{number:04d}" for number in range(self.trials)}
        ended = {trial for trial, record in records.items() if record.state in ENDED}
        problems = [f"{trial} has no end" for trial in sorted(expected - ended)]
        missing = set(expected - ended)
        ends = Counter(event["trial"] for event in self.events("end"))
        twice = [f"{trial} ended {count} times" for trial, count in ends.items() if count > 1]
        store = Store(self.store or f"sqlite:///{self.root / 'mlflow.db'}", create=False)
        rows = store.trials(NAME).to_dict("records")
        runs = Counter(row["trial"] for row in rows)
        twice += [f"{trial} has {count} runs" for trial, count in runs.items() if count > 1]
        running = [f"the run of {row['trial']} is RUNNING" for row in rows if row["status"] == "RUNNING"]
        for trial in sorted(ended):
            record = records[trial]
            row = next((row for row in rows if row["trial"] == trial), None)
            if row is None or row["state"] != record.state:
                problems.append(f"{trial} is not in the store as {record.state}")
                missing.add(trial)
                continue
            lacking, doubled = _compare(MlflowClient(store.uri), row["run_id"], record.results)
            if lacking:
                missing.add(trial)
                problems.append(f"{trial} lacks {lacking}")
            twice += [f"{trial} has {name} {count} times" for name, count in doubled.items()]
        sweep = store.sweep(NAME)
        if sweep is None or store.client.get_run(sweep.run_id).info.status == "RUNNING":
            running.append("the sweep's own run is not there, or RUNNING")
        study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{self.folder / 'study.db'}")
        states = Counter(trial.state.name for trial in study.trials)
        orphans = states["RUNNING"]
        told = self.trials - sum(states[name] for name in ("COMPLETE", "PRUNED", "FAIL"))
        problems += twice + running + ([f"the study has {dict(states)}"] if orphans or told else [])
        return Finding(len(ended), len(missing), len(twice), len(running) + orphans, abs(told), self.recover_s, tuple(problems))


def _compare(client: MlflowClient, run_id: str, results: Mapping[int, Mapping[str, float]]) -> tuple[list[str], dict[str, int]]:
    """What a run lacks of the journal's results, and what it has more than once."""
    lacking, doubled = [], {}
    for name in sorted({name for metrics in results.values() for name in metrics}):
        expected = [(step, metrics[name]) for step, metrics in sorted(results.items()) if name in metrics]
        points = sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
        if repr(sorted(set(points))) != repr(sorted(set(expected))):
            lacking.append(name)
        steps = Counter(step for step, _ in points)
        if max(steps.values(), default=0) > 1:
            doubled[name] = max(steps.values())
    return lacking, doubled
