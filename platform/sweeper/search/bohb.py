"""BOHB: kernel density estimators of the good and of the bad configurations, for the greatest budget of which enough results are known.

Every value that a trial has reported is a result whose budget is its step, whether the trial went on, was stopped or waits at a rung; a
trial that failed is a crash in the step after its last one. Which trial goes on to more steps is the scheduler's business.

Source: Falkner, Klein and Hutter 2018, "BOHB", section 4; the estimators are hpbandster 0.7.4's own, with its usual settings.
Deviations: every step is a budget, where the paper has the rungs alone; with the scheduler asha nobody waits at a rung, so that a model
of a late one hears little of what it proposed itself.
"""

import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

Result = tuple[Mapping[str, Any], float | None]

_LOG = logging.getLogger(__name__)  # hpbandster's remarks on single draws: for who attaches a handler, not for the screen
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


class BohbSampler(BaseSampler):  # type: ignore[misc]
    """Draws one trial from what the study holds; remembers nothing."""

    def __init__(self, seed: int, space: Mapping[str, BaseDistribution]) -> None:
        """Takes what is searched.

        Args:
            seed: of this one trial.
            space: every trial's parameters; a range or a list of a single value needs no drawing.
        """
        # two seeds: with one for both, the choice between prior and model and the prior's first number would be the same number
        self._prior_seed, self._model_seed = (int(seed) for seed in np.random.SeedSequence(seed).generate_state(2))
        self._space = {name: distribution for name, distribution in space.items() if not distribution.single()}
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of the sweep's parameters."""
        return dict(self._space)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The next configuration."""
        if not search_space:
            return {}
        sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        results = results_by_budget(study.get_trials(deepcopy=False), search_space, sign)
        with warnings.catch_warnings(), _global_draws(self._model_seed):
            warnings.simplefilter("ignore")  # of divisions by zero in densities of one point, and of interfaces that will change
            positions = _drawn(search_space, results, self._prior_seed)
        return {name: value_at(distribution, positions[name]) for name, distribution in search_space.items()}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A parameter by itself, at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def results_by_budget(trials: Iterable[FrozenTrial], names: Iterable[str], sign: float) -> dict[int, list[Result]]:
    """What is known of every budget, in the order of the trials' numbers.

    Args:
        trials: a study's; one that has not drawn all parameters counts for nothing.
        names: the parameters.
        sign: 1 where the least value wins, -1 where the greatest does.

    Returns:
        Step -> parameters and loss of each trial that came so far; None for a crash.
    """
    wanted, found = set(names), defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.number):
        if not wanted <= set(trial.params):
            continue
        own = {name: trial.params[name] for name in wanted}
        values = {step: value for step, value in trial.intermediate_values.items() if math.isfinite(value)}
        for step, value in sorted(values.items()):
            found[step].append((own, sign * value))
        if trial.state == TrialState.FAIL:
            found[max(values, default=0) + 1].append((own, None))
    return dict(found)


def _drawn(space: Mapping[str, BaseDistribution], results: Mapping[int, Sequence[Result]], prior_seed: int) -> Mapping[str, Any]:
    """Positions of the next configuration; draws from numpy's global state.

    The greatest budgets are told first, up to the first with a model: hpbandster draws from the greatest that has one.
    """
    from ConfigSpace import ConfigurationSpace
    from hpbandster.core.dispatcher import Job
    from hpbandster.optimizers.config_generators.bohb import BOHB

    configurations = ConfigurationSpace(seed=prior_seed)
    configurations.add([hyperparameter(name, distribution) for name, distribution in space.items()])
    generator = BOHB(configurations, logger=_LOG)
    for budget in sorted(results, reverse=True):
        told = results[budget]
        for number, (params, loss) in enumerate(told):
            positions = {name: position_of(distribution, params[name]) for name, distribution in space.items()}
            job = Job((number, 0, 0), config=positions, budget=budget)
            job.result = None if loss is None else {"loss": loss}
            generator.new_result(job, update_model=number == len(told) - 1)
        if generator.kde_models:
            break
    drawn, _ = generator.get_config(max(results, default=0))
    return dict(drawn)


def hyperparameter(name: str, distribution: BaseDistribution) -> Any:
    """A parameter as ConfigSpace has it: a float by its position in [0, 1], since ConfigSpace rounds floats; of a list the places."""
    from ConfigSpace import CategoricalHyperparameter, UniformFloatHyperparameter, UniformIntegerHyperparameter

    if isinstance(distribution, CategoricalDistribution):
        return CategoricalHyperparameter(name, range(len(distribution.choices)))
    if isinstance(distribution, IntDistribution):
        return UniformIntegerHyperparameter(name, distribution.low, distribution.high, log=distribution.log)
    return UniformFloatHyperparameter(name, 0.0, 1.0)


def position_of(distribution: BaseDistribution, value: Any) -> int | float:
    """Where a value lies in its hyperparameter."""
    if isinstance(distribution, FloatDistribution):
        low, high, at = (_scaled(distribution, number) for number in (distribution.low, distribution.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)
    return int(distribution.to_internal_repr(value))


def value_at(distribution: BaseDistribution, position: Any) -> Any:
    """The value at a position, as plain Python has it."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(position)]
    if isinstance(distribution, IntDistribution):
        return int(position)
    low, high = _scaled(distribution, distribution.low), _scaled(distribution, distribution.high)
    at = low + float(position) * (high - low)
    return min(max(math.exp(at) if distribution.log else at, distribution.low), distribution.high)


def _scaled(distribution: FloatDistribution, value: float) -> float:
    return math.log(value) if distribution.log else float(value)


@contextmanager
def _global_draws(seed: int) -> Iterator[None]:
    """Seeds numpy's global state, from which hpbandster and scipy draw, for the length of a `with`; then it is what it was."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
