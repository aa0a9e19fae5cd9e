"""Writes down what happens to trials: first in the journal, then in the study, then in MLflow, then on the screen."""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from sweeper.interrupt import Interrupt
from sweeper.journal import ENDED, Journal, State
from sweeper.layers import FILE, LayerTables
from sweeper.search import Assignment, Proposals
from sweeper.tracking import STATUS, Store, Writer


class Progress(Protocol):
    """The screen."""

    def stage(self, title: str, total: int, done: int) -> None:
        """A stage begins: so many trials, some done before."""
        ...

    def started(self, trial: str) -> None:
        """A trial is running."""
        ...

    def advanced(self, trial: str, step: int, value: float) -> None:
        """A trial has a new value of the objective."""
        ...

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """A trial is over, with its best value."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line."""
        ...


@dataclass
class SweepRun:
    """A sweep in progress: what its stages share.

    Attributes:
        name: the sweep's name.
        metric: the objective.
        mode: "min" or "max".
        also: further objectives.
        journal: the sweep's own record.
        store: MLflow.
        writer: sends to it.
        parent: the sweep's MLflow run.
        progress: the screen.
        layers: the configurations' layer tables.
        run_ids: MLflow run of each trial that was begun in this process.
        interrupt: whether Ctrl-C was pressed.
        closed: trials whose MLflow run has been told its end.
    """

    name: str
    metric: str
    mode: str
    also: tuple[str, ...]
    journal: Journal
    store: Store
    writer: Writer
    parent: str
    progress: Progress
    layers: LayerTables
    run_ids: dict[str, str] = field(default_factory=dict)
    interrupt: Interrupt = field(default_factory=Interrupt)
    closed: set[str] = field(default_factory=set)

    def begin_run(self, trial: str, model: str, knobs: dict[str, Any], seed: int) -> str:
        """The MLflow run of a trial, found again or made, with its layer table."""
        if trial not in self.run_ids:
            role = trial.split("-")[0]
            self.run_ids[trial] = self.store.begin(
                self.name, role, trial, self.parent, {"sweep.seed": str(seed), "sweep.model": model}, knobs
            )
            self.keep_layers(self.run_ids[trial], model, knobs)
        return self.run_ids[trial]

    def keep_layers(self, run_id: str, model: str, knobs: dict[str, Any]) -> None:
        """Sends a run the layer table of a configuration, where its model gives one."""
        text = self.layers.text(model, knobs)
        if text is not None:
            self.writer.file(run_id, FILE, text)

    def catch_up(self) -> None:
        """Sends MLflow what the journal knows and the store does not: a resumed sweep's first act."""
        if not self.journal.trials:
            return
        rows = self.store.trials(self.name)
        stored = {row["trial"]: (row["run_id"], row["state"], row["status"]) for row in rows.to_dict("records")}
        for record in self.journal.trials.values():
            run_id, state, status = stored.get(record.trial, ("", "", ""))
            if record.state in ENDED and (state, status) == (record.state, STATUS[record.state]):
                self.run_ids[record.trial] = run_id
                self.closed.add(record.trial)
            self.begin_run(record.trial, record.model, record.knobs, record.seed)
            sent = {step for step, _ in self.store.history(self.run_ids[record.trial], self.metric)}
            for step, metrics in record.results.items():
                if step not in sent:
                    self.writer.metrics(self.run_ids[record.trial], step, metrics)
            if record.state in ENDED and record.trial not in self.closed:
                self.end_run(record.trial)

    def end_run(self, trial: str) -> None:
        """Closes a trial's MLflow run with the metrics of its best step."""
        record = self.journal.trials[trial]
        best = record.best(self.metric, self.mode)
        if best is not None:
            step, _ = best
            summary = {f"best_{name}": value for name, value in record.results[step].items()}
            self.writer.metrics(self.run_ids[trial], max(record.results), summary | {"best_step": float(step)})
        self.writer.end(self.run_ids[trial], record.state, record.reason)
        self.closed.add(trial)

    def close(self) -> None:
        """Closes every trial's MLflow run: an end that Ctrl-C kept from being told is told now, what has no end is interrupted."""
        for trial in self.run_ids.keys() - self.closed:
            record = self.journal.trials.get(trial)
            if record is not None and record.state in ENDED:
                self.end_run(trial)
            else:
                self.writer.end(self.run_ids[trial], "interrupted")


