"""The samplers behind the names of `sweeper.capabilities.ALGORITHMS`: a literal table of Optuna's own, and BOHB.

A sampler is made for one trial and seeded by the sweep's seed and that trial's number, so that a sweep that was interrupted draws what it
would have drawn. What a sampler must remember lies in the study.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeper.search.bohb import BohbSampler

LEAST_POPULATION, GREATEST_POPULATION = 4, 50


@dataclass(frozen=True)
class Draw:
    """What a sampler is made for.

    Attributes:
        seed: of this one trial.
        sweep_seed: of the whole sweep.
        trials: the sweep's budget.
        conditional: whether which parameters a trial has depends on the model that is drawn.
        space: the parameters of every trial; empty where they do depend on it.
    """

    seed: int
    sweep_seed: int
    trials: int
    conditional: bool
    space: Mapping[str, BaseDistribution]

    @property
    def population(self) -> int:
        """Trials a generation."""
        return min(GREATEST_POPULATION, max(LEAST_POPULATION, self.trials // 5))


class SobolSampler(QMCSampler):  # type: ignore[misc]
    """Optuna's quasi-random sampler over a space that is known from the start, where Optuna's own takes it from an earlier trial."""

    def __init__(self, draw: Draw) -> None:
        """The sequence's scrambling comes from the sweep's seed; the study counts the points taken."""
        super().__init__(
            qmc_type="sobol",
            scramble=True,
            seed=draw.sweep_seed,
            independent_sampler=RandomSampler(seed=draw.seed),
            warn_independent_sampling=False,
        )
        self._whole_space = dict(draw.space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of the sweep's parameters."""
        return {name: distribution for name, distribution in self._whole_space.items() if not distribution.single()}


SAMPLERS: Mapping[str, Callable[[Draw], BaseSampler]] = {
    "grid": lambda draw: RandomSampler(seed=draw.seed),  # every cell is enqueued: nothing is left to draw
    "random": lambda draw: RandomSampler(seed=draw.seed),
    "sobol": SobolSampler,
    "tpe": lambda draw: TPESampler(seed=draw.seed, multivariate=True if draw.conditional else None, group=draw.conditional),
    "gp": lambda draw: GPSampler(seed=draw.seed, warn_independent_sampling=False),
    "cmaes": lambda draw: CmaEsSampler(seed=draw.seed, warn_independent_sampling=False),
    "nsga2": lambda draw: NSGAIISampler(seed=draw.seed, population_size=draw.population),
    "nsga3": lambda draw: NSGAIIISampler(seed=draw.seed, population_size=draw.population),
    "bohb": lambda draw: BohbSampler(draw.seed, draw.space),
}


def sampler(algorithm: str, draw: Draw) -> BaseSampler:
    """The sampler of one trial.

    Args:
        algorithm: a key of `SAMPLERS`.
        draw: what it is made for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[algorithm](draw)


def trial_seed(sweep_seed: int, number: int) -> int:
    """The seed of a trial's own draws."""
    return int(np.random.SeedSequence([sweep_seed, number]).generate_state(1)[0])


def take_in(made: BaseSampler, study: Study, trial: FrozenTrial) -> None:
    """Lets a sampler note in the study what it notes when it draws a trial: which generation it belongs to, which point was taken.

    Args:
        made: the sampler.
        study: a study that is being rebuilt.
        trial: one of its trials, not ended yet.
    """
    if isinstance(made, BaseGASampler):
        made.get_trial_generation(study, trial)
    elif isinstance(made, SobolSampler):
        made.sample_relative(study, trial, made.infer_relative_search_space(study, trial))
