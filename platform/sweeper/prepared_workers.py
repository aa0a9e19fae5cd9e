"""Trials run in the workers that Ray has started and prepared, not in new ones.

Ray Tune asks for workers with an environment of their own, and Ray starts such ones when they are asked for. Those that it has started with
itself, which have imported what a trial needs meanwhile, would never be used. The workers of a Ray that this process has started have its
whole environment; asking for nothing else is asking for them.

Source: Ray 2.60, `_ActorClassCache`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import ray
from ray.tune.execution import tune_controller
from ray.tune.execution.class_cache import _ActorClassCache

from sweeper.ray_session import started_here
from sweeper.swapped import swapped


class _Cache(_ActorClassCache):  # type: ignore[misc]
    """Ray's own, without an environment."""

    def get(self, trainable_cls: type) -> Any:
        """A trainable as a class of actors."""
        if trainable_cls not in self._cache:
            self._cache[trainable_cls] = ray.remote(trainable_cls)
        return self._cache[trainable_cls]


def prepared_workers_taken() -> AbstractContextManager[None]:
    """Ray Tune's loops that are made within the `with` take a local Ray's own workers; on a cluster they stay as they are."""
    return swapped(tune_controller, "_ActorClassCache", _Cache) if started_here() else nullcontext()
