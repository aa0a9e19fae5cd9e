"""Writes down what happens to trials: first in the journal, then in the study, then in MLflow, then on the screen."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from sweeper.interrupt import Interrupt
from sweeper.journal import ENDED, Journal
from sweeper.layers import FILE, LayerTables
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
