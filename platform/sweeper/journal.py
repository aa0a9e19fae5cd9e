"""The sweep's own record: one line of JSON for everything that happened, appended before anything else is told.

MLflow, the Optuna study and Ray Tune keep records too, but each can lose its last moments or refuse to come back. The journal is what
a resumed sweep believes. A line that a crash cut off is left out when reading; a lock keeps a second driver away.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

from sweeper.errors import SweepStateError

State = Literal["running", "complete", "stopped", "collapsed", "diverged", "failed"]
LOCK = "driver.lock"
LOCK_TRIES = 5
LOCK_RETRY_S = 0.05
ENDED: tuple[str, ...] = ("complete", "stopped", "collapsed", "diverged", "failed")


@dataclass
class TrialRecord:
    """What is known of one trial.

    Attributes:
        trial: its name within the sweep, "search-0007" or "final-2".
        number: its place in the search, or the final's index.
        model: what it trains.
        knobs: its configuration.
        seed: its seed.
        state: "running" until it ended: "complete" (its whole budget), "stopped" (by the scheduler or the sweep's budget),
            "collapsed" (one side of an adversarial game won), "diverged" (a loss that was not finite) or "failed" (an error).
        reason: why it ended early; empty otherwise.
        results: metrics by step.
    """

    trial: str
    number: int
    model: str
    knobs: dict[str, Any]
    seed: int
    state: State = "running"
    reason: str = ""
    results: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """ "search" or "final"."""
        return self.trial.split("-")[0]

    def best(self, metric: str, mode: str) -> tuple[int, float] | None:
        """The best step by a metric and its value; None before the first."""
        values = [(result[metric], step) for step, result in self.results.items() if metric in result]
        if not values:
            return None
        value, step = min(values) if mode == "min" else max(values, key=lambda entry: (entry[0], -entry[1]))
        return step, value

    def best_values(self, metric: str, mode: str, also: Iterable[str]) -> list[float] | None:
        """The objective at its best step and the further objectives at the same step; None before the first."""
        best = self.best(metric, mode)
        return None if best is None else [best[1], *(self.results[best[0]][name] for name in also)]


class Journal:
    """Append-only record of one sweep.

    Thread safety: one writer at a time; the driver's loop is the only one. Ownership: holds the folder's lock until `close`.

    Attributes:
        folder: the sweep's folder.
        driver: names this process's turn at the sweep; it stands in the lock file.
        trials: every trial by name, in the order of their starts.
        spent_s: wall time of the search in earlier attempts and this one, as far as written.
        tags: what the sweep's own run in the store says, as far as written.
        baseline: its metrics, likewise.
        over: "finished", "interrupted" or "failed", as the last attempt ended; empty where it did not come to that.
    """

    def __init__(self, folder: Path) -> None:
        """Opens a sweep's folder, reads what is there, and locks it.

        Raises:
            SweepStateError: another process is running this sweep.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(folder)
        self.driver = uuid.uuid4().hex
        self._lock.truncate(0)
        self._lock.write(self.driver)
        self._lock.flush()
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self.trials: dict[str, TrialRecord] = {}
        self.spent_s = 0.0
        self.tags: dict[str, str] = {}
        self.baseline: dict[str, float] = {}
        self.over = ""
        for event in read_events(self._path):
            self._take(event)
        _cut_torn_line(self._path)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - held until close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def sweep(self, tags: dict[str, str], baseline: dict[str, float]) -> None:
        """What the sweep's own run in the store says; written where it is new."""
        if (tags, baseline) != (self.tags, self.baseline):
            self._write({"event": "sweep", "tags": tags, "baseline": baseline})

    def end_sweep(self, state: str) -> None:
        """The sweep, or this attempt at it, is over: "finished", "interrupted" or "failed"."""
        if state != self.over:
            self._write({"event": "over", "state": state}, durable=True)

    def start(self, trial: str, number: int, model: str, knobs: dict[str, Any], seed: int) -> None:
        """A trial starts, or starts again after an interruption."""
        if trial not in self.trials:
            self._write({"event": "start", "trial": trial, "number": number, "model": model, "knobs": knobs, "seed": seed})

    def result(self, trial: str, step: int, metrics: dict[str, float]) -> None:
        """A trial has finished a step."""
        self._write({"event": "result", "trial": trial, "step": step, "metrics": metrics})

    def end(self, trial: str, state: State, reason: str = "") -> None:
        """A trial is over for good."""
        self._write({"event": "end", "trial": trial, "state": state, "reason": reason}, durable=True)

    def clock(self, spent_s: float) -> None:
        """The search has taken so many seconds up to now, all attempts together."""
        self._write({"event": "clock", "spent_s": round(spent_s, 3)})

    def close(self) -> None:
        """Writes everything out and lets the lock go."""
        self._file.close()
        self._lock.close()

    def _write(self, event: dict[str, Any], *, durable: bool = False) -> None:
        self._take(event)
        self._file.write(json.dumps(event | {"time": round(time.time(), 3)}) + "\n")
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "clock":
            self.spent_s = event["spent_s"]
        elif event["event"] == "sweep":
            self.tags, self.baseline, self.over = event["tags"], event["baseline"], ""
        elif event["event"] == "over":
            self.over = event["state"]
        else:
            _apply(self.trials, event)


def driver_of(folder: Path) -> str | None:
    """The name of the driver that is running the sweep of a folder here; None where none is."""
    try:
        with open(folder / LOCK, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return (folder / LOCK).read_text(encoding="utf-8")


def read_trials(folder: Path) -> dict[str, TrialRecord]:
    """Every trial of a sweep's folder by name, without the lock: for looking at a sweep that may be running."""
    trials: dict[str, TrialRecord] = {}
    for event in read_events(folder / "journal.jsonl"):
        _apply(trials, event)
    return trials


def ranked(trials: Iterable[TrialRecord], metric: str, mode: str) -> list[TrialRecord]:
    """Search trials that have a value, the best first; the earlier one where two are equal."""
    found = [(best[1], record) for record in trials if record.kind == "search" and (best := record.best(metric, mode))]
    sign = 1 if mode == "min" else -1
    return [record for _, record in sorted(found, key=lambda entry: (sign * entry[0], entry[1].number))]


def _apply(trials: dict[str, TrialRecord], event: dict[str, Any]) -> None:
    if event["event"] == "start":
        trials[event["trial"]] = TrialRecord(event["trial"], event["number"], event["model"], event["knobs"], event["seed"])
    elif event["event"] == "result":
        trials[event["trial"]].results[event["step"]] = event["metrics"]
    elif event["event"] == "end":
        trials[event["trial"]].state, trials[event["trial"]].reason = event["state"], event["reason"]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; a last line that was cut off is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if line.endswith("\n") and line.strip():
            yield json.loads(line)


def take_lock(folder: Path) -> IO[str]:
    """Locks a sweep's folder until the file that is returned is closed; a few tries, since `driver_of` holds the lock for a moment.

    Raises:
        SweepStateError: another process is running this sweep.
    """
    file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - held until it is closed
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
        else:
            return file
    file.close()
    raise SweepStateError(
        f"one process at a time may run a sweep, but another one is running {folder.name!r}; wait for it, or give this one another name"
    )


def _cut_torn_line(path: Path) -> None:
    """Removes what follows the last newline, so that the next line starts on its own."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
