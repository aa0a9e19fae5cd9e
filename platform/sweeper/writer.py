"""Everything that a running sweep tells MLflow goes through one thread, so that nobody waits for the store, nor ends with it.

A run is named by a handle, the trial's name: its id is known only after the store has answered. What the store refuses stays and is
tried again, each run's things in their order; what is left at the end is in the sweep's journal, from which `sweep sync` sends it.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.tracking import Point, Store

GATHER_S = 1.0  # a call costs the store about the same for one value and for a thousand
RETRY_S = 1.0
LAST_TRIES = 3
MISSES = 2
PATIENCE_S = 60.0
PATIENCE_AWAY_S = 20.0
LOOK_S = 0.1
REASON_CHARACTERS = 5000


@dataclass(frozen=True)
class Unsent:
    """What the store has not taken.

    Attributes:
        values: metrics.
        runs: of how many runs something is missing.
        reason: what the store said last.
    """

    values: int
    runs: int
    reason: str


@dataclass(frozen=True)
class _Begin:
    arguments: tuple[str, str, str | None, str | None, Mapping[str, str], Mapping[str, Any], float | None]
    new: bool


@dataclass(frozen=True)
class _Text:
    name: str
    text: str


@dataclass(frozen=True)
class _File:
    path: Path
    folder: str | None


@dataclass(frozen=True)
class _End:
    state: str
    ended_s: float | None


_Thing = _Begin | tuple[Point, ...] | dict[str, str] | _Text | _File | _End
_Entry = tuple[str, _Thing]


class Writer:
    """Sends runs, metrics, files and ends to the store from its own thread, many in one call.

    Thread safety: any thread may call; no call waits for the store. A run is named by the handle that `begin` or `adopt` got, or by its id.

    Attributes:
        sent: metrics that the store has taken.
        gone: files that were no longer there when their turn came.
    """

    def __init__(self, store: Store) -> None:
        self.sent = 0
        self.gone: list[Path] = []
        self._store = store
        self._queue: queue.Queue[_Entry | None] = queue.Queue()
        self._run_ids: dict[str, str] = {}
        self._tried: set[str] = set()
        self._reason = ""
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._values = 0
        self._answered_s = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def begin(
        self,
        run: str,
        name: str,
        role: str,
        parent: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        started_s: float | None = None,
        new: bool = False,
    ) -> None:
        """A trial's run is to be found or made; see `Store.begin`. `run` is the trial's name, and from now on the handle."""
        self._put(run, _Begin((name, role, run, parent, dict(tags), dict(params), started_s), new))

    def adopt(self, run: str, run_id: str) -> None:
        """A handle for a run that the store has."""
        self._run_ids[run] = run_id

    def metrics(self, run: str, step: int, values: Mapping[str, float], time_s: float | None = None) -> None:
        """Metrics of one step; `time_s` in seconds since 1970, None = now. Sent twice with the same time they are in the store once."""
        at_s = time.time() if time_s is None else time_s
        self._put(run, tuple(Point(name, float(value), step, at_s) for name, value in values.items()))

    def tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Tags of a run."""
        self._put(run, dict(tags))

    def file(self, run: str, name: str, text: str) -> None:
        """A small text file to keep with a run."""
        self._put(run, _Text(name, text))

    def artifact(self, run: str, path: Path, folder: str | None = None) -> None:
        """A file to keep with a run; it is read when it is sent."""
        self._put(run, _File(path, folder))

    def end(self, run: str, state: str, reason: str = "", ended_s: float | None = None) -> None:
        """A run's end; `state` is a key of `tracking.STATUS`, `ended_s` in seconds since 1970, None = now."""
        self._put(run, {"sweep.state": state} | ({"sweep.reason": reason[:REASON_CHARACTERS]} if reason else {}))
        self._put(run, _End(state, ended_s))

    def close(self) -> Unsent | None:
        """Sends what is left, for as long as the store takes something; gives up after a bounded time where it does not.

        Returns:
            What it has not taken; None where it has everything.
        """
        patience_s = PATIENCE_AWAY_S if self._reason else PATIENCE_S
        self._answered_s = time.monotonic()
        self._queue.put(None)
        self._closing.set()
        while self._thread.is_alive() and time.monotonic() - self._answered_s < patience_s:
            self._thread.join(LOOK_S)
        with self._lock:
            runs = sum(count > 0 for count in self._waiting.values())
            return Unsent(self._values, runs, self._reason or "it is slow") if runs else None

    def _put(self, run: str, thing: _Thing) -> None:
        with self._lock:
            self._waiting[run] += 1
            self._values += len(thing) if isinstance(thing, tuple) else 0
        self._queue.put((run, thing))

    def _work(self) -> None:
        """Takes what has come within a moment and sends it; keeps what the store refuses for the next round; ends at None."""
        refused: list[_Entry] = []
        closing = False
        last_tries = LAST_TRIES
        while not closing or (refused and last_tries):
            fresh: list[_Entry | None] = []
            if refused:
                time.sleep(RETRY_S)
                last_tries -= closing
            elif not closing:
                fresh = [self._queue.get()]
                self._closing.wait(GATHER_S)
            while not self._queue.empty():
                fresh.append(self._queue.get_nowait())
            closing = closing or None in fresh
            before = len(refused)
            refused = self._send_all(refused + [entry for entry in fresh if entry is not None])
            if closing and len(refused) < before:
                last_tries = LAST_TRIES

    def _send_all(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Sends entries run by run; returns those that the store refused, after those that were not tried since it seems to be away."""
        by_run: dict[str, list[_Entry]] = {}
        for entry in entries:
            by_run.setdefault(entry[0], []).append(entry)
        refused: list[_Entry] = []
        untried: list[_Entry] = []
        misses = 0
        reason = ""
        for run, mine in by_run.items():
            if misses == MISSES:
                untried += mine
                continue
            try:
                self._send(run, [thing for _, thing in mine])
            except Exception as error:  # whatever it is: a thread that ends here would lose every later metric without a word
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                misses += 1
                refused += mine
            else:
                misses = 0
                self._took(run, mine)
        self._reason = reason
        return untried + refused

    def _took(self, run: str, entries: Sequence[_Entry]) -> None:
        values = sum(len(thing) for _, thing in entries if isinstance(thing, tuple))
        with self._lock:
            self._waiting[run] -= len(entries)
            self._values -= values
            self.sent += values
        self._answered_s = time.monotonic()

    def _send(self, run: str, things: Sequence[_Thing]) -> None:
        """Sends a run's things: what begins it first and what ends it last, so that a run that is closed in the store is whole there."""
        for thing in things:
            if isinstance(thing, _Begin) and run not in self._run_ids:
                new = thing.new and run not in self._tried  # a call that failed here may have done its work there
                self._tried.add(run)
                self._run_ids[run] = self._store.begin(*thing.arguments, new)
                self._tried.discard(run)
        run_id = self._run_ids.get(run, run)
        for thing in things:
            if isinstance(thing, _Text):
                self._store.log_text(run_id, thing.name, thing.text)
            elif isinstance(thing, _File) and thing.path.is_file():
                self._store.log_file(run_id, thing.path, thing.folder)
            elif isinstance(thing, _File):
                self.gone.append(thing.path)
        points = [point for thing in things if isinstance(thing, tuple) for point in thing]
        tags = {key: value for thing in things if isinstance(thing, dict) for key, value in thing.items()}
        params = {key: value for thing in things if isinstance(thing, _Begin) and thing.new for key, value in thing.arguments[5].items()}
        if points or tags or params:
            self._store.log(run_id, points, tags, params)
        for thing in things:
            if isinstance(thing, _End):
                self._store.end(run_id, thing.state, thing.ended_s)
