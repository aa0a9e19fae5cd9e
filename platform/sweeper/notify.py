"""Tells people of a sweep's end, its failures and its new best, by a command or a web address, off the training path."""

import contextlib
import os
import queue
import shlex
import subprocess
import threading
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from sweeper.recorder import Progress
from sweeper.spec import Notify

TIMEOUT_S = 10.0
RETRIES = 3
PATIENCE_S = 45.0


class Notifier:
    """Implements `sweeper.recorder.Progress`: passes everything on, and tells what the spec wants told. Use it as a context manager.

    "best": a new best after the first one. "failure": the first trial that failed, and a sweep that ended by an error or without any
    value. "end": the sweep is over, or was interrupted. What cannot be told is a note on the screen.
    """

    def __init__(self, progress: Progress, notify: Notify, name: str, metric: str, mode: str, best: float | None = None) -> None:
        """Starts nothing yet.

        Args:
            progress: the screen.
            notify: who is told of what.
            name: the sweep's.
            metric: the objective.
            mode: "min" or "max".
            best: the best value of earlier attempts; None = there is none.
        """
        self._progress = progress
        self._notify = notify
        self._name, self._metric, self._mode = name, metric, mode
        self._best = best
        self._failed = False
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is KeyboardInterrupt:
            self._tell("end", f"{self._name} was interrupted; go on with: sweep resume {self._name}")
        elif error is not None:
            self._tell("failure", f"{self._name} ended by an error: {error}")
        self._queue.put(None)
        self._thread.join(PATIENCE_S)

    def over(self, best: tuple[str, float] | None) -> None:
        """The sweep has come to its end, with its best trial and value; None where no trial has a value."""
        if best is None:
            self._tell("failure", f"{self._name} is over and no trial of it has a value")
        else:
            self._tell("end", f"{self._name} is over; best: {best[0]} with {self._metric} {best[1]:.4g}", *best)

    def stage(self, title: str, total: int, done: int) -> None:
        """A stage begins."""
        self._progress.stage(title, total, done)

    def started(self, trial: str) -> None:
        """A trial is running."""
        self._progress.started(trial)

    def advanced(self, trial: str, step: int, value: float) -> None:
        """A trial has a new value."""
        self._progress.advanced(trial, step, value)

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """A trial is over: the first one that failed is told, and one that is better than all before, but for the first."""
        self._progress.ended(trial, state, reason, value)
        if state == "failed" and not self._failed:
            self._failed = True
            self._tell("failure", f"{self._name}: {trial} failed: {reason}", trial)
        if value is None or state == "infeasible" or not trial.startswith("search"):
            return
        before, self._best = self._best, value if self._best is None or self._better(value, self._best) else self._best
        if before is not None and self._best != before:
            self._tell("best", f"{self._name}: new best {self._metric} {value:.4g} by {trial}", trial, value)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._progress.note(text)

    def _better(self, value: float, other: float) -> bool:
        return value < other if self._mode == "min" else value > other

    def _tell(self, event: str, message: str, trial: str = "", value: float | None = None) -> None:
        if event in self._notify.on and (self._notify.command or self._notify.webhook):
            self._queue.put({"event": event, "name": self._name, "message": message, "trial": trial, "value": value})

    def _work(self) -> None:
        """Tells one after the other until None."""
        while (told := self._queue.get()) is not None:
            if self._notify.webhook:
                self._post(self._notify.webhook, told)
            if self._notify.command:
                self._run(self._notify.command, told)

    def _post(self, address: str, told: dict[str, Any]) -> None:
        again = Retry(total=RETRIES, backoff_factor=0.5, status_forcelist=(502, 503, 504), allowed_methods=("POST",))
        try:
            with requests.Session() as session:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, HTTPAdapter(max_retries=again))
                session.post(address, json=told, timeout=TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:  # its words hold the address, which may hold a secret
            status = f" ({error.response.status_code})" if error.response is not None else ""
            self._progress.note(f"the webhook was not told of {told['event']}: {type(error).__name__}{status}")

    def _run(self, command: str, told: dict[str, Any]) -> None:
        named = {"EVENT": told["event"], "NAME": told["name"], "MESSAGE": told["message"], "TRIAL": told["trial"]}
        value = "" if told["value"] is None else repr(told["value"])
        environment = os.environ | {f"SWEEP_{key}": text for key, text in named.items()} | {"SWEEP_VALUE": value}
        none = subprocess.DEVNULL
        try:
            process = subprocess.Popen(shlex.split(command), env=environment, stdin=none, stdout=none, stderr=none, start_new_session=True)
        except (OSError, ValueError) as error:
            self._progress.note(f"the notify command was not run for {told['event']}: {type(error).__name__}")
            return
        try:
            code = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            self._progress.note(f"the notify command for {told['event']} took over {TIMEOUT_S:g} s and was ended")
        else:
            if code:
                self._progress.note(f"the notify command for {told['event']} ended with code {code}")
