"""Ray Tune's loop without those that have ended: what a trial costs does not grow with the number of trials before it.

Ray Tune keeps every trial of a run, with its settings and several queues a metric (about 50 KiB), walks through all of them in every round,
and writes all of them down at the end. The journal has what is worth keeping; here the loop lets a trial go when it has ended.

Source: Ray 2.60, `TuneController`.
"""

from contextlib import AbstractContextManager
from typing import Any

from ray.tune import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from sweeper.swapped import swapped


class _Light(TuneController):  # type: ignore[misc]
    """Ray's own, which forgets trials that have ended; the newest stays, since Ray Tune reads a run without any from its records."""

    def on_step_end(self) -> None:
        """Lets go of those whose worker has been handed on or has stopped."""
        super().on_step_end()
        for trial in [each for each in self._trials[:-1] if each.status == Trial.TERMINATED and each not in self._trial_to_actor]:
            self._trials.remove(trial)
            self._stopped_trials.discard(trial)
            self._trials_to_cache.discard(trial)
            self._trial_metadata.pop(trial.trial_id, None)


class NoProgress(TrialProgressCallback):  # type: ignore[misc]
    """To be given to Ray Tune, which else adds its own: that one prints nothing at verbosity 0, and keeps every trial."""

    def log_result(self, trial: Any, result: Any, error: bool = False) -> None:
        """Nothing."""

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        """Nothing."""


def ended_trials_forgotten() -> AbstractContextManager[None]:
    """Ray Tune's loops that are made within the `with` keep no trial that has ended."""
    return swapped(tune, "TuneController", _Light)
