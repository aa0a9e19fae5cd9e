"""Which trial goes on: Ray Tune's schedulers behind the names of `sweeper.capabilities.SCHEDULERS`.

ASHA and the median rule know a trial by its name in the sweep, which a restart does not change, so that a resumed sweep replays what the
journal holds. HyperBand forms its brackets anew from the trials that are left. Populations are in `population` and `bandits`.

Source: Ray Tune 2.60; the papers are named in the table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, HyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.schedulers.hyperband import _Bracket as Bracket

from sweeper.capabilities import SCHEDULERS
from sweeper.journal import TrialRecord
from sweeper.search.population import NamedPbt, Population, changing_knobs
from sweeper.space import KnobSearch
from sweeper.spec import Scheduler, Spec

TIME_ATTRIBUTE = "step"


@dataclass(frozen=True)
class _NamedTrial:
    """What a scheduler looks at of a trial: an identity that a restart does not change."""

    trial_id: str


class _NobodyWaits:
    """The controller as the median rule sees it: no trial waits for a place, so that none is paused to let another in."""

    def get_live_trials(self) -> list[Any]:
        """None."""
        return []


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


class NamedMedian(MedianStoppingRule):  # type: ignore[misc]
    """Ray's median rule, keyed by the trial's name in the sweep; each step counts once, however often it is told."""

    def __init__(self, **settings: Any) -> None:
        """Takes Ray's settings."""
        super().__init__(**settings)
        self._told: set[tuple[str, int]] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        named = _named(trial)
        if not self._is_new(named, result):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(_NobodyWaits(), named, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last result of a trial that ended by itself; one that has no value tells nothing."""
        named = _named(trial)
        if self._is_new(named, result):
            super().on_trial_complete(tune_controller, named, result)

    def replay(self, record: TrialRecord) -> None:
        """Takes in the results of an earlier attempt."""
        trial = _NamedTrial(record.trial)
        for step, metrics in sorted(record.results.items()):
            if self._metric in metrics:
                self._told.add((trial.trial_id, step))
                super().on_trial_complete(None, trial, metrics | {TIME_ATTRIBUTE: step})

    def _is_new(self, trial: _NamedTrial, result: Mapping[str, Any]) -> bool:
        if TIME_ATTRIBUTE not in result or self._metric not in result:
            return False
        step = (trial.trial_id, int(result[TIME_ATTRIBUTE]))
        new = step not in self._told
        self._told.add(step)
        return new


class _WholeBracket(Bracket):  # type: ignore[misc]
    """Ray's bracket, judged only when it has all of its trials.

    Ray's own takes a trial that has ended for one that never came: where trials come one by one, as places become free, its first bracket,
    which runs every trial to the end, is never full and takes all of them; and one whose only trials have crashed is halved while empty.

    Attributes:
        closed: no further trial will come, full or not.
    """

    closed = False

    def filled(self) -> bool:
        return bool(len(self._all_trials) >= self._n0)

    def cur_iter_done(self) -> bool:
        whole = self.closed or self.filled() or self._halves == 0  # at the last rung nothing is compared
        return whole and bool(super().cur_iter_done())


class NamedHyperBand(HyperBandScheduler):  # type: ignore[misc]
    """Ray's HyperBand with brackets that wait until they are whole; one whose trials all wait is looked at again.

    Ray looks at a bracket when one of its trials has a result. After a resume trials may be further than the next rung, so that all of
    them wait and none ever has one.
    """

    def _create_bracket(self, s: int) -> _WholeBracket:
        return _WholeBracket(
            time_attr=self._time_attr,
            max_trials=self._get_n0(s),
            init_t_attr=self._get_r0(s),
            max_t_attr=self._max_t_attr,
            eta=self._eta,
            s=s,
            stop_last_trials=self._stop_last_trials,
        )

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is not None or any(trial.status in (Trial.PENDING, Trial.RUNNING) for trial in tune_controller.get_live_trials()):
            return chosen
        for bracket in [bracket for band in self._hyperbands for bracket in band if bracket is not None]:
            bracket.closed = True  # nothing runs and nothing waits for a place: there are no further trials
            while any(trial.status == Trial.PAUSED for trial in bracket.current_trials()) and not bracket.trials_to_unpause:
                if bracket.finished():
                    bracket.cleanup_full(tune_controller)
                if bracket.finished() or not bracket.cur_iter_done():
                    break
                self._process_bracket(tune_controller, bracket)
        return super().choose_trial_to_run(tune_controller)


def _named(trial: Any) -> _NamedTrial:
    return trial if isinstance(trial, _NamedTrial) else _NamedTrial(trial.config["trial"])


def scheduler(
    spec: Spec, mode: str, steps: int, records: Iterable[TrialRecord] = (), searched: Mapping[str, KnobSearch] | None = None
) -> TrialScheduler:
    """Ray's scheduler for a sweep.

    Args:
        spec: the sweep.
        mode: "min" or "max".
        steps: greatest number of steps a trial.
        records: search trials of earlier attempts, replayed.
        searched: how each knob is searched; for the schedulers that change knobs.
    """
    kind, common = spec.scheduler, {"time_attr": TIME_ATTRIBUTE, "metric": spec.objective.metric, "mode": mode}
    if kind.kind == "asha":
        asha = NamedAsha(max_t=steps, grace_period=min(kind.grace_steps, steps), reduction_factor=kind.reduction, **common)
        return _replayed(asha, records)
    if kind.kind == "median":
        return _replayed(NamedMedian(grace_period=kind.grace_steps, **common), records)
    if kind.kind == "hyperband":
        return NamedHyperBand(max_t=steps, reduction_factor=kind.reduction, **common)
    if SCHEDULERS[kind.kind].changes_knobs:
        changed = changing_knobs(searched or {}), spec.search.seed, kind.perturb_steps, list(records), common
        if kind.kind == "pbt":
            return NamedPbt(*changed)
        from sweeper.search.bandits import NamedPb2

        return NamedPb2(*changed)
    return FIFOScheduler()


def lets_all_in(scheduler: TrialScheduler) -> bool:
    """Whether trials wait for each other, so that the number at once must not bound how many are begun."""
    return isinstance(scheduler, NamedHyperBand | Population)


def checkpoints_needed(kind: Scheduler) -> int:
    """How many of a trial's newest checkpoints others may still want to go on from."""
    return kind.perturb_steps + 2 if SCHEDULERS[kind.kind].changes_knobs else 1


def _replayed(made: NamedAsha | NamedMedian, records: Iterable[TrialRecord]) -> TrialScheduler:
    for record in records:
        made.replay(record)
    return made
