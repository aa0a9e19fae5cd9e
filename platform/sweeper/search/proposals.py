"""Which configuration comes next: an Optuna study, asked and told.

`Proposals` owns the sweep's study: a trial that the scheduler stopped is told as PRUNED with its intermediate values, a failed or diverged
one as FAIL, a finished one as COMPLETE, with the values of its constraints. The journal is what it believes: a study that has lost
something is made anew from there.

Source: Optuna 5; the samplers are in `sweeper.search.algorithms`.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from sweeper.journal import ENDED, Change, TrialRecord
from sweeper.search.algorithms import Draw, sampler, take_in, trial_seed
from sweeper.search.assignment import Assignment
from sweeper.search.storage import emptied, open_study
from sweeper.search.study_space import StudySpace
from sweeper.space import KnobSearch
from sweeper.spec import Spec

_TELL = {
    "complete": TrialState.COMPLETE,
    "infeasible": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "collapsed": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
_WITHOUT_VALUES = {"complete": TrialState.FAIL, "infeasible": TrialState.PRUNED}
_INITIAL = "sweep.initial"


class Proposals:
    """The study of one sweep.

    Thread safety: for the driver's loop alone. Ownership: the file `study.db` in the sweep's folder, or the study of the sweep's name in
    the storage that the spec names; Optuna's own tools open either.

    Attributes:
        left_out: the configurations of `initial` that the space does not hold.
        notes: what the user should hear of the study.
    """

    def __init__(
        self,
        spec: Spec,
        searched: Mapping[str, Mapping[str, KnobSearch]],
        mode: str,
        folder: Path,
        also: Mapping[str, str] | None = None,
        initial: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """Opens the study, making it where it is not there yet.

        Args:
            spec: the sweep.
            searched: how each knob of each model is searched.
            mode: "min" or "max".
            folder: the sweep's.
            also: further objectives with their modes.
            initial: models and knobs to try first, after each model's first configuration; counts where the study is new.

        Raises:
            StudyError: the study's storage cannot be had.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._spec = spec
        self._space = StudySpace(searched, spec.search.seed)
        self._mode = mode
        self._also = dict(also or {})
        self._asked: dict[str, Trial] = {}
        self._directions = ["minimize" if mode == "min" else "maximize" for mode in (mode, *self._also.values())]
        self._study, note = open_study(spec, folder, self._directions)
        self.notes = [note] if note else []
        self.left_out: list[tuple[str, Mapping[str, Any]]] = []
        self._first = self._to_try_first(initial)
        self._left_running = self._trials(TrialState.RUNNING)

    @property
    def cells(self) -> int:
        """How many cells the grid has."""
        return len(self._space.cells(self._spec.configurations))

    @property
    def limit(self) -> int:
        """How many configurations the sweep has at the most."""
        if self._spec.search.algorithm == "grid":
            return min(self._spec.budget.trials, len(self._first))
        return self._spec.budget.trials

    def reconcile(self, records: Iterable[TrialRecord], metric: str, mode: str) -> list[TrialRecord]:
        """Brings the study up to what the journal knows; one that cannot be brought there is made anew.

        Args:
            records: the journal's search trials.
            metric: the objective.
            mode: "min" or "max".

        Returns:
            The trials that are begun and not ended, to be continued; a trial that the study has begun and the journal has not
            heard of is among them, without results.
        """
        known = {record.number: record for record in records}
        if self._has_lost(known):
            self.rebuild(known.values())
        unfinished = []
        for frozen in self._left_running:
            trial = self._take_up(frozen)
            record = known.get(frozen.number) or TrialRecord(
                trial_name(frozen.number), frozen.number, *self._space.configuration(trial.params)
            )
            reported = set(frozen.intermediate_values)
            for step, result in record.results.items():
                if metric in result and step not in reported:
                    self.report(record.trial, step, result[metric])
            if record.state in ENDED:
                self.tell(record.trial, record.state, self._values(record, metric, mode), record.violations)
            else:
                unfinished.append(record)
        self._left_running = []
        return unfinished

    def rebuild(self, records: Iterable[TrialRecord]) -> None:
        """Makes the study anew from the journal: for one that is lost, or whose ended trials are to go on.

        Every trial keeps its number: ended ones are what they are, with parameters, intermediate and final values and constraints; the
        others are RUNNING, for `reconcile` to hand out. A number that the journal has not heard of is drawn again.

        Args:
            records: search trials; one whose state is "running" is to be continued.
        """
        known = {record.number: record for record in records}
        before = {frozen.number: frozen for frozen in self._trials()}
        self._study = emptied(self._study, self._directions)
        self._asked = {}
        for number in range(max(known, default=-1) + 1):
            record = known.get(number)
            if record is None:
                self._begin(number)
            else:
                self._put_back(record, before.get(number))
        self._asked = {}
        self._left_running = self._trials(TrialState.RUNNING)

    def begun(self) -> int:
        """How many trials the study has given out."""
        return sum(trial.state != TrialState.WAITING for trial in self._study.get_trials(deepcopy=False))

    def ask(self) -> Assignment | None:
        """The next configuration; None when the sweep has had all of its trials."""
        number = self.begun()
        if number >= self.limit:
            return None
        trial = self._begin(number)
        return Assignment(trial_name(trial.number), trial.number, *self._space.configuration(trial.params))

    def report(self, trial: str, step: int, value: float) -> None:
        """An intermediate value of the objective. Optuna keeps none of a study with several objectives."""
        if not self._also:
            self._asked[trial].report(value, step)

    def changed(self, trial: str, change: Change) -> None:
        """A trial goes on with other knobs; its parameters stay those that it began with, and the study tells of the change beside them."""
        told = {"knobs": change.after, "donor": change.donor}
        self._asked[trial].set_user_attr(f"change after step {change.step}", told)

    def tell(self, trial: str, state: str, values: Sequence[float] | None, violations: Mapping[str, float] | None = None) -> None:
        """A trial's end.

        Args:
            trial: its name.
            state: one of `journal.ENDED`.
            values: of its best step; None where it has none. An "infeasible" trial has some only if it ran to its end.
            violations: by how much each constraint is broken; 0 or less = it is kept.
        """
        asked, told = self._asked.pop(trial), _TELL[state]
        if told == TrialState.COMPLETE and values is None:
            told = _WITHOUT_VALUES[state]
        numbers = [*(values or []), *(violations or {}).values()] if told == TrialState.COMPLETE else [*(violations or {}).values()]
        if any(math.isnan(number) for number in numbers):
            told = TrialState.FAIL
        for name, excess in (violations or {}).items():
            if told != TrialState.FAIL and name not in asked.constraints:
                asked.set_constraint(name, excess)
        self._study.tell(asked, values if told == TrialState.COMPLETE else None, told)

    def preview(self, count: int) -> Iterator[Assignment]:
        """The first assignments that the study would give, as far as they are known without results."""
        for _ in range(min(count, self.limit)):
            assignment = self.ask()
            if assignment is None:
                return
            yield assignment

    def _to_try_first(self, initial: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """The parameters of the first trials in order: of a grid all of its cells; else each model's configuration of the paper, then
        `initial`. What a study was begun with stays, whatever `initial` says later."""
        if self._spec.search.algorithm == "grid":
            self.left_out = list(initial)
            return self._space.cells(self._spec.configurations)
        first = self._space.firsts()
        kept: list[dict[str, Any]] | None = self._study.user_attrs.get(_INITIAL)
        if kept is None:
            kept = []
            for model, knobs in initial:
                params = self._space.params(model, knobs)
                if params is None:
                    self.left_out.append((model, knobs))
                elif params not in first + kept:
                    kept.append(params)
            self._study.set_user_attr(_INITIAL, kept)
        return first + kept

    def _begin(self, number: int) -> Trial:
        """Gives out the next trial; its parameters are drawn, or those of the first ones that are set."""
        if number < len(self._first) and not self._trials(TrialState.WAITING):
            self._study.enqueue_trial(self._first[number])
        self._study.sampler = self._sampler(number)
        trial = self._study.ask()
        self._space.draw(trial)
        self._asked[trial_name(trial.number)] = trial
        return trial

    def _take_up(self, frozen: FrozenTrial) -> Trial:
        """A trial of an earlier attempt; what a crash kept from being drawn is drawn now."""
        self._study.sampler = self._sampler(frozen.number)
        trial = Trial(self._study, frozen._trial_id)
        self._space.draw(trial)
        self._asked[trial_name(frozen.number)] = trial
        return trial

    def _put_back(self, record: TrialRecord, before: FrozenTrial | None) -> None:
        """Adds a trial of the journal to a study that is being made anew."""
        params = self._space.params(record.model, record.first_knobs, record.seed) or {}
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self._space.distributions_of(params),
                user_attrs=before.user_attrs if before else None,
                system_attrs=_without_constraints(before.system_attrs) if before else None,
                intermediate_values={} if self._also else self._intermediate(record),
            )
        )
        frozen = self._study.get_trials(deepcopy=False)[-1]
        if record.number >= len(self._first):  # a configuration that was set is drawn by no sampler
            take_in(self._sampler(record.number), self._study, frozen)
        self._asked[record.trial] = self._light(frozen)
        for change in record.changes:
            self.changed(record.trial, change)
        if record.state in ENDED:
            metric = self._spec.objective.metric
            self.tell(record.trial, record.state, self._values(record, metric, self._mode), record.violations)

    def _light(self, frozen: FrozenTrial) -> Trial:
        """A trial that is told of and draws nothing."""
        self._study.sampler = RandomSampler(seed=0)
        return Trial(self._study, frozen._trial_id)

    def _intermediate(self, record: TrialRecord) -> dict[int, float]:
        metric = self._spec.objective.metric
        return {step: result[metric] for step, result in sorted(record.results.items()) if metric in result}

    def _values(self, record: TrialRecord, metric: str, mode: str) -> list[float] | None:
        """An ended trial's values; None for one that broke a constraint before its end."""
        epoch = record.results[max(record.results)].get("epoch", math.inf) if record.results else 0.0
        if record.state == "infeasible" and epoch < self._spec.budget.epochs - 1e-9:
            return None
        return record.best_values(metric, mode, self._also)

    def _has_lost(self, known: Mapping[int, TrialRecord]) -> bool:
        """Whether the study misses a trial of the journal, or has ended one that is to go on."""
        here = {frozen.number: frozen.state for frozen in self._trials()}
        return any(
            number not in here or here[number] == TrialState.WAITING or (here[number].is_finished() and record.state not in ENDED)
            for number, record in known.items()
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of one trial."""
        seed, budget = self._spec.search.seed, self._spec.budget
        draw = Draw(trial_seed(seed, number), seed, budget.trials, self._space.conditional, self._space.all_distributions)
        return sampler(self._spec.search.algorithm, draw)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return list(self._study.get_trials(deepcopy=False, states=states or None))


def trial_name(number: int) -> str:
    """Name of a search trial within its sweep."""
    return f"search-{number:04d}"


def _without_constraints(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's system attributes without its constraints, which are told anew."""
    return {key: value for key, value in attributes.items() if not key.startswith("constraints")}
