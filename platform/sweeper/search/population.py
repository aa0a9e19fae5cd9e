"""Populations whose worst trials go on from the best ones' checkpoints with other knobs: Ray's PBT, and what it shares with PB2.

A trial keeps its name, its place, its model and its seed; its weights and its knobs come from the donor. All trials wait for each other at
every change, so that the steps of one trial stay in order however few run at once. What is drawn at a change comes from the sweep's seed
and the step, not from the process's random state.

Source: Ray Tune 2.60; Jaderberg et al. 2017.
Deviations: a changed knob stays within what is searched, where Ray's PBT may leave it.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray.tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining

from sweeper.journal import ENDED, TrialRecord
from sweeper.space import KnobSearch
from sweeper.spec import SEED

OnChange = Callable[[str, int, dict[str, Any], str, str], None]
_CHANGES = 1  # keeps what is drawn at a change apart from what the study draws of the same seed


def changing_knobs(searched: Mapping[str, KnobSearch]) -> dict[str, KnobSearch]:
    """The knobs that a population changes: all that are searched."""
    return {name: knob for name, knob in searched.items() if not knob.fixed and name != SEED}


class _Controller:
    """Ray's controller as a population sees it.

    A failed trial is gone: Ray counts it among the living, for whom the others would wait for ever. And there is no searcher: Ray refuses
    one, since it would draw the first population; ours is drawn by the study.
    """

    search_alg = None

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def get_trials(self) -> list[Any]:
        """All trials."""
        return list(self._inner.get_trials())

    def get_live_trials(self) -> list[Any]:
        """The trials that are neither ended nor failed."""
        return [trial for trial in self._inner.get_trials() if not trial.is_finished()]

    def pause_trial(self, trial: Any, should_checkpoint: bool = True) -> None:
        """Takes a trial's place from it."""
        self._inner.pause_trial(trial, should_checkpoint=should_checkpoint)

    def _schedule_trial_save(self, trial: Any, result: dict[str, Any] | None = None) -> Any:
        return self._inner._schedule_trial_save(trial, result=result)


class Population(PopulationBasedTraining):  # type: ignore[misc]
    """What PBT and PB2 share; see the module.

    Attributes:
        on_change: is told of every change: trial, step, its new knobs, the donor, the donor's checkpoint.
        perturb_steps: steps between two changes.
    """

    _knobs: Mapping[str, KnobSearch]
    _seed: int
    on_change: OnChange | None
    perturb_steps: int

    def begin(self, knobs: Mapping[str, KnobSearch], seed: int, perturb_steps: int, records: list[TrialRecord]) -> None:
        """Takes up where an earlier attempt stood: the next change comes at the first multiple that no trial has passed."""
        self._knobs, self._seed, self.perturb_steps, self.on_change = knobs, seed, perturb_steps, None
        furthest = max((max(record.results, default=0) for record in records if record.state not in ENDED), default=0)
        self._next_perturbation_sync = (furthest // perturb_steps + 1) * perturb_steps

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(_Controller(tune_controller), trial)
        self._trial_state[trial].last_perturbation_time = self._next_perturbation_sync - self.perturb_steps

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        with _drawn_from(self._seed, int(result[self._time_attr]), _CHANGES):
            return str(super().on_trial_result(_Controller(tune_controller), trial, result))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Where the last trial that the others wait for has ended, they would wait for ever: the change is made without it."""
        chosen = super().choose_trial_to_run(tune_controller)
        live = _Controller(tune_controller).get_live_trials()
        waiting = [trial for trial in live if trial.status == Trial.PAUSED and self._trial_state[trial].last_result is not None]
        if chosen is None and waiting and len(waiting) == len(live):
            self.on_trial_result(tune_controller, waiting[0], self._trial_state[waiting[0]].last_result)
            chosen = super().choose_trial_to_run(tune_controller)
        return chosen

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The donor's configuration, changed; what makes a trial this trial stays its own."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        config = {**trial.config, "knobs": {name: self._within(name, value) for name, value in config["knobs"].items()}}
        donor = self._trial_state[trial_to_clone]
        if self.on_change is not None:
            checkpoint = "/".join(Path(donor.last_checkpoint.path).parts[-3:])
            step = int(donor.last_result[self._time_attr])
            self.on_change(config["trial"], step, config["knobs"], trial_to_clone.config["trial"], checkpoint)
        return config, operations

    def _within(self, name: str, value: Any) -> Any:
        """The nearest value that is searched."""
        knob = self._knobs.get(name)
        if knob is None or knob.values:
            return value
        kept = min(max(value, knob.low), knob.high)
        return round(kept) if knob.whole else float(kept)


class NamedPbt(Population):
    """Ray's PBT."""

    def __init__(
        self, knobs: Mapping[str, KnobSearch], seed: int, perturb_steps: int, records: list[TrialRecord], common: Mapping[str, str]
    ) -> None:
        """Makes the population's scheduler.

        Args:
            knobs: how each knob that changes is searched.
            seed: what is drawn at a change comes from it.
            perturb_steps: steps between two changes.
            records: search trials of earlier attempts.
            common: Ray's settings of every scheduler.
        """
        mutations = {"knobs": {name: _domain(knob) for name, knob in knobs.items()}}
        super().__init__(perturbation_interval=perturb_steps, hyperparam_mutations=mutations, synch=True, log_config=False, **common)
        self.begin(knobs, seed, perturb_steps, records)


def _domain(knob: KnobSearch) -> Any:
    """Where Ray draws a changed knob from."""
    if knob.values:
        return sorted(knob.values)
    if knob.whole:
        return (ray.tune.lograndint if knob.log else ray.tune.randint)(int(knob.low), int(knob.high) + 1)
    return (ray.tune.loguniform if knob.log else ray.tune.uniform)(knob.low, knob.high)


@contextmanager
def _drawn_from(*parts: int) -> Iterator[None]:
    """The random states that Ray draws from are seeded for the length of a `with`, and left as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