class StageListener:
    """Hears of one stage's trials (the search, or the final runs) and hands out its assignments."""

    def __init__(self, run: SweepRun, proposals: Proposals | None, todo: list[Assignment], ends_s: float | None = None) -> None:
        """Begins a stage.

        Args:
            run: the sweep.
            proposals: where further assignments come from; None = `todo` is all there is.
            todo: assignments to hand out first, in order.
            ends_s: `time.monotonic()` after which nothing more is started and running trials stop; None = never.
        """
        self._run = run
        self._proposals = proposals
        self._todo = list(todo)
        self._ends_s = ends_s
        self._begun_s = time.monotonic() - run.journal.spent_s
        self._reusing: set[str] = set()

    def next(self) -> Assignment | None:
        """The next assignment."""
        self._run.interrupt.check()
        if self._todo:
            return self._todo.pop(0)
        return self._proposals.ask() if self._proposals is not None else None

    def out_of_time(self) -> bool:
        """Whether the stage's time is spent."""
        self._run.interrupt.check()
        return self._ends_s is not None and time.monotonic() >= self._ends_s

    def on_start(self, assignment: Assignment) -> None:
        """A worker has taken an assignment."""
        self._run.journal.start(assignment.trial, assignment.number, assignment.model, assignment.knobs, assignment.seed)
        self._run.begin_run(assignment.trial, assignment.model, assignment.knobs, assignment.seed)
        self._run.progress.started(assignment.trial)

    def on_result(self, trial: str, result: dict[str, Any]) -> None:
        """A step is done; a step that was told before (after a restart) tells nothing new."""
        metrics = result.get("metrics")
        if metrics is None:
            return
        run, step = self._run, int(result["step"])
        metrics = metrics | {f"test_{name}": value for name, value in result.get("test", {}).items()}
        if step in run.journal.trials[trial].results:
            return
        run.journal.result(trial, step, metrics)
        if self._proposals is not None:
            self._proposals.report(trial, step, metrics[run.metric])
            run.journal.clock(time.monotonic() - self._begun_s)
        run.writer.metrics(run.run_ids[trial], step, metrics)
        run.progress.advanced(trial, step, metrics[run.metric])
        if metrics.get("reused") and trial not in self._reusing:
            self._reusing.add(trial)
            run.progress.note(f"{trial} takes over training that an earlier trial has done")

    def on_change(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        """A trial goes on after a step with other knobs, from another one's checkpoint."""
        run, record = self._run, self._run.journal.trials[trial]
        run.journal.mutate(trial, step, knobs, donor, checkpoint)
        change = record.changes[-1]
        if self._proposals is not None:
            self._proposals.changed(trial, change)
        run.writer.tags(run.run_ids[trial], {f"sweep.change.{step:05d}": json.dumps({"donor": donor, "knobs": knobs})})
        new = [f"{name} {change.before[name]:.4g} -> {value:.4g}" for name, value in knobs.items() if value != change.before[name]]
        run.progress.note(f"{trial} goes on after step {step} from {donor} with {', '.join(new) or 'the same knobs'}")

    def on_end(self, trial: str, result: dict[str, Any], error: str | None) -> None:
        """A trial is over."""
        state, reason = self._judge(result, error)
        run = self._run
        run.journal.end(trial, state, reason)
        values = run.journal.trials[trial].best_values(run.metric, run.mode, run.also)
        if self._proposals is not None:
            self._proposals.tell(trial, state, values)
        run.end_run(trial)
        run.progress.ended(trial, state, reason, values[0] if values else None)

    def _judge(self, result: dict[str, Any], error: str | None) -> tuple[State, str]:
        """Why a trial ended."""
        if error is not None:
            return "failed", error
        if "failed" in result:
            return "failed", str(result["failed"])
        if "collapsed" in result:
            return "collapsed", str(result["collapsed"])
        if result.get("diverged"):
            return "diverged", f"{result['diverged']} was not finite at step {result['step']}"
        if result.get("finished"):
            return "complete", ""
        return "stopped", "the sweep's time was spent" if self.out_of_time() else "the scheduler stopped it"
