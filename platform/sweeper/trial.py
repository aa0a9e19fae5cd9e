"""The one Ray Tune trainable: wraps any registered model, one step a call, in a worker process that is used again and again."""

import dataclasses
import gc
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray.tune

from sweeper.checkpoints import at, checkpoints_of, place_at, size_of
from sweeper.constraints import broken
from sweeper.errors import StorageError
from sweeper.rooms import Rooms, SessionRequest, TrainingSession
from sweeper.spec import Constraint, is_bucket
from sweeper.storage import RESERVE_BYTES, require_room

CHECKPOINT_ERROR = "CheckpointError"
CLOCK_FILE = "wall_s.txt"
OWN_GPU_GIB = 1.0  # what CUDA itself takes of a GPU for each process, and its driver for all
CHECKPOINT_BYTES = "checkpoint_bytes"
# as torch says it on CPUs and GPUs, Python and NumPy, and Ray's watch over a node's memory
_MEMORY = re.compile(r"OutOfMemoryError|MemoryError|DefaultCPUAllocator|out of memory|running low on memory")


@dataclasses.dataclass(frozen=True)
class TrialPlan:
    """What all trials of a sweep have in common; sent to each worker once.

    Attributes:
        rooms: opens sessions.
        request: the session's settings; model, knobs and seed are each trial's own.
        epochs: greatest number of epochs a trial.
        stop_collapsed: end a trial whose adversarial game has collapsed.
        constraints: limits; a model that breaks one by its size alone is not trained.
        user_modules: folder in which a user's own model is looked for, after everything that is installed; "" = nowhere else.
        storage: folder of the checkpoints, as the driver sees it; empty = not looked at.
        gpu_memory_gib: GPU memory that a trial asks for; None = not looked at.
        storage: folder or bucket's address of the checkpoints, as the driver sees it; empty = not looked at.
        elsewhere: whether that is another place than the sweep's own folder, which the driver watches itself.
    """

    rooms: Rooms
    request: SessionRequest
    epochs: float
    stop_collapsed: bool = True
    constraints: tuple[Constraint, ...] = ()
    user_modules: str = ""
    storage: str = ""
    gpu_memory_gib: float | None = None
    elsewhere: bool = False


