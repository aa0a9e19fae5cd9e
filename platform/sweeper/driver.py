"""Runs the two stages of a sweep: the search, and the final runs of the best configurations."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sweeper import cluster, warm_start
from sweeper.budget import Meter, Spending
from sweeper.checkpoints import Checkpoint, sweeps_place
from sweeper.choice import leaders
from sweeper.home import Home
from sweeper.journal import ENDED, Source, TrialRecord
from sweeper.known import KnownTrials, identity
from sweeper.nodes import Room
from sweeper.recorder import SweepRun
from sweeper.retention import checkpoints_for
from sweeper.rooms import DataFacts, Rooms, SessionRequest
from sweeper.search import Assignment, Proposals, scheduler
from sweeper.separation import unseparated
from sweeper.space import resolve
from sweeper.spec import Spec
from sweeper.stage import Stage, StageListener
from sweeper.trial import TrialPlan

FINAL_SEED_STEP = 1


@dataclass
class Driver:
    """A sweep that is tracked and whose cluster answers.

    Attributes:
        spec: the sweep.
        rooms: the neighbours.
        home: where it lives.
        facts: what preparing the data told.
        run: its records.
        meter: counts what is spent.
        room: how the cluster holds its trials.
        modes: "min" or "max" of each objective.
        fresh: train again what is known.
    """

    spec: Spec
    rooms: Rooms
    home: Home
    facts: DataFacts
    run: SweepRun
    meter: Meter
    room: Room
    modes: Mapping[str, str]
    fresh: bool = False
    _codes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = KnownTrials(self.home)  # reads the other sweeps' journals once, when first asked
        keeper = self.run.keeper
        self._place = keeper.place if keeper is not None else sweeps_place(self.home, self.spec.name, self.spec.checkpoints.storage)

    def search(self) -> None:
        """The search stage; returns at once where it was finished before."""
        spec, run = self.spec, self.run
        records = [record for record in run.journal.trials.values() if record.kind == "search"]
        searched = resolve(spec, self.rooms)
        initial = warm_start.configurations(spec, self.rooms, self.home, searched)
        also = {name: self.modes[name] for name in spec.objective.also}
        proposals = Proposals(spec, searched, run.mode, run.journal.folder, also, initial)
        for note in proposals.notes:
            run.progress.note(note)
        for model, knobs in proposals.left_out:
            run.progress.note(f"a configuration of the warm start is not in the space of {model} and is left out: {knobs}")
        unfinished = proposals.reconcile(records, run.metric, run.mode)
        ended = sum(record.state in ENDED for record in records)
        left = proposals.limit - proposals.begun() + len(unfinished)
        run.progress.stage("search", proposals.limit, ended)
        if left and not self.meter.reached(self._reserve()):
            counts = self.facts.counts["train"]
            steps = math.ceil(spec.budget.epochs * counts / (spec.budget.step_images or counts))

            def rungs() -> Any:
                begun = [each for each in run.journal.trials.values() if each.kind == "search"]
                return scheduler(spec, run.mode, steps, begun, searched[spec.models[0]])

            todo = [self._continued(record) for record in unfinished if not record.starved]
            starved = [record.trial for record in unfinished if record.starved]
            self._run_stage(self._stage(proposals, todo, reserved=True), rungs, left, starved)

    def finals(self) -> None:
        """Trains the best configurations, or every complete one, again under fresh seeds; each is measured once on the test split.

        With `retrain: false`, and for the best where the budget leaves nothing else, the trials' own checkpoints are measured; a best one
        that the scheduler stopped is trained to the end first. With `until: separated` further seeds follow.
        """
        best = self.leaders()
        if not best or not self.spec.seeds:
            return
        chosen = best[: self.spec.finalists]
        if self.spec.finals == "every":
            chosen = [record for record in self.run.journal.trials.values() if record.kind == "search" and record.state == "complete"]
        self._train_finals([(record, index) for record in chosen for index in range(self.spec.seeds)])
        if self.spec.until == "separated":
            self._separate(chosen)
        if self.spec.retrain and not any(self._measured(record) for record in chosen):
            self.run.progress.note("the budget leaves no final run: the best trial is measured on the test split as the search trained it")
            taken = (self.run.journal.trials.get(self._final_name(best[0], index)) for index in count())
            free = next(index for index, record in enumerate(taken) if record is None or record.state not in ENDED)
            self._train_finals([(best[0], free)], retrain=False)  # beside a final run that the budget has cut off

    def leaders(self) -> list[TrialRecord]:
        """Search trials that have a value and break no limit, the best first."""
        return leaders(self.run.journal.trials.values(), self.spec.objective, self.modes)

    def checkpoints(self, record: TrialRecord) -> list[Checkpoint]:
        """A trial's checkpoints, the newest first; of one that was not trained again, those of its source."""
        return checkpoints_for(self.home, self._place, record)

    def _separate(self, chosen: list[TrialRecord]) -> None:
        """Further seeds for those whose intervals overlap the leader's, until none does or the budget is spent."""
        names = {record.trial: record for record in chosen}
        while not self.meter.reached():
            near = unseparated({trial: self._final_values(record) for trial, record in names.items()}, self.run.mode)
            if not near:
                self.run.progress.note("the best configuration is separated from the others: the 95 % intervals over seeds do not overlap")
                return
            before = {trial: len(self._finals_of(names[trial])) for trial in near}
            self._train_finals([(names[trial], count) for trial, count in before.items()])
            if not any(len(self._final_values(names[trial])) > count for trial, count in before.items()):
                break
        self.run.progress.note("not separated: the budget ended before the 95 % intervals over seeds parted")

    def _train_finals(self, wanted: Iterable[tuple[TrialRecord, int]], *, retrain: bool | None = None) -> None:
        """Final runs, by configuration and index; those that have ended are not run again."""
        known, todo, planned = self.run.journal.trials, [], 0
        again = self.spec.retrain if retrain is None else retrain
        for chosen, index in wanted:
            planned += 1
            name = self._final_name(chosen, index)
            record = known.get(name)
            if record is None and not again:
                todo.append(replace(self._continued(chosen), trial=name, number=index))
            elif record is None:
                seed = self.spec.search.seed + FINAL_SEED_STEP + index
                todo.append(Assignment(name, index, chosen.model, chosen.knobs, seed))
            elif record.state not in ENDED:
                todo.append(self._continued(record))
        self.run.progress.stage("final", planned, planned - len(todo))
        if todo and (not again or not self.meter.reached()):
            unscheduled = self.spec.model_copy(update={"scheduler": type(self.spec.scheduler)()})
            starved = [each.trial for each in todo if each.trial in known and known[each.trial].starved]
            stage = self._stage(None, [each for each in todo if each.trial not in starved])
            self._run_stage(replace(stage, limited=again), lambda: scheduler(unscheduled, self.run.mode, 1), len(todo), starved)

    def _final_name(self, chosen: TrialRecord, index: int) -> str:
        """ "final-0", or "final-0007-0" where several configurations are trained again; after an extension "final-0.1"."""
        several = self.spec.finals == "every" or self.spec.finalists > 1
        generation = self.run.journal.extensions
        return f"final-{f'{chosen.number:04d}-' if several else ''}{index}" + (f".{generation}" if generation else "")

    def _finals_of(self, chosen: TrialRecord) -> list[TrialRecord]:
        trials = self.run.journal.trials.values()
        return [each for each in trials if each.kind == "final" and (each.model, each.knobs) == (chosen.model, chosen.knobs)]

    def _final_values(self, chosen: TrialRecord) -> list[float]:
        """The objective of a configuration's finished final runs, on the validation split."""
        finals = [each for each in self._finals_of(chosen) if each.state == "complete"]
        return [best[1] for each in finals if (best := each.best(self.run.metric, self.run.mode))]

    def _measured(self, chosen: TrialRecord) -> bool:
        """Whether a configuration has a figure on the test split."""
        return any("test_" + self.run.metric in metrics for each in self._finals_of(chosen) for metrics in each.results.values())

    def _reserve(self) -> Spending:
        """What the planned final runs will take, as far as the finished trials tell."""
        spec = self.spec
        took = [
            record.results[max(record.results)].get("wall_s", 0.0)
            for record in self.run.journal.trials.values()
            if record.state == "complete" and record.kind == "search" and record.results
        ]
        if not took or not spec.retrain or spec.finals == "every":
            return Spending()
        return self.meter.share(sum(took) / len(took), spec.seeds * spec.finalists, self.room.at_once)

    def _continued(self, record: TrialRecord) -> Assignment:
        """A begun trial, to go on from its checkpoints; from another one's, where it was about to and has not trained since."""
        checkpoints = [checkpoint.address for checkpoint in self.checkpoints(record)]
        if record.changes and record.changes[-1].step >= max(record.results, default=0):
            checkpoints.insert(0, Checkpoint(self._place, record.changes[-1].checkpoint).address)
        return Assignment(record.trial, record.number, record.model, record.knobs, record.seed, checkpoints)

    def _stage(self, proposals: Proposals | None, todo: list[Assignment], *, reserved: bool = False) -> Stage:
        return Stage(
            self.run,
            self.meter,
            tuple(self.spec.objective.constraints),
            self._identity,
            lambda wanted: None if self.fresh else self._finished(wanted) or self._known.find(wanted),
            self._code,
            proposals,
            todo,
            self._reserve if reserved else Spending,
        )

    def _finished(self, wanted: str) -> tuple[Source, TrialRecord] | None:
        """A finished trial of this sweep that has an identity."""
        for record in self.run.journal.trials.values():
            if record.identity == wanted and record.state == "complete":
                return record.source or Source(self.spec.name, record.trial), record
        return None

    def _run_stage(self, stage: Stage, rungs: Callable[[], Any], limit: int, starved: list[str]) -> None:
        """Runs a stage's trials side by side, then one after the other those that ran out of memory.

        Args:
            stage: what to run.
            rungs: makes the scheduler.
            limit: greatest number of trials, the starved ones among them.
            starved: begun trials that ran out of memory in an earlier attempt.
        """
        listener = StageListener(stage)
        listener.starved = list(starved)
        trials = self.run.journal.trials
        self.meter.resume()
        try:
            if limit > len(starved):
                self._run_trials(listener, rungs(), stage, at_once=self.room.at_once, limit=limit - len(starved))
            alone = [self._continued(trials[trial]) for trial in listener.starved]
            if alone:
                listener.alone(alone)
                self._run_trials(listener, rungs(), stage, at_once=1, limit=len(alone))
            for assignment in alone:
                record = trials[assignment.trial]
                if record.state not in ENDED:
                    reason = f"out of memory ({record.starved}), and no time was left to run it with nothing beside it"
                    listener.on_end(record.trial, {}, reason)
        finally:
            self.meter.pause()
            self.run.journal.clock(self.meter.spent())

    def _run_trials(self, listener: StageListener, rungs: Any, stage: Stage, *, at_once: int, limit: int) -> None:
        spec = self.spec
        plan = TrialPlan(
            self.rooms,
            replace(
                session_request(spec, spec.models[0], {}, spec.search.seed),
                prepared=self.facts.prepared,
                fingerprint=self.facts.fingerprint,
            ),
            spec.budget.epochs,
            spec.scheduler.stop_collapsed,
            stage.constraints,
            user_modules=str(Path.cwd()),
            storage=self._place.address,
            elsewhere=spec.checkpoints.storage is not None,
            gpu_memory_gib=spec.resources.gpu_memory_gib,
        )
        cluster.run_trials(plan, listener, rungs, self.room, self._place, at_once=at_once, limit=limit)

    def _identity(self, assignment: Assignment) -> str:
        request = session_request(self.spec, assignment.model, assignment.knobs, assignment.seed)
        kind, code = assignment.trial.split("-")[0], self._code(assignment.model)
        return identity(request, kind, self.spec.budget.epochs, code, self.facts.fingerprint)

    def _code(self, model: str) -> str:
        """Version of a model's code, looked at once."""
        if model not in self._codes:
            self._codes[model] = self.rooms.code(model)
        return self._codes[model]


def session_request(spec: Spec, model: str, knobs: Mapping[str, Any], seed: int) -> SessionRequest:
    """What defines one training run of a sweep."""
    return SessionRequest(
        model=model,
        knobs=knobs,
        data=spec.data.model_dump(),
        mask=spec.mask.model_dump(),
        seed=seed,
        objective=spec.objective.metric,
        step_images=spec.budget.step_images,
        device="cuda" if spec.resources.on_gpu else "cpu",
        threads=max(1, int(spec.resources.cpus)),
        processes=spec.resources.processes_a_trial,
    )
