"""Running trials on Ray."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import ray
import ray.tune
from ray.experimental import internal_kv
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeper.checkpoints import Place
from sweeper.deaths import every_loss_told
from sweeper.errors import StorageError, SweepError
from sweeper.light_loop import NoProgress, ended_trials_forgotten
from sweeper.losses import NODE_LOSSES, WORKER_RESTARTS, losses
from sweeper.nodes import Room
from sweeper.prepared_workers import prepared_workers_taken
from sweeper.search import Assignment, Population, lets_all_in
from sweeper.storage import is_shortage
from sweeper.trial import CHECKPOINT_BYTES, SweepTrial, TrialPlan, tells_of_memory


class Listener(Protocol):
    """Who is told what happens to the trials, in order, from the driver's loop."""

    def next(self) -> Assignment | None:
        """The next run to do; None when there is no more."""
        ...

    def on_start(self, assignment: Assignment) -> None:
        """A worker has taken the run."""
        ...

    def on_result(self, trial: str, result: dict[str, Any]) -> None:
        """A step is done."""
        ...

    def on_change(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        """A trial goes on after a step with other knobs, from another one's checkpoint; see `journal.Change`."""
        ...

    def on_lost(self, trial: str, note: str) -> None:
        """The run has lost its worker and waits for another one; `note` is worth a line, where there is any."""
        ...

    def on_checkpoint(self, name: str, size: int) -> None:
        """A worker has written a checkpoint of so many bytes."""
        ...

    def on_end(self, trial: str, result: dict[str, Any], error: str | None) -> None:
        """The run is over; `error` tells of a crash that restarts did not mend."""
        ...

    def out_of_time(self) -> bool:
        """Whether running trials are to be stopped after their current step."""
        ...


def head_calls_a_second(for_s: float) -> float:
    """Small requests that Ray's head (GCS) answers a second, one after the other, measured for so many seconds."""
    calls, begun_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - begun_s) < for_s:
        internal_kv._internal_kv_exists(b"sweep-plan")
        calls += 1
    return calls / took_s


