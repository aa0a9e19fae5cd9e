"""The sweep's own record: one line of JSON for everything that happened, appended before anything else is told.

MLflow, the Optuna study and Ray Tune keep records too, but each can lose its last moments or refuse to come back. The journal is what
a resumed sweep believes. A line that a crash cut off is left out when reading; a lock keeps a second driver away.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

from sweeper.budget import Spending
from sweeper.errors import StorageError, SweepStateError
from sweeper.storage import RESERVE_BYTES, no_room, require_room, require_same

LOCK = "driver.lock"
LOCK_TRIES = 5
LOCK_RETRY_S = 0.05
State = Literal["running", "complete", "infeasible", "stopped", "collapsed", "diverged", "failed"]
SPENT = "spent"
ENDED: tuple[str, ...] = ("complete", "infeasible", "stopped", "collapsed", "diverged", "failed")


@dataclass(frozen=True)
class Source:
    """Where a finished trial is: the sweep's name and the trial's."""

    sweep: str
    trial: str


@dataclass(frozen=True)
class Change:
    """A trial goes on from another one's checkpoint with other knobs.

    Attributes:
        step: after which it does.
        before: its knobs up to there.
        after: its knobs from there on.
        donor: the trial whose checkpoint it goes on from.
        checkpoint: that checkpoint's folder, relative to the sweep's checkpoints.
    """

    step: int
    before: dict[str, Any]
    after: dict[str, Any]
    donor: str
    checkpoint: str


@dataclass
class TrialRecord:
    """What is known of one trial.

    Attributes:
        trial: its name within the sweep, "search-0007" or "final-2".
        number: its place in the search, or the final's index.
        model: what it trains.
        knobs: its configuration; where that changed on the way, the present one.
        seed: its seed.
        state: "running" until it ended: "complete" (its whole budget), "infeasible" (it breaks a constraint), "stopped" (by the scheduler
            or the sweep's budget), "collapsed" (one side of an adversarial game won), "diverged" (a loss that was not finite) or
            "failed" (an error).
        reason: why it ended early; empty otherwise.
        results: metrics by step.
        times: when each step was told, in seconds since 1970.
        started_s: when it started, likewise.
        ended_s: when it ended, likewise; None while it runs.
        starved: why it ran out of memory before; empty where it did not.
        identity: hash of what its result follows from; see `sweeper.known`.
        code: version of its model's code when it began, as `Rooms.code` gives it; empty where that was not written down.
        source: the finished trial whose results these are; None where it was trained here.
        superseded: a final run of what was the best before the sweep was extended.
        changes: how its knobs changed on the way, in order.
        violations: by how much it breaks each constraint, at its end; 0 or less = it keeps it.
    """

    trial: str
    number: int
    model: str
    knobs: dict[str, Any]
    seed: int
    state: State = "running"
    reason: str = ""
    results: dict[int, dict[str, float]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict, compare=False)
    started_s: float = field(default=0.0, compare=False)
    ended_s: float | None = field(default=None, compare=False)
    starved: str = ""
    identity: str = ""
    code: str = ""
    source: Source | None = None
    superseded: bool = False
    changes: list[Change] = field(default_factory=list)
    violations: dict[str, float] = field(default_factory=dict)

    @property
    def first_knobs(self) -> dict[str, Any]:
        """The configuration that it began with."""
        return self.changes[0].before if self.changes else self.knobs

    @property
    def kind(self) -> str:
        """ "search", "final" or "superseded"."""
        return "superseded" if self.superseded else self.trial.split("-")[0]

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
        extensions: how often the sweep's budget has grown.
        spent: by earlier attempts and this one, as far as written.
        tags: what the sweep's own run in the store says, as far as written.
        baseline: its metrics, likewise.
        begun_s: when the sweep began, in seconds since 1970.
        over: "finished", "interrupted" or "failed", as the last attempt ended; empty where it did not come to that.
    """

    def __init__(self, folder: Path) -> None:
        """Opens a sweep's folder, reads what is there, and locks it.

        Raises:
            SweepStateError: another process is running this sweep.
            StorageError: the folder is full.
        """
        folder.mkdir(parents=True, exist_ok=True)
        require_room(folder, 0)
        self._lock = take_lock(folder)
        self.driver = uuid.uuid4().hex
        self._lock.truncate(0)
        self._lock.write(self.driver)
        self._lock.flush()
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self.trials: dict[str, TrialRecord] = {}
        self.spent = Spending()
        self.extensions = 0
        self.tags: dict[str, str] = {}
        self.baseline: dict[str, float] = {}
        self.begun_s = 0.0
        self.over = ""
        for event in read_events(self._path):
            self._take(event)
        _cut_torn_line(self._path)
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - held until close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def sweep(self, tags: dict[str, str], baseline: dict[str, float]) -> None:
        """What the sweep's own run in the store says, written where it is new; the baseline stays as it was first measured."""
        if tags != self.tags:
            self._write({"event": "sweep", "tags": tags, "baseline": self.baseline or baseline})

    def end_sweep(self, state: str) -> None:
        """The sweep, or this attempt at it, is over: "finished", "interrupted" or "failed". It may use the last of the room."""
        if state != self.over:
            self._write({"event": "over", "state": state}, durable=True, reserve=0)

    def starve(self, trial: str, reason: str) -> None:
        """A trial has run out of memory for the first time: it is to run again, alone."""
        self._write({"event": "note", "trial": trial, "kind": "out_of_memory", "text": reason}, durable=True)

    def start(
        self,
        trial: str,
        number: int,
        model: str,
        knobs: dict[str, Any],
        seed: int,
        identity: str = "",
        source: Source | None = None,
        code: str = "",
    ) -> None:
        """A trial starts, or starts again after an interruption; `source` is a finished one whose results it takes over."""
        if trial not in self.trials:
            event = {"event": "start", "trial": trial, "number": number, "model": model, "knobs": knobs, "seed": seed, "identity": identity}
            more = ({} if source is None else {"source": asdict(source)}) | ({"code": code} if code else {})
            self._write(event | more)

    def result(self, trial: str, step: int, metrics: dict[str, float]) -> None:
        """A trial has finished a step."""
        self._write({"event": "result", "trial": trial, "step": step, "metrics": metrics})

    def mutate(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        """A trial goes on after a step with other knobs from another one's checkpoint; see `Change`."""
        event = {"event": "mutate", "trial": trial, "step": step, "knobs": knobs, "donor": donor, "checkpoint": checkpoint}
        self._write(event, durable=True)

    def end(self, trial: str, state: State, reason: str = "", violations: dict[str, float] | None = None) -> None:
        """A trial is over for good."""
        event = {"event": "end", "trial": trial, "state": state, "reason": reason}
        self._write(event | ({"violations": violations} if violations else {}), durable=True)

    def clock(self, spent: Spending) -> None:
        """The sweep has spent so much up to now, all attempts together."""
        self._write({"event": "clock", **asdict(spent)})

    def extend(self, budget: Mapping[str, float]) -> None:
        """The sweep's budget has grown: finished search trials go on, finished final runs are superseded.

        Args:
            budget: the fields that have grown, with their new values.
        """
        self._write({"event": "extend", "budget": dict(budget)}, durable=True)

    def close(self) -> None:
        """Writes everything out and lets the lock go."""
        self._file.close()
        self._lock.close()

    def _write(self, event: dict[str, Any], *, durable: bool = False, reserve: int = RESERVE_BYTES) -> None:
        """Appends a line, whole or not at all.

        Raises:
            StorageError: the folder is full or gone.
        """
        event = event | {"time": round(time.time(), 3)}
        line = (json.dumps(event) + "\n").encode()
        require_room(self.folder, reserve)
        require_same(self._path, self._file.fileno())
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(no_room(self.folder)) from error
        if written != len(line):
            os.ftruncate(self._file.fileno(), before)
            raise StorageError(no_room(self.folder))
        self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "clock":
            self.spent = Spending(event["wall_s"], event["accelerator_h"], event["cost"])
        elif event["event"] == "sweep":
            self.tags, self.baseline, self.over = event["tags"], event["baseline"], ""
            self.begun_s = self.begun_s or event["time"]
        elif event["event"] == "over":
            self.over = event["state"]
        else:
            self.extensions += event["event"] == "extend"
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


def read_tags(folder: Path) -> dict[str, str]:
    """What the run of a sweep's folder says in the store, without the lock; empty where it was never told."""
    told = [event["tags"] for event in read_events(folder / "journal.jsonl") if event["event"] == "sweep"]
    return dict(told[-1]) if told else {}


def ranked(trials: Iterable[TrialRecord], metric: str, mode: str) -> list[TrialRecord]:
    """Search trials that have a value and break no limit, the best first; the earlier one where two are equal."""
    eligible = [record for record in trials if record.kind == "search" and record.state != "infeasible"]
    found = [(best[1], record) for record in eligible if (best := record.best(metric, mode))]
    sign = 1 if mode == "min" else -1
    return [record for _, record in sorted(found, key=lambda entry: (sign * entry[0], entry[1].number))]


def _apply(trials: dict[str, TrialRecord], event: dict[str, Any]) -> None:
    """Takes in an event of a trial; others say nothing of trials."""
    kind = event["event"]
    if kind == "start":
        record = TrialRecord(event["trial"], event["number"], event["model"], event["knobs"], event["seed"])
        record.started_s, record.identity, record.code = event.get("time", 0.0), event["identity"], event.get("code", "")
        record.source = Source(**event["source"]) if "source" in event else None
        trials[event["trial"]] = record
    elif kind == "result":
        trials[event["trial"]].results[event["step"]] = event["metrics"]
        trials[event["trial"]].times[event["step"]] = event.get("time", 0.0)
    elif kind == "mutate":
        record = trials[event["trial"]]
        record.changes.append(Change(event["step"], record.knobs, event["knobs"], event["donor"], event["checkpoint"]))
        record.knobs = event["knobs"]
    elif kind == "end":
        record = trials[event["trial"]]
        record.state, record.reason, record.ended_s = event["state"], event["reason"], event.get("time")
        record.violations = event.get("violations", {})
    elif kind == "note" and event["kind"] == "out_of_memory":
        trials[event["trial"]].starved = event["text"]
    elif kind == "extend":
        _extend(trials.values(), event["budget"])


def _extend(trials: Iterable[TrialRecord], budget: Mapping[str, float]) -> None:
    """Opens what a larger budget lets go on."""
    for record in trials:
        spent = record.state == "stopped" and record.reason.endswith(SPENT)
        if record.kind == "final":
            record.superseded = True
        elif record.kind == "search" and (spent or (record.state == "complete" and "epochs" in budget)):
            record.state, record.reason, record.ended_s = "running", "", None


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
