"""A search whose every proposal is one of a list of recorded configurations, each given once: the engine's samplers without training.

The sampler draws as in a sweep; what it draws is moved to the nearest recorded configuration that was not given out yet, and that is what
the study holds. "random" and "grid" have no model of what is good: they go through the list in a random order and in its own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from sweeper.search.algorithms import Draw, sampler, trial_seed
from sweeper.search.schedulers import TIME_ATTRIBUTE, scheduler
from sweeper.search.study_space import StudySpace
from sweeper.space import KnobSearch
from sweeper.spec import Spec

ORDERS = ("grid", "random")
STOP = "STOP"
Nearest = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]
_TOLD = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "collapsed": TrialState.PRUNED, "diverged": TrialState.FAIL}


class RecordedSearch:
    """Gives out recorded configurations by their place in the list.

    Thread safety: none. Ownership: a study in memory.
    """

    def __init__(self, spec: Spec, searched: Mapping[str, KnobSearch], configurations: Sequence[Mapping[str, Any]], mode: str) -> None:
        """Begins a search.

        Args:
            spec: algorithm, seed and number of trials.
            searched: how each knob is searched; holds every configuration.
            configurations: what was recorded.
            mode: "min" or "max".
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._spec = spec
        self._space = StudySpace({spec.models[0]: searched}, spec.search.seed)
        self._distributions = self._space.all_distributions
        self._configurations = [{name: each[name] for name in self._distributions} for each in configurations]
        self._places = np.array([_place(self._distributions, each) for each in self._configurations])
        self._left = list(range(len(configurations)))
        if spec.search.algorithm == "random":
            self._left = [int(index) for index in np.random.default_rng(spec.search.seed).permutation(len(configurations))]
        self._study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
        self._asked: dict[int, Trial] = {}
        self._begun = 0

    def ask(self) -> int | None:
        """The place of the next configuration; None when all were given out."""
        if not self._left:
            return None
        if self._spec.search.algorithm in ORDERS:
            return self._left.pop(0)
        seed, number = self._spec.search.seed, self._begun
        draw = Draw(trial_seed(seed, number), seed, len(self._configurations), self._space.conditional, self._distributions)
        moved = _MovedSampler(sampler(self._spec.search.algorithm, draw), self._distributions, self._nearest)
        self._study.sampler = moved
        trial = self._study.ask()
        self._space.draw(trial)
        self._begun += 1
        self._left.remove(moved.index)
        self._asked[moved.index] = trial
        return moved.index

    def report(self, index: int, step: int, value: float) -> None:
        """A configuration has finished a step."""
        if index in self._asked:
            self._asked[index].report(value, step)

    def tell(self, index: int, state: str, best: float | None) -> None:
        """A configuration's end.

        Args:
            index: its place.
            state: "complete", "stopped", "collapsed" or "diverged".
            best: its best value; None where it has none.
        """
        if index in self._asked:
            told = TrialState.FAIL if best is None else _TOLD[state]
            self._study.tell(self._asked.pop(index), best if told == TrialState.COMPLETE else None, told)

    def _nearest(self, params: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Place and parameters of the nearest configuration that is left; the first of equally near ones."""
        distances = ((self._places[self._left] - _place(self._distributions, params)) ** 2).sum(axis=1)
        index = self._left[int(distances.argmin())]
        return index, self._configurations[index]


class Rungs:
    """The engine's scheduler as the simulator asks it."""

    def __init__(self, spec: Spec, mode: str, steps: int) -> None:
        """Makes the scheduler that a sweep of this spec would have; see `sweeper.search.scheduler`."""
        self._scheduler = scheduler(spec, mode, steps)
        self._metric = spec.objective.metric

    def begin(self, trial: str) -> None:
        """A trial begins."""
        self._scheduler.on_trial_add(None, _Trial(trial))

    def stops(self, trial: str, step: int, value: float) -> bool:
        """Whether a trial is stopped after a step that is not its last."""
        return bool(self._scheduler.on_trial_result(None, _Trial(trial), self._result(step, value)) == STOP)

    def end(self, trial: str, step: int, value: float) -> None:
        """A trial has ended by itself."""
        self._scheduler.on_trial_complete(None, _Trial(trial), self._result(step, value))

    def _result(self, step: int, value: float) -> dict[str, Any]:
        return {TIME_ATTRIBUTE: step} | ({self._metric: value} if math.isfinite(value) else {})


class _Trial:
    """What the engine's schedulers look at of Ray's trial: the name in its configuration."""

    def __init__(self, name: str) -> None:
        self.config = {"trial": name}


class _MovedSampler(BaseSampler):  # type: ignore[misc]
    """Draws a whole configuration with another sampler and moves it to a recorded one.

    Attributes:
        index: the place of what was drawn last.
    """

    index: int

    def __init__(self, inner: BaseSampler, space: Mapping[str, BaseDistribution], nearest: Nearest) -> None:
        self._inner = inner
        self._space = dict(space)
        self._nearest = nearest

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters, since they are moved together."""
        return self._space

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The inner sampler's draw, moved."""
        drawn = dict(self._inner.sample_relative(study, trial, self._inner.infer_relative_search_space(study, trial)))
        for name, distribution in search_space.items():
            if name not in drawn:
                drawn[name] = self._inner.sample_independent(study, trial, name, distribution)
        self.index, params = self._nearest(drawn)
        return dict(params)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Never asked for, since every parameter is drawn with the others."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._inner.after_trial(study, trial, state, values)


def _place(distributions: Mapping[str, BaseDistribution], params: Mapping[str, Any]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Where a configuration lies: a range's number by its position in [0, 1], a list's value by an axis of its own; two unequal values of a
    list are as far apart as a range's ends."""
    axes: list[float] = []
    for name, distribution in distributions.items():
        choices = getattr(distribution, "choices", None)
        if choices is not None:
            axes.extend(math.sqrt(0.5) * (params[name] == choice) for choice in choices)
            continue
        scale = math.log if distribution.log else float
        low, high = scale(distribution.low), scale(distribution.high)
        axes.append((scale(params[name]) - low) / (high - low))
    return np.array(axes, dtype=np.float64)
