"""Ray that does not answer, and finding checkpoints."""

from typing import Any

import pytest
import ray

from sweeper import ray_session
from sweeper.errors import ResourceError


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, **options: Any) -> None:
        raise ConnectionError(f"no GCS at {address}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    message = r"a Ray cluster must answer at head:6379, but none does \(no GCS at head:6379\); check the address"
    with pytest.raises(ResourceError, match=message), ray_session.connected("head:6379"):
        pass


def test_a_machine_that_is_too_busy_for_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(address: str, **options: Any) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray raises it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", give_up)
    message = r"at this machine, but none does \(The current node timed out during startup\.\); the machine may be overloaded"
    with pytest.raises(ResourceError, match=message), ray_session.connected(None):
        pass
