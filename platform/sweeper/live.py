"""How far a running sweep is, for whoever looks from another machine: one small tag of the sweep's MLflow run."""

import json
import threading
import time
from collections import Counter
from dataclasses import asdict

from sweeper.errors import TrackingError
from sweeper.journal import ENDED, Journal, ranked
from sweeper.recorder import Progress
from sweeper.status import LIVE_TAG
from sweeper.stop import Wishes
from sweeper.tracking import Store

KINDS = ("search", "final")
TOLD_EVERY_S = 30.0
RUNNING_TOLD = 50


class LiveTag:
    """Implements `sweeper.recorder.Progress`: passes everything on, and remembers how far the sweep is.

    Thread safety: the driver's loop tells, `beat` is called from a thread of its own.
    """

    def __init__(self, progress: Progress, metric: str, mode: str, journal: Journal) -> None:
        """Knows what earlier attempts have done.

        Args:
            progress: the screen.
            metric: the objective.
            mode: "min" or "max".
            journal: the sweep's; asked for the time spent later on.
        """
        self._progress = progress
        self._mode = mode
        self._lock = threading.Lock()
        self._journal = journal
        self._run_id = ""
        self._stage, self._total = "preparing", 0
        ended = [record for record in journal.trials.values() if record.state in ENDED]
        self._ended: dict[str, Counter[str]] = {kind: Counter(each.state for each in ended if each.kind == kind) for kind in KINDS}
        self._running: dict[str, tuple[int, float] | None] = {}
        best = ranked(journal.trials.values(), metric, mode)
        found = best[0].best(metric, mode) if best else None
        self._best: tuple[str, int, float] | None = (best[0].trial, *found) if found else None
        self._told, self._told_s = "", 0.0

    def stage(self, title: str, total: int, done: int) -> None:
        """A stage begins."""
        with self._lock:
            self._stage, self._total = title, total
            self._running.clear()
        self._progress.stage(title, total, done)

    def started(self, trial: str) -> None:
        """A trial is running."""
        with self._lock:
            self._running.setdefault(trial, None)
        self._progress.started(trial)

    def advanced(self, trial: str, step: int, value: float) -> None:
        """A trial has a new value."""
        with self._lock:
            self._running[trial] = (step, value)
            better = self._best is None or (value < self._best[2] if self._mode == "min" else value > self._best[2])
            if better and trial.startswith("search"):
                self._best = (trial, step, value)
        self._progress.advanced(trial, step, value)

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """A trial is over."""
        with self._lock:
            self._running.pop(trial, None)
            self._ended[trial.split("-")[0]][state] += 1
        self._progress.ended(trial, state, reason, value)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._progress.note(text)

    def beat(self, store: Store, name: str, wishes: Wishes) -> None:
        """Tells the store how far the sweep is, where that is news or some time has passed, and hears whether to stop.

        A store that does not answer is asked again at the next beat; what the sweep itself sends there is the writer's to tell of.

        Args:
            store: where the sweep's run is.
            name: the sweep's.
            wishes: hears what the run's tags say.
        """
        with self._lock:
            running = [[trial, *(told or (0, None))] for trial, told in list(self._running.items())[:RUNNING_TOLD]]
            counts = {kind: dict(ended) for kind, ended in self._ended.items()}
            for trial in self._running:
                counts[trial.split("-")[0]]["running"] = counts[trial.split("-")[0]].get("running", 0) + 1
            state = {"stage": self._stage, "total": self._total, **counts, "running": running, "best": self._best}
        text, now_s = json.dumps(state), time.time()
        try:
            row = None if self._run_id else store.sweep(name)
            self._run_id = row.run_id if row else self._run_id
            if not self._run_id:
                return
            if text != self._told or now_s - self._told_s > TOLD_EVERY_S:
                store.tag(self._run_id, LIVE_TAG, json.dumps(state | {"time": round(now_s), "spent": asdict(self._journal.spent)}))
                self._told, self._told_s = text, now_s
            wishes.heed(store.tags(self._run_id))
        except TrackingError:
            return
