"""Which errors of a worker's task are the worker's death; the real thing is the faults' case "memory taken"."""

import pytest
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.tune.execution import tune_controller

from sweeper.deaths import as_death, every_loss_told
from sweeper.trial import tells_of_memory


@pytest.mark.parametrize("error", [OutOfMemoryError("1 worker was killed"), NodeDiedError("gone"), WorkerCrashedError()])
def test_what_ray_tune_would_end_on_is_a_workers_death_with_its_words(error: Exception) -> None:
    death = as_death(error)
    assert isinstance(death, RayActorError)
    assert type(error).__name__ in str(death)
    assert str(error) in str(death)


def test_what_ray_tune_knows_stays_as_it_is() -> None:
    known = [RayTaskError("step", "a traceback", ValueError("a bug")), ActorUnavailableError("for the moment", None), OSError("a disk")]
    assert [as_death(error) for error in known] == known


def test_a_worker_that_was_ended_for_its_memory_is_told_as_that() -> None:
    assert tells_of_memory(str(as_death(OutOfMemoryError("some words"))))


def test_rays_own_loop_is_as_it_was_afterwards() -> None:
    before = tune_controller.RayActorManager
    with every_loss_told():
        assert issubclass(tune_controller.RayActorManager, before)
        assert tune_controller.RayActorManager is not before
    assert tune_controller.RayActorManager is before
