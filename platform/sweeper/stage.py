"""One stage of a sweep, the search or the final runs: hands out assignments, hears of results, and judges how each trial ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sweeper.budget import Meter, Spending
from sweeper.constraints import broken, violations
from sweeper.fills import fills_file, keep
from sweeper.journal import Source, State, TrialRecord
from sweeper.recorder import SweepRun
from sweeper.search import Assignment, Proposals
from sweeper.spec import Constraint


@dataclass(frozen=True)
class Stage:
    """What a stage works with.

    Attributes:
        run: the sweep.
        meter: counts what is spent.
        constraints: limits that trials must keep.
        identify: (assignment) -> the trial's identity; see `sweeper.known`.
        known: (identity) -> a finished trial that has it; None where there is none.
        code: (model) -> the version of its code; see `Rooms.code`.
        proposals: where assignments come from when `todo` is done; None = `todo` is all there is.
        todo: assignments to hand out first, in order.
        reserve: () -> what must be left of the budget for what comes after this stage.
        limited: whether the budget ends the stage.
    """

    run: SweepRun
    meter: Meter
    constraints: tuple[Constraint, ...]
    identify: Callable[[Assignment], str]
    known: Callable[[str], tuple[Source, TrialRecord] | None]
    code: Callable[[str], str]
    proposals: Proposals | None = None
    todo: list[Assignment] = field(default_factory=list)
    reserve: Callable[[], Spending] = Spending
    limited: bool = True


class StageListener:
    """Hears of a stage's trials; see `sweeper.cluster.Listener`."""

    def __init__(self, stage: Stage) -> None:
        """Begins a stage."""
        self._stage = stage
        self._run = stage.run
        self._proposals = stage.proposals
        self._todo = list(stage.todo)
        self._proposing = True
        self._reusing: set[str] = set()
        self._held: set[str] = set()
        self._over = ""
        self.starved: list[str] = []

    def alone(self, todo: list[Assignment]) -> None:
        """The stage goes on with trials that ran out of memory; nothing else is handed out any more."""
        self.starved, self._todo, self._proposing = [], list(todo), False

    def next(self) -> Assignment | None:
        """The next assignment that has to be trained; what is known already is written down and passed over."""
        while (assignment := self._draw()) is not None:
            self._run.interrupt.check()
            found = self._stage.known(self._stage.identify(assignment))
            if found is None:
                return assignment
            self._take_over(assignment, *found)
        return None

    def out_of_time(self) -> bool:
        """Whether a limit of the budget is reached: nothing more is started, and running trials stop."""
        self._run.interrupt.check()
        if self._stage.limited:
            self._over = self._over or self._stage.meter.reached(self._stage.reserve())
        return bool(self._over)

    def on_start(self, assignment: Assignment) -> None:
        """A worker has taken an assignment."""
        if assignment.trial not in self._held:
            self._held.add(assignment.trial)
            self._stage.meter.started()
        self._begin(assignment, None)
        self._run.progress.started(assignment.trial)

    def on_result(self, trial: str, result: dict[str, Any]) -> None:
        """A step is done; a step that was told before (after a restart) tells nothing new."""
        metrics = result.get("metrics")
        if metrics is None:
            return
        step = int(result["step"])
        metrics = metrics | {f"test_{name}": value for name, value in result.get("test", {}).items()}
        fills = result.pop("fills", b"")  # Ray Tune would write it down with the trial's last result
        if step not in self._run.journal.trials[trial].results:
            if fills:  # before the journal says that the test split is measured: after a kill it is not measured again
                keep(self._run.journal.folder, trial, fills)
                self._run.send_fills(trial)
            self._tell_result(trial, step, metrics)
            self._run.journal.clock(self._stage.meter.spent())

    def on_lost(self, trial: str, note: str) -> None:
        """A trial has lost its worker, and holds nothing until it has another one."""
        if trial in self._held:
            self._held.remove(trial)
            self._stage.meter.ended()
        if note:
            self._run.progress.note(f"{trial}: {note}")

    def on_checkpoint(self, name: str, size: int) -> None:
        """A worker has written a checkpoint."""
        if self._run.keeper is not None:
            self._run.keeper.place.added(name, size)

    def on_end(self, trial: str, result: dict[str, Any], error: str | None) -> None:
        """A trial is over, or set aside to run again alone where it lacked memory for the first time."""
        if trial in self._held:
            self._held.remove(trial)
            self._stage.meter.ended()
        self._run.journal.clock(self._stage.meter.spent())
        if "starved" in result and not self._run.journal.trials[trial].starved:
            self._run.journal.starve(trial, str(result["starved"]))
            self.starved.append(trial)
            self._run.progress.note(f"{trial} ran out of memory ({result['starved']}); it runs again when nothing runs beside it")
        else:
            self._end(trial, *self._judge(trial, result, error))

    def on_change(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        """A trial goes on after a step with other knobs, from another one's checkpoint."""
        run, record = self._run, self._run.journal.trials[trial]
        run.journal.mutate(trial, step, knobs, donor, checkpoint)
        change = record.changes[-1]
        if self._proposals is not None:
            self._proposals.changed(trial, change)
        run.writer.tags(trial, {f"sweep.change.{step:05d}": json.dumps({"donor": donor, "knobs": knobs})})
        new = [f"{name} {change.before[name]:.4g} -> {value:.4g}" for name, value in knobs.items() if value != change.before[name]]
        run.progress.note(f"{trial} goes on after step {step} from {donor} with {', '.join(new) or 'the same knobs'}")

    def _draw(self) -> Assignment | None:
        self._run.interrupt.check()
        if self._todo:
            return self._todo.pop(0)
        return self._proposals.ask() if self._proposals is not None and self._proposing else None

    def _begin(self, assignment: Assignment, source: Source | None) -> None:
        """Writes a start down, in the journal and in MLflow."""
        given, identity, code = assignment, self._stage.identify(assignment), self._stage.code(assignment.model)
        self._run.journal.start(given.trial, given.number, given.model, given.knobs, given.seed, identity, source, code)
        self._run.begin_run(assignment.trial, assignment.model, assignment.knobs, assignment.seed)

    def _tell_result(self, trial: str, step: int, metrics: dict[str, float]) -> None:
        run = self._run
        run.journal.result(trial, step, metrics)
        if run.metric in metrics:
            if self._proposals is not None:
                self._proposals.report(trial, step, metrics[run.metric])
            run.progress.advanced(trial, step, metrics[run.metric])
        run.send_step(trial, step)
        run.tidy(trial)
        if metrics.get("reused") and trial not in self._reusing:
            self._reusing.add(trial)
            run.progress.note(f"{trial} takes over training that an earlier trial has done")

    def _take_over(self, assignment: Assignment, source: Source, known: TrialRecord) -> None:
        """Writes a trial down whose results another one has had."""
        run = self._run
        self._begin(assignment, source)
        run.progress.started(assignment.trial)
        for step, metrics in known.results.items():
            if step not in run.journal.trials[assignment.trial].results:
                self._tell_result(assignment.trial, step, metrics)
        fills = fills_file(run.journal.folder.parent / source.sweep, source.trial)
        if fills.is_file():
            keep(run.journal.folder, assignment.trial, fills.read_bytes())
            run.send_fills(assignment.trial)
        place = source.trial if source.sweep == run.name else f"{source.trial} of {source.sweep}"
        run.progress.note(f"{assignment.trial} is not trained again: {place} had the same code, data, configuration and seed")
        self._end(assignment.trial, "complete", "")

    def _end(self, trial: str, state: State, reason: str) -> None:
        run = self._run
        best = run.journal.trials[trial].best(run.metric, run.mode)
        metrics = run.journal.trials[trial].results[best[0]] if best else next(iter(run.journal.trials[trial].results.values()), {})
        limits = violations(self._stage.constraints, metrics)
        if state in ("complete", "stopped") and any(each > 0 for each in limits.values()):
            state, reason = "infeasible", broken(self._stage.constraints, metrics)
        run.journal.end(trial, state, reason, limits)
        values = run.journal.trials[trial].best_values(run.metric, run.mode, run.objective.also)
        if self._proposals is not None:
            self._proposals.tell(trial, state, values, limits)
        run.end_run(trial)
        run.tidy(trial)
        run.progress.ended(trial, state, reason, values[0] if values else None)

    def _judge(self, trial: str, result: dict[str, Any], error: str | None) -> tuple[State, str]:
        """Why a trial ended."""
        if "starved" in result:
            sizes = [name for name in self._run.journal.trials[trial].knobs if name.startswith("batch")]
            lower = ", ".join([*(f"knobs.{name}" for name in sizes), "data.image_px"])
            return "failed", f"out of memory with nothing beside it ({result['starved']}); lower {lower}, or use nodes with more memory"
        if error is not None:
            return "failed", error
        if "failed" in result:
            return "failed", str(result["failed"])
        if "collapsed" in result:
            return "collapsed", str(result["collapsed"])
        if "infeasible" in result:
            return "infeasible", str(result["infeasible"])
        if result.get("diverged"):
            return "diverged", f"{result['diverged']} was not finite at step {result['step']}"
        if result.get("finished"):
            return "complete", ""
        return "stopped", self._over or "the scheduler stopped it"
