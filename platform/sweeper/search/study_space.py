"""Between Optuna's parameters and configurations: what is searched of one model, or of several with knobs of their own.

One model's parameters have the knobs' names. With several, "model" is a parameter too, and a knob is called "MODEL.KNOB", so that equal
names of two models stay apart; the knobs of the models that were not drawn are not parameters of the trial.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from sweeper.space import KnobSearch, first_configuration, grid
from sweeper.spec import MODEL, SEED

Configuration = tuple[str, dict[str, Any], int]


class StudySpace:
    """The searched knobs of a sweep.

    Attributes:
        conditional: whether which parameters there are depends on another one's value.
    """

    def __init__(self, searched: Mapping[str, Mapping[str, KnobSearch]], seed: int) -> None:
        """Takes what is searched.

        Args:
            searched: how each knob of each model is searched; a seed may stand among them, the same one for all models.
            seed: of every trial, where no seed is searched.
        """
        self._searched = searched
        self._seed = seed
        self.conditional = len(searched) > 1

    def draw(self, trial: Trial) -> None:
        """Asks Optuna for the value of everything that is searched."""
        model = next(iter(self._searched))
        if self.conditional:
            model = trial.suggest_categorical(MODEL, list(self._searched))
        for name, distribution in self.distributions(model).items():
            trial._suggest(name, distribution)

    def distributions(self, model: str) -> dict[str, BaseDistribution]:
        """Optuna's distributions of a model's searched knobs, by parameter."""
        return {self.parameter(model, knob): _distribution(search) for knob, search in self._searched[model].items() if not search.fixed}

    @property
    def all_distributions(self) -> dict[str, BaseDistribution]:
        """The distributions of every trial's parameters; empty where they depend on the model that is drawn."""
        return {} if self.conditional else self.distributions(next(iter(self._searched)))

    def distributions_of(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Optuna's distributions of a trial's parameters."""
        models: dict[str, BaseDistribution] = {MODEL: CategoricalDistribution(list(self._searched))} if self.conditional else {}
        every = models | {name: each for model in self._searched for name, each in self.distributions(model).items()}
        return {name: every[name] for name in params}

    def parameter(self, model: str, knob: str) -> str:
        """What a knob is called in the study."""
        return f"{model}.{knob}" if self.conditional and knob != SEED else knob

    def configuration(self, params: Mapping[str, Any]) -> Configuration:
        """Model, full configuration and seed of a trial's parameters."""
        model = str(params.get(MODEL, next(iter(self._searched)))) if self.conditional else next(iter(self._searched))
        knobs = first_configuration(self._searched[model])
        knobs |= {knob: params[self.parameter(model, knob)] for knob in knobs if self.parameter(model, knob) in params}
        return model, knobs, int(knobs.pop(SEED, self._seed))

    def params(self, model: str, knobs: Mapping[str, Any], seed: int | None = None) -> dict[str, Any] | None:
        """The parameters of a configuration; None where the space does not hold it.

        Args:
            model: one of the sweep's.
            knobs: some or all of its knobs; one that is not named has its usual value.
            seed: None = the usual one.
        """
        own = self._searched.get(model)
        if own is None:
            return None
        wanted = first_configuration(own) | dict(knobs) | ({SEED: seed} if seed is not None and SEED in own else {})
        found: dict[str, Any] = {MODEL: model} if self.conditional else {}
        for knob, value in wanted.items():
            if knob not in own or not own[knob].holds(value):
                return None
            if not own[knob].fixed:
                found[self.parameter(model, knob)] = value
        return found

    def firsts(self) -> list[dict[str, Any]]:
        """The parameters of each model's first configuration."""
        return [params for model, own in self._searched.items() if (params := self.params(model, first_configuration(own))) is not None]

    def cells(self, configurations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The parameters of every cell of the grid, a model's after the other's; see `sweeper.space.grid`."""
        return list(self._cells(configurations))

    def _cells(self, configurations: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for model, own in self._searched.items():
            for cell in grid(own, configurations):
                named = {self.parameter(model, knob): cell[knob] for knob, search in own.items() if not search.fixed}
                yield ({MODEL: model} if self.conditional else {}) | named


def _distribution(knob: KnobSearch) -> BaseDistribution:
    if knob.values:
        return CategoricalDistribution(list(knob.values))
    if knob.whole:
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return FloatDistribution(knob.low, knob.high, log=knob.log)