class SweepTrial(ray.tune.Trainable):  # type: ignore[misc]
    """Trains one configuration after another.

    A result holds "metrics" (the session's, "wall_s", the seconds that all steps so far took, and the costs of `sweeper.spec.COSTS`), the
    objective's value under its own name, "step", and at the end one of
    "finished": True (the whole budget was trained),
    "diverged": what was not finite, "loss" or the objective (the checkpoint of the step before stays the last),
    "collapsed": why the adversarial game is over,
    "infeasible": the limit that the model breaks by its size,
    "failed": a message for the user,
    "starved": what there was no memory for.
    A final run that has finished adds "test": the metrics on the test split, measured this once with the weights of the best step, and
    "fills": a file with what it made of the first test images on the way; whoever takes it takes it out.
    """

    def setup(self, config: dict[str, Any], plan: TrialPlan) -> None:
        """Opens the session of the first configuration."""
        self._session: TrainingSession | None = None
        self._plan = plan
        if plan.user_modules and plan.user_modules not in sys.path:
            sys.path.append(plan.user_modules)
        self._open(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Opens the session of the next configuration in the same process."""
        self._open(new_config)
        return True

    def cleanup(self) -> None:
        """Ends what the last session has started; Ray calls it when the worker is to end."""
        self._close()

    def step(self) -> dict[str, Any]:
        """Trains one step; see the class for what is reported."""
        try:
            return self._step()
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            self._starve(error)
        return self._starving()

    def _step(self) -> dict[str, Any]:
        if self._lost:
            return {"failed": self._lost, "done": True}
        if self._starved:
            return self._starving()
        if self._session is None:
            return {"failed": self._failure, "done": True}
        if self._trained():  # by the trial that it goes on from, or interrupted before its end
            return self._as_it_is(self._session)
        too_large = broken(self._plan.constraints, {"parameters": self._session.parameters})
        if too_large:
            return {"step": 0, "infeasible": too_large, "metrics": {"parameters": float(self._session.parameters)}, "done": True}
        begun_s = time.monotonic()
        try:
            metrics = self._session.step()
        except self._plan.rooms.user_errors as error:
            return {"failed": str(error), "done": True}
        self._wall_s += time.monotonic() - begun_s
        result: dict[str, Any] = {"step": self._session.steps, "metrics": metrics | self._costs(self._session, metrics)}
        objective = self._request.objective
        for name in ("loss", objective):
            if not math.isfinite(metrics[name]):
                return {"step": self._session.steps, "diverged": name, "done": True}
        if metrics.get("collapsed") and self._plan.stop_collapsed:
            result |= {"collapsed": self._session.collapse_reason, "done": True}
        result[objective] = metrics[objective]
        if self._trained():
            result |= {"finished": True, "done": True}
            if self._final:
                self._session.restore_best()
                result["test"], result["fills"] = self._session.evaluate_with_fills("test")
        return result | {"should_checkpoint": True}

    def _costs(self, session: TrainingSession, metrics: Mapping[str, float]) -> dict[str, float]:
        """What the training has cost so far."""
        costs = {"wall_s": self._wall_s, "parameters": session.parameters, "memory_gib": session.memory_gib}
        if metrics.get("images_seen"):
            costs["train_image_s"] = self._wall_s / metrics["images_seen"]
        return {name: float(value) for name, value in costs.items()}

    def _as_it_is(self, session: TrainingSession) -> dict[str, Any]:
        """The result of a session with nothing left to train; a final run measures both splits with the weights of the best step."""
        result: dict[str, Any] = {"step": session.steps, "finished": True, "done": True}
        if not self._final:
            return result
        session.restore_best()
        metrics = session.evaluate("validation") | {"epoch": session.epoch, "wall_s": self._wall_s}
        metrics["parameters"] = float(session.parameters)
        objective = self._request.objective
        test, fills = session.evaluate_with_fills("test")
        return result | {"metrics": metrics, objective: metrics[objective], "test": test, "fills": fills}

    def _trained(self) -> bool:
        """Whether the whole budget is trained."""
        return self._session is not None and self._session.epoch >= self._plan.epochs - 1e-9

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Writes a checkpoint and moves it to where the sweep's lie; its size is told with it.

        Raises:
            StorageError: there is no room, or the place cannot be written.
        """
        try:
            saved = super().save(checkpoint_dir)
        except Exception as error:
            self._blame_storage(error)
            raise
        saved.metrics[CHECKPOINT_BYTES] = self._checkpoint_bytes
        return saved

    def restore(self, checkpoint_path: Any) -> None:
        """Continues after a lost worker, or from another trial's checkpoint.

        Raises:
            StorageError: the place cannot be reached.
        """
        self._restored_from = str(checkpoint_path.checkpoint.path)
        try:
            super().restore(checkpoint_path)
        except Exception as error:
            self._blame_storage(error)
            raise

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the session; Ray moves it to the sweep's checkpoints, where there must be room for it.

        Raises:
            StorageError: there is not.
        """
        if self._session is not None:
            self._session.save(Path(checkpoint_dir))
            (Path(checkpoint_dir) / CLOCK_FILE).write_text(f"{self._wall_s:.3f}")
            self._checkpoint_bytes = size_of(Path(checkpoint_dir))
            storage = Path(self._plan.storage)
            if self._plan.storage and storage.is_dir():  # elsewhere than on the driver's machine it may be another disk
                require_room(storage, self._checkpoint_bytes + RESERVE_BYTES)

    def load_checkpoint(self, checkpoint: str) -> None:
        """Continues from a checkpoint; a damaged one gives way to the one before it."""
        self._continue(self._from(checkpoint))

    def _from(self, checkpoint: str) -> Iterator[str]:
        """A checkpoint that Ray has put into a local folder, those of the same trial before it, and what the trial goes on from."""
        yield checkpoint
        if is_bucket(self._plan.storage):
            name = "/".join(Path(self._restored_from).parts[-3:])
            place = place_at(self._plan.storage)
            yield from (each.address for each in checkpoints_of(place, name.split("/")[1]) if each.name < name)
        else:
            folder = Path(checkpoint)
            yield from sorted((str(path) for path in folder.parent.glob("checkpoint_*") if path.name < folder.name), reverse=True)
        yield from self._resume_from

    def _blame_storage(self, error: Exception) -> None:
        """Looks whether an error comes of a place that cannot be written.

        Raises:
            StorageError: it does.
        """
        if self._plan.elsewhere and not isinstance(error, StorageError):
            place_at(self._plan.storage).require()

    def _open(self, config: dict[str, Any]) -> None:
        self._close()
        self._failure = ""
        self._starved = str(config.get("starved", ""))
        self._resume_from = list(config["resume_from"])
        self._wall_s = 0.0
        self._checkpoint_bytes = 0
        self._final = config["trial"].startswith("final")
        self._request = dataclasses.replace(self._plan.request, model=config["model"], knobs=config["knobs"], seed=config["seed"])
        self._lost = str(config.get("lost", ""))
        self._starved = self._starved or self._too_little_free()
        if self._starved or self._lost:
            return
        try:
            self._session = self._plan.rooms.open_session(self._request)
            self._continue(self._resume_from)
        except self._plan.rooms.user_errors as error:
            self._close()
            self._failure = str(error)
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            self._starve(error)

    def _too_little_free(self) -> str:
        """What a trial lacks of its GPU's memory before it begins, since others take more than their share; "" where it lacks nothing."""
        need = self._plan.gpu_memory_gib
        if need is None:
            return ""
        free = self._plan.rooms.free_gpu_gib()
        if free + min(OWN_GPU_GIB, need / 2) >= need:
            return ""
        return f"its GPU has {free:.3g} GiB free where resources.gpu_memory_gib is {need:g}"

    def _starve(self, error: Exception) -> None:
        """Lets go of everything: the next configuration in this process needs the memory."""
        self._close()
        self._starved = (str(error).strip() or type(error).__name__).splitlines()[0]
        gc.collect()

    def _starving(self) -> dict[str, Any]:
        return {"starved": self._starved, "done": True}

    def _continue(self, checkpoints: Iterable[str]) -> None:
        """Loads the first checkpoint that is whole; starts over where none is.

        Raises:
            StorageError: a bucket that cannot be reached.
        """
        for checkpoint in checkpoints:
            if self._session is None:
                return
            try:
                with at(checkpoint).fetched() as folder:
                    self._session.load(folder)
                    self._wall_s = _clock(folder)
                return
            except self._plan.rooms.user_errors as error:
                if type(error).__name__ != CHECKPOINT_ERROR:
                    raise
                self._close()
                self._session = self._plan.rooms.open_session(self._request)

    def _close(self) -> None:
        """Lets the session go, and the processes that it has started."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error says that there was too little memory."""
    return isinstance(error, MemoryError) or tells_of_memory(f"{type(error).__name__}: {error}")


def tells_of_memory(text: str) -> bool:
    """Whether an error's text says that there was too little memory."""
    return _MEMORY.search(text) is not None


def _clock(checkpoint: Path) -> float:
    """The seconds that a checkpoint's steps took; 0 where it does not say."""
    file = checkpoint / CLOCK_FILE
    return float(file.read_text() or 0) if file.is_file() else 0.0
