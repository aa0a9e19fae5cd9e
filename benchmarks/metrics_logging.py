"""What it costs to write every metric of every step into MLflow.

    python -m benchmarks.metrics_logging [--trials 16] [--reports 50] [--repetitions 3] [--without-plain]

16 trials of a model that trains in no time report 50 times each: into nothing, into MLflow on SQLite, and into an MLflow server over HTTP,
in turn. What counts is the time from the first start of a trial until everything is in the store. Beside it, once each: Ray Tune with its
own MLflow callback and without, its start included.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.bars import Bar, finish, spread
from sweeper import sync
from sweeper.home import DEFAULT_STORE, Home
from sweeper.runner import run
from sweeper.validation import validate
from sweeper.writer import Unsent, Writer
from tests.sweeper.toy_rooms import toy_rooms

MOST = 1.2
START_S = 120.0


class Nothing(Writer):
    """Sends nothing anywhere."""

    def _put(self, run: str, thing: Any) -> None:
        """Drops it."""

    def close(self) -> Unsent | None:
        """Has nothing to wait for."""
        super().close()
        return None


class Clock:
    """Implements `sweeper.recorder.Progress`; notes when the first trial starts."""

    def __init__(self) -> None:
        self.first_s = 0.0

    def stage(self, title: str, total: int, done: int) -> None:
        """Nothing."""

    def started(self, trial: str) -> None:
        """The first one counts."""
        self.first_s = self.first_s or time.perf_counter()

    def advanced(self, trial: str, step: int, value: float) -> None:
        """Nothing."""

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Worth a line here too."""
        print(text, flush=True)


def product(trials: int, reports: int, folder: Path, store: str, *, log: bool = True) -> float:
    """Seconds from the first start until the store has everything."""
    folder.mkdir(parents=True)
    rooms, clock = toy_rooms(), Clock()
    fields: dict[str, Any] = {
        "name": f"logging-{folder.name}",
        "model": "toy",
        "data": {"name": "photos"},
        "knobs": {"rate": {"low": 0.01, "high": 0.02}, "shift": {"low": -1.0, "high": 1.0}},
        "search": {"algorithm": "random"},
        "budget": {"trials": trials, "epochs": reports},
        "seeds": 0,
        "pictures": 0,
    }
    before, sync.Writer = sync.Writer, sync.Writer if log else Nothing  # type: ignore[misc]
    try:
        outcome = run(validate(fields, rooms), rooms, Home(folder, store), clock, spec_name="logging", fresh=True)
    finally:
        sync.Writer = before  # type: ignore[misc]
    took_s = time.perf_counter() - clock.first_s
    if outcome.unsent or any(record.state != "complete" for record in outcome.records):
        raise SystemExit(f"every trial must be complete and sent: {outcome.unsent}")
    return took_s


def plain(trials: int, reports: int, folder: Path, store: str | None, *, log: bool = True) -> float:
    """Seconds that Ray Tune takes for the same, start included."""
    arguments = ["ray_reports", str(folder), "--trials", str(trials), "--steps", str(reports)]
    arguments += ["--store", store] if store else []
    arguments += [] if log else ["--without-log"]
    command = [sys.executable, "-m", "benchmarks.rivals", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["took_s"])


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server of one worker for the length of a `with`; gives its address."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        until_s = time.monotonic() + START_S
        while not _answers(address):
            if time.monotonic() > until_s or process.poll() is not None:
                raise SystemExit(f"an MLflow server must start, but has not:\n{(folder / 'server.txt').read_text()[-2000:]}")
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=2).ok
    except requests.RequestException:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--reports", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--without-plain", action="store_true", help="leave Ray's callback out: it takes minutes")
    given = parser.parse_args()
    size = (given.trials, given.reports)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path("platform").resolve()), str(Path().resolve()), os.environ.get("PYTHONPATH", "")])
    took: dict[str, list[float]] = {"none": [], "SQLite": [], "HTTP": []}
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch, server(Path(scratch) / "server") as address:
        for turn in range(given.repetitions):
            for name, store in (("none", DEFAULT_STORE), ("SQLite", DEFAULT_STORE), ("HTTP", address)):
                took[name].append(product(*size, Path(scratch) / f"{name}-{turn}", store, log=name != "none"))
                print(f"{name}: {took[name][-1]:.1f} s", flush=True)
        if not given.without_plain:
            for name, uri in (("none", None), ("SQLite", None), ("HTTP", address)):
                others[name] = plain(*size, Path(scratch) / f"plain-{name}", uri, log=name != "none")
                print(f"Ray's callback, {name}: {others[name]:.1f} s", flush=True)
    ratios = {name: [value / none for value, none in zip(values, took["none"], strict=True)] for name, values in took.items()}
    rows = [(f"sweep, {name}", spread(values, 1), spread(ratios[name])) for name, values in took.items()]
    rows += [(f"Ray's callback, {name}", f"{value:.1f}", f"{value / others['none']:.2f}") for name, value in others.items()]
    bars = [Bar(f"logging: {name} over none", statistics.median(ratios[name]), MOST) for name in ("SQLite", "HTTP")]
    headings = ("logging", "wall time, s", "over none")
    finish("metrics_logging", headings, rows, bars, trials=given.trials, reports=given.reports, took_s=took, plain_s=others)


if __name__ == "__main__":
    main()
