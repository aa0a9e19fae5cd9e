"""A worker that is lost costs its trial a restart, whatever Ray calls the loss.

Ray Tune's loop knows two kinds of error of a worker's task: the worker has died, or the task has raised. Ray has more: a worker that its
watch over a node's memory has ended is an `OutOfMemoryError`, one of a lost node a `NodeDiedError`. Each of these ends Tune's loop, and
with it the whole sweep. Here they reach it as what they are, the death of a worker.

Source: Ray 2.60, `RayActorManager._actor_task_failed`.
"""

from contextlib import AbstractContextManager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

from sweeper.swapped import swapped


class _Manager(RayActorManager):  # type: ignore[misc]
    """Ray's own, which hears of every loss as a worker's death."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, as_death(exception))


def as_death(error: Exception) -> Exception:
    """An error of a worker's task as Ray Tune knows it: a Ray error of any other kind becomes the worker's death, with its words."""
    if isinstance(error, RayError) and not isinstance(error, RayActorError | RayTaskError):
        death: Exception = RayActorError(error_msg=f"{type(error).__name__}: {error}")
        return death
    return error


def every_loss_told() -> AbstractContextManager[None]:
    """Ray Tune's loops that are made within the `with` survive every loss of a worker."""
    return swapped(tune_controller, "RayActorManager", _Manager)