def run_trials(
    plan: TrialPlan, listener: Listener, scheduler: TrialScheduler, room: Room, place: Place, *, at_once: int, limit: int
) -> None:
    """Runs what the listener hands out until it has no more.

    Args:
        plan: what the trials have in common.
        listener: gives the runs and hears of them.
        scheduler: decides which trial goes on.
        room: how the cluster holds the trials.
        place: for checkpoints; a new folder inside it is made for this call.
        at_once: greatest number of trials that train at the same time.
        limit: greatest number of trials.

    Raises:
        StorageError: a worker had no room for a checkpoint, or could not reach their place.
        Exception: whatever the listener raised, as it was raised.
    """
    relay = _Relay(listener)
    trainable: Callable[..., Any] = ray.tune.with_resources(
        ray.tune.with_parameters(SweepTrial, plan=plan),
        ray.tune.PlacementGroupFactory([room.bundle], **({"bundle_label_selector": [room.selector]} if room.selector else {})),
    )
    if lets_all_in(scheduler) and room.coming:  # else Ray Tune asks the autoscaler for one trial's node after the other
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(at_once)
    if isinstance(scheduler, Population):
        scheduler.on_change = _ListenerOfChanges(relay)
    tuner = ray.tune.Tuner(
        trainable,
        tune_config=ray.tune.TuneConfig(
            search_alg=_ListenerSearcher(relay),
            scheduler=scheduler,
            num_samples=max(limit, 1),
            max_concurrent_trials=None if lets_all_in(scheduler) else at_once,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=ray.tune.RunConfig(
            name=f"attempt-{place.attempts() + 1:03d}",
            storage_path=place.path,
            storage_filesystem=place.filesystem,
            callbacks=[_ListenerCallback(relay), NoProgress()],
            stop=_BudgetStopper(relay),
            # the trial says itself what is worth keeping: at its end Ray would keep a diverged one too; `retention` removes the old ones
            checkpoint_config=ray.tune.CheckpointConfig(num_to_keep=None, checkpoint_at_end=False),
            # `_ListenerCallback` counts crashes and lost nodes apart: Ray Tune would take one for the other
            failure_config=ray.tune.FailureConfig(max_failures=WORKER_RESTARTS + NODE_LOSSES + 1),
            verbose=0,
        ),
    )
    try:
        with warnings.catch_warnings(), every_loss_told(), ended_trials_forgotten(), prepared_workers_taken():
            warnings.filterwarnings("ignore", message=".*TUNE_RESULT_BUFFER_LENGTH")  # HyperBand wants it as it is set above
            tuner.fit()
    except Exception as error:
        relay.check()
        if plan.elsewhere and not isinstance(error, SweepError):
            place.require()
        raise
    relay.check()


def _trial_folder(trial: Any) -> str:
    return str(trial.config["trial"])


class _Relay:
    """Hands everything to the listener until it raises for the first time: Ray Tune would wrap the error, or treat it as the trial's."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._error: Exception | None = None

    @contextmanager
    def telling(self) -> Iterator[Listener]:
        """The listener for the length of a `with`; what it raises is remembered, and raised again by whatever comes next."""
        self.check()
        try:
            yield self._listener
        except Exception as error:
            self._error = error
            raise

    def check(self) -> None:
        """Raises what the listener raised."""
        if self._error is not None:
            raise self._error


class _Adapter:
    """Holds the listener for Ray Tune, which pickles and copies what it is given: neither must reach into open files."""

    def __init__(self, relay: _Relay) -> None:
        super().__init__()
        self._relay = relay

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Adapter":
        return self


class _ListenerSearcher(_Adapter, Searcher):  # type: ignore[misc]
    """Hands the listener's runs to Ray Tune; holds no state of its own."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._relay.telling() as listener:
            assignment = None if listener.out_of_time() else listener.next()
        return Searcher.FINISHED if assignment is None else asdict(assignment)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback hears of it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study and the journal hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class _ListenerCallback(_Adapter, ray.tune.Callback):  # type: ignore[misc]
    """Tells the listener what Ray Tune does."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._relay.telling() as listener:
            listener.on_start(Assignment(**trial.config))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        with self._relay.telling() as listener:
            listener.on_result(trial.config["trial"], result)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        saved = trial.latest_checkpoint_result
        if saved is not None:
            with self._relay.telling() as listener:
                listener.on_checkpoint("/".join(PurePosixPath(saved.checkpoint.path).parts[-3:]), int(saved.metrics[CHECKPOINT_BYTES]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._relay.telling() as listener:
            listener.on_end(trial.config["trial"], trial.last_result or {}, None)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ray is about to start a lost worker again; where that is no use, the new one only says so and ends."""
        with self._relay.telling() as listener:
            last_line, failures = self._last_error(trial), _failures(trial)
            lost = losses(failures, {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
            if tells_of_memory(failures[-1]):
                trial.config["starved"] = last_line
            elif lost.too_many:
                trial.config["lost"] = f"its node was lost {lost.nodes} times" if lost.latest_is_node else last_line
            listener.on_lost(trial.config["trial"], "" if trial.config.get("starved") else lost.note)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._relay.telling() as listener:
            last_line = self._last_error(trial)
            starved = {"starved": last_line} if tells_of_memory(_failures(trial)[-1]) else {}
            listener.on_end(trial.config["trial"], (trial.last_result or {}) | starved, last_line)

    def _last_error(self, trial: Any) -> str:
        """The last line of a trial's last error.

        Raises:
            StorageError: it tells of a full disk, which is no fault of the trial's.
        """
        lines = _failures(trial)[-1].strip().splitlines() or ["the worker was lost"]
        for line in reversed(lines):  # the error itself stands below the lines of source that led to it
            if is_shortage(line):
                told = line.strip().partition("StorageError: ")[2]
                raise StorageError(
                    told or f"a worker must have room for checkpoints, but has not ({line.strip()}); free space, then type 'sweep resume'"
                )
        return lines[-1]


def _failures(trial: Any) -> list[str]:
    """The texts of a trial's errors, as Ray wrote them one after the other."""
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    return text.split("Failure # ")[1:] or [text]


class _ListenerOfChanges(_Adapter):
    """Tells the listener of a population's changes."""

    def __call__(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        with self._relay.telling() as listener:
            listener.on_change(trial, step, knobs, donor, checkpoint)


class _BudgetStopper(_Adapter, ray.tune.Stopper):  # type: ignore[misc]
    """Stops trials at their next result once the sweep's time is spent."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        with self._relay.telling() as listener:
            return not result.get("done") and listener.out_of_time()

    def stop_all(self) -> bool:
        """Ray asks this in every round of its loop, whose errors nobody catches."""
        self._relay.check()
        return False
