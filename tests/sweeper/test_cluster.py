"""Ray that does not answer, and finding checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import ray

from sweeper import cluster
from sweeper.errors import ResourceError


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, **options: Any) -> None:
        raise ConnectionError(f"no GCS at {address}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    message = r"a Ray cluster must answer at head:6379, but none does \(no GCS at head:6379\); check the address"
    with pytest.raises(ResourceError, match=message), cluster.connected("head:6379"):
        pass


def test_a_machine_that_is_too_busy_for_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(address: str, **options: Any) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray raises it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", give_up)
    message = r"at this machine, but none does \(The current node timed out during startup\.\); the machine may be overloaded"
    with pytest.raises(ResourceError, match=message), cluster.connected(None):
        pass


def test_checkpoints_are_found_over_all_attempts_the_newest_first(tmp_path: Path) -> None:
    for name in ("attempt-001/search-0001/checkpoint_000000", "attempt-001/search-0001/checkpoint_000001"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "attempt-002/search-0001/checkpoint_000000").mkdir(parents=True)
    (tmp_path / "attempt-002/search-0010/checkpoint_000000").mkdir(parents=True)
    found = [str(path.relative_to(tmp_path)) for path in cluster.checkpoints_of(tmp_path, "search-0001")]
    assert found == [
        "attempt-002/search-0001/checkpoint_000000",
        "attempt-001/search-0001/checkpoint_000001",
        "attempt-001/search-0001/checkpoint_000000",
    ]
