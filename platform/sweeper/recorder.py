"""Writes down what happens to trials: first in the journal, then in the study, then in MLflow, then on the screen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from sweeper.choice import leaders
from sweeper.fills import FOLDER, fills_file
from sweeper.interrupt import Interrupt
from sweeper.journal import ENDED, Journal, TrialRecord
from sweeper.layers import FILE, LayerTables
from sweeper.retention import Keeper
from sweeper.spec import Objective
from sweeper.tracking import STATUS, Store
from sweeper.writer import Unsent, Writer


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
        objective: what is optimised, and which trial wins.
        modes: "min" or "max" of each objective.
        journal: the sweep's own record.
        store: MLflow.
        writer: sends to it.
        parent: the sweep's MLflow run.
        progress: the screen.
        layers: the configurations' layer tables.
        keeper: removes checkpoints; None = nobody does.
        begun: trials whose MLflow run the writer knows by the trial's name.
        interrupt: whether Ctrl-C was pressed.
        closed: trials whose MLflow run has been told its end.
        unsent: what MLflow has not taken; known after `finish`.
    """

    name: str
    objective: Objective
    modes: Mapping[str, str]
    journal: Journal
    store: Store
    writer: Writer
    parent: str
    progress: Progress
    layers: LayerTables
    keeper: Keeper | None = None
    begun: set[str] = field(default_factory=set)
    interrupt: Interrupt = field(default_factory=Interrupt)
    closed: set[str] = field(default_factory=set)
    unsent: Unsent | None = None

    @property
    def metric(self) -> str:
        """The first objective."""
        return self.objective.metric

    @property
    def mode(self) -> str:
        """Whether its least or its greatest value wins."""
        return self.modes[self.metric]

    @property
    def best(self) -> TrialRecord | None:
        """The best search trial; None where none has a value."""
        return next(iter(leaders(self.journal.trials.values(), self.objective, self.modes)), None)

    def begin_run(self, trial: str, model: str, knobs: dict[str, Any], seed: int) -> None:
        """The MLflow run of a trial is to be found again or made, with its layer table."""
        if trial in self.begun:
            return
        self.begun.add(trial)
        record = self.journal.trials.get(trial)
        tags = {"sweep.seed": str(seed), "sweep.model": model} | ({"sweep.code": record.code} if record and record.code else {})
        started_s = record.started_s or None if record else None
        role = record.kind if record else trial.split("-")[0]
        self.writer.begin(trial, self.name, role, self.parent, tags, knobs, started_s)
        self.keep_layers(trial, model, knobs)

    def send_step(self, trial: str, step: int) -> None:
        """Sends a trial's metrics of a step, with the journal's time, which makes a second sending harmless."""
        record = self.journal.trials[trial]
        self.writer.metrics(trial, step, record.results[step], record.times.get(step))

    def send_fills(self, trial: str) -> None:
        """Sends what a final run made of the first test images, where the sweep's folder has it."""
        file = fills_file(self.journal.folder, trial)
        if file.is_file():
            self.writer.artifact(trial, file, FOLDER)

    def keep_layers(self, run: str, model: str, knobs: dict[str, Any]) -> None:
        """Sends a run the layer table of a configuration, where its model gives one."""
        text = self.layers.text(model, knobs)
        if text is not None:
            self.writer.file(run, FILE, text)

    def catch_up(self) -> None:
        """Sends MLflow what the journal knows and the store does not: the first act of a resumed sweep, and all of `sweep sync`."""
        if not self.journal.trials:
            return
        rows: dict[str, list[dict[Any, Any]]] = {}
        for row in self.store.trials(self.name).to_dict("records"):
            rows.setdefault(row["trial"], []).append(row)
        for record in self.journal.trials.values():
            stored = rows.get(record.trial, [])
            whole = [(record.kind, record.state, STATUS[record.state])]
            if record.state in ENDED and [(row["role"], row["state"], row["status"]) for row in stored] == whole:
                self.writer.adopt(record.trial, stored[0]["run_id"])  # a run is closed last: it has everything
                self.begun.add(record.trial)
                self.closed.add(record.trial)
                continue
            self.begin_run(record.trial, record.model, record.knobs, record.seed)
            for step in record.results:
                self.send_step(record.trial, step)
            self.send_fills(record.trial)
            if record.state in ENDED:
                self.end_run(record.trial)

    def end_run(self, trial: str) -> None:
        """Closes a trial's MLflow run with the metrics of its best step."""
        record = self.journal.trials[trial]
        best = record.best(self.metric, self.mode)
        if best is not None:
            step, _ = best
            summary = {f"best_{name}": value for name, value in record.results[step].items()} | {"best_step": float(step)}
            self.writer.metrics(trial, max(record.results), summary, record.times.get(max(record.results)))
        self.writer.end(trial, record.state, record.reason, record.ended_s)
        self.closed.add(trial)

    def close(self) -> None:
        """Closes every trial's MLflow run: an end that Ctrl-C kept from being told is told now, what has no end is interrupted."""
        for trial in self.begun - self.closed:
            record = self.journal.trials.get(trial)
            if record is not None and record.state in ENDED:
                self.end_run(trial)
            else:
                self.writer.end(trial, "interrupted")

    def finish(self, state: str) -> None:
        """Closes every run, the sweep's own last, and sends what is left, for a bounded time.

        Args:
            state: "finished", "interrupted" or "failed".
        """
        self.close()
        best = self.best
        if best is not None and (found := best.best(self.metric, self.mode)) is not None:
            step, value = found
            self.writer.metrics(self.parent, 0, {"best_value": value}, best.times.get(step))
            self.writer.tags(self.parent, {"sweep.best": best.trial})
            self.keep_layers(self.parent, best.model, best.knobs)
        self.writer.metrics(self.parent, 0, {f"spent_{name}": value for name, value in asdict(self.journal.spent).items()})
        self.writer.end(self.parent, state)
        self.unsent = self.writer.close()
        for path in self.writer.gone:
            self.progress.note(f"{path} was gone before it could be sent to the store")

    def tidy(self, trial: str) -> None:
        """Removes the checkpoints that are not to be kept, after a step of a trial."""
        if self.keeper is not None:
            self.keeper.trim(trial, self.journal.trials)
