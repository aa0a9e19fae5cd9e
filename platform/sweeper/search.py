"""Which configuration comes next (Optuna) and which trial goes on (Ray Tune), behind one seam.

`Proposals` owns an Optuna study in the sweep's folder and speaks ask-and-tell with it: a trial that the scheduler stopped is told as
PRUNED with its intermediate values, a failed or diverged one as FAIL, a finished one as COMPLETE. `scheduler` builds Ray's scheduler
and, on a resumed sweep, replays what the journal holds, so that its rungs stand as they stood.

Source: Optuna 5 (grid by enqueued trials, RandomSampler, TPESampler); ASHA of Ray Tune (Li et al. 2020).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from sweeper.journal import ENDED, TrialRecord
from sweeper.space import SEED, KnobSearch, first_configuration, grid
from sweeper.spec import Spec

TIME_ATTRIBUTE = "step"
_TELL = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "collapsed": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
LEAST_POPULATION = 4


@dataclass(frozen=True)
class Assignment:
    """One training run to be done.

    Attributes:
        trial: its name within the sweep.
        number: its place in the search, or the final's index.
        knobs: the full configuration.
        seed: its seed.
        resume_from: folders of its checkpoints, the newest first; empty = from the start.
    """

    trial: str
    number: int
    knobs: dict[str, Any]
    seed: int
    resume_from: list[str] = field(default_factory=list)


class Proposals:
    """The study of one sweep.

    Thread safety: for the driver's loop alone. Ownership: the file `study.db` in the sweep's folder; Optuna's own tools open it.
    """

    def __init__(
        self, spec: Spec, searched: Mapping[str, KnobSearch], mode: str, folder: Path, also: Mapping[str, str] | None = None
    ) -> None:
        """Opens the study, making it where it is not there yet.

        Args:
            spec: the sweep.
            searched: how each knob is searched.
            mode: "min" or "max".
            folder: the sweep's.
            also: further objectives with their modes.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._spec = spec
        self._searched = searched
        self._also = dict(also or {})
        self._distributions = {name: _distribution(knob) for name, knob in searched.items() if not knob.fixed}
        self._asked: dict[str, Trial] = {}
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
        directions = ["minimize" if mode == "min" else "maximize" for mode in (mode, *self._also.values())]
        self._study = optuna.create_study(storage=storage, study_name=spec.name, directions=directions, load_if_exists=True)
        begun = self._study.get_trials(deepcopy=False)
        self._study.sampler = _sampler(spec, len(begun))
        if not begun:
            self._enqueue()
        self._left_running = [trial for trial in begun if trial.state == TrialState.RUNNING]

    @property
    def limit(self) -> int:
        """How many configurations the sweep has at the most."""
        if self._spec.search.algorithm == "grid":
            return min(self._spec.budget.trials, len(grid(self._searched, self._spec.configurations)))
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
            record = known.get(frozen.number) or TrialRecord(trial_name(frozen.number), frozen.number, *self._full(frozen.params))
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
        trial = self._study.ask(self._distributions)
        name = trial_name(trial.number)
        self._asked[name] = trial
        return Assignment(name, trial.number, *self._full(trial.params))

    def report(self, trial: str, step: int, value: float) -> None:
        """An intermediate value of the objective. Optuna keeps none of a study with several objectives."""
        if not self._also:
            self._asked[trial].report(value, step)

    def tell(self, trial: str, state: str, values: Sequence[float] | None) -> None:
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

    def _full(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Searched values among the fixed ones, and the seed: the same for all trials, unless the spec searches over seeds."""
        knobs = first_configuration(self._searched) | dict(params)
        return knobs, knobs.pop(SEED, self._spec.search.seed)

    def _enqueue(self) -> None:
        """The paper's configuration first; for a grid all of its cells."""
        searched = {name: self._searched[name] for name in self._distributions}
        if self._spec.search.algorithm != "grid":
            self._study.enqueue_trial(first_configuration(searched))
            return
        for cell in grid(self._searched, self._spec.configurations)[: self.limit]:
            self._study.enqueue_trial({name: cell[name] for name in searched})


def trial_name(number: int) -> str:
    """Name of a search trial within its sweep."""
    return f"search-{number:04d}"


def _distribution(knob: KnobSearch) -> BaseDistribution:
    if knob.values:
        return CategoricalDistribution(list(knob.values))
    if knob.whole:
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return FloatDistribution(knob.low, knob.high, log=knob.log)


def _sampler(spec: Spec, begun: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler, seeded by the spec and by how far the study is: a resumed study does not draw the same values again."""
    seed = spec.search.seed + 1_000_003 * begun
    if spec.search.algorithm == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if spec.search.algorithm == "nsga2":
        population = min(50, max(LEAST_POPULATION, spec.budget.trials // 5))
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    return optuna.samplers.RandomSampler(seed=seed)


class _NamedTrial:
    """What ASHA looks at of a trial: an identity that a restart does not change."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


class NamedAsha(AsyncHyperBandScheduler):  # type: ignore[misc]
    """Ray's ASHA, keyed by the trial's name in the sweep instead of Ray's random id, so that its rungs can be replayed."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(super().on_trial_result(tune_controller, _named(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _named(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _named(trial))

    def replay(self, record: TrialRecord) -> None:
        """Takes in the results of an earlier attempt."""
        trial = _NamedTrial(record.trial)
        self.on_trial_add(None, trial)
        for step, metrics in sorted(record.results.items()):
            super().on_trial_result(None, trial, metrics | {TIME_ATTRIBUTE: step})


def _named(trial: Any) -> _NamedTrial:
    return trial if isinstance(trial, _NamedTrial) else _NamedTrial(trial.config["trial"])


def scheduler(spec: Spec, mode: str, steps: int, records: Iterable[TrialRecord] = ()) -> TrialScheduler:
    """Ray's scheduler for a sweep.

    Args:
        spec: the sweep.
        mode: "min" or "max".
        steps: greatest number of steps a trial.
        records: search trials of earlier attempts, replayed.
    """
    if spec.scheduler.kind == "none":
        return FIFOScheduler()
    asha = NamedAsha(
        time_attr=TIME_ATTRIBUTE,
        metric=spec.objective.metric,
        mode=mode,
        max_t=steps,
        grace_period=min(spec.scheduler.grace_steps, steps),
        reduction_factor=spec.scheduler.reduction,
    )
    for record in records:
        asha.replay(record)
    return asha
