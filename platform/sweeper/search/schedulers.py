"""Which trial goes on: Ray Tune's schedulers, behind one seam.

On a resumed sweep what the journal holds is replayed, so that ASHA's rungs stand as they stood.

Source: ASHA of Ray Tune (Li et al. 2020).
"""

from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from sweeper.journal import TrialRecord
from sweeper.spec import Spec

TIME_ATTRIBUTE = "step"


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
