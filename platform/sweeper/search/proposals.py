"""Which configuration comes next: an Optuna study, asked and told.

`Proposals` owns the study in the sweep's folder: a trial that the scheduler stopped is told as PRUNED with its intermediate values, a
failed or diverged one as FAIL, a finished one as COMPLETE.

Source: Optuna 5 (grid by enqueued trials, RandomSampler, TPESampler).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from sweeper.journal import ENDED, TrialRecord
from sweeper.search.assignment import Assignment
from sweeper.search.study_space import StudySpace
from sweeper.space import KnobSearch
from sweeper.spec import Spec

_TELL = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "collapsed": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
LEAST_POPULATION = 4


class Proposals:
    """The study of one sweep.

    Thread safety: for the driver's loop alone. Ownership: the file `study.db` in the sweep's folder; Optuna's own tools open it.
    """

    def __init__(
        self,
        spec: Spec,
        searched: Mapping[str, Mapping[str, KnobSearch]],
        mode: str,
        folder: Path,
        also: Mapping[str, str] | None = None,
        initial: Any = (),
    ) -> None:
        """Opens the study, making it where it is not there yet.

        Args:
            spec: the sweep.
            searched: how each knob of each model is searched.
            mode: "min" or "max".
            folder: the sweep's.
            also: further objectives with their modes.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._spec = spec
        self._space = StudySpace(searched, spec.search.seed)
        self._also = dict(also or {})
        self._asked: dict[str, Trial] = {}
        self.left_out: list[Any] = []
        self._initial = initial
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
        directions = ["minimize" if mode == "min" else "maximize" for mode in (mode, *self._also.values())]
        self._study = optuna.create_study(storage=storage, study_name=spec.name, directions=directions, load_if_exists=True)
        begun = self._study.get_trials(deepcopy=False)
        self._study.sampler = _sampler(spec, len(begun))
        if not begun:
            self._enqueue()
        self._left_running = [trial for trial in begun if trial.state == TrialState.RUNNING]

    @property
    def cells(self) -> int:
        """How many cells the grid has."""
        return len(self._space.cells(self._spec.configurations))

    @property
    def limit(self) -> int:
        """How many configurations the sweep has at the most."""
        if self._spec.search.algorithm == "grid":
            return min(self._spec.budget.trials, self.cells)
        return self._spec.budget.trials

    def reconcile(self, records: Iterable[TrialRecord], metric: str, mode: str) -> list[TrialRecord]:
        """Brings the study up to what the journal knows.

        Args:
            records: the journal's search trials.
            metric: the objective.
            mode: "min" or "max".

        Returns:
            The trials that are begun and not ended, to be continued; a trial that the study has begun and the journal has not
            heard of is among them, without results.
        """
        known = {record.number: record for record in records}
        unfinished = []
        for frozen in self._left_running:
            record = known.get(frozen.number) or TrialRecord(
                trial_name(frozen.number), frozen.number, *self._space.configuration(frozen.params)
            )
            self._asked[record.trial] = Trial(self._study, frozen._trial_id)
            reported = set(frozen.intermediate_values)
            for step, result in record.results.items():
                if metric in result and step not in reported:
                    self.report(record.trial, step, result[metric])
            if record.state in ENDED:
                self.tell(record.trial, record.state, record.best_values(metric, mode, self._also))
            else:
                unfinished.append(record)
        self._left_running = []
        return unfinished

    def begun(self) -> int:
        """How many trials the study has given out."""
        return sum(trial.state != TrialState.WAITING for trial in self._study.get_trials(deepcopy=False))

    def ask(self) -> Assignment | None:
        """The next configuration; None when the sweep has had all of its trials."""
        if self.begun() >= self.limit:
            return None
        trial = self._study.ask()
        self._space.draw(trial)
        name = trial_name(trial.number)
        self._asked[name] = trial
        return Assignment(name, trial.number, *self._space.configuration(trial.params))

    def report(self, trial: str, step: int, value: float) -> None:
        """An intermediate value of the objective. Optuna keeps none of a study with several objectives."""
        if not self._also:
            self._asked[trial].report(value, step)

    def tell(self, trial: str, state: str, values: Sequence[float] | None, violations: Any = None) -> None:
        """A trial's end: a state of `journal.ENDED`, with the values of its best step."""
        told = state if state != "complete" or values is not None else "failed"
        self._study.tell(self._asked.pop(trial), values if told == "complete" else None, _TELL[told])

    def preview(self, count: int) -> Iterator[Assignment]:
        """The first assignments that the study would give, as far as they are known without results."""
        for _ in range(min(count, self.limit)):
            assignment = self.ask()
            if assignment is None:
                return
            yield assignment

    def _enqueue(self) -> None:
        """Each model's configuration of the paper first; for a grid all of its cells."""
        grid = self._spec.search.algorithm == "grid"
        for params in self._space.cells(self._spec.configurations)[: self.limit] if grid else self._space.firsts():
            self._study.enqueue_trial(params)


def trial_name(number: int) -> str:
    """Name of a search trial within its sweep."""
    return f"search-{number:04d}"


def _sampler(spec: Spec, begun: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler, seeded by the spec and by how far the study is: a resumed study does not draw the same values again."""
    seed = spec.search.seed + 1_000_003 * begun
    if spec.search.algorithm == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if spec.search.algorithm == "nsga2":
        population = min(50, max(LEAST_POPULATION, spec.budget.trials // 5))
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    return optuna.samplers.RandomSampler(seed=seed)
