"""Whether a cluster can hold a trial, and how many at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeper import cluster, runner
from sweeper.errors import ResourceError
from sweeper.home import Home
from sweeper.rooms import Rooms
from sweeper.spec import Resources, Spec


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes Ray report nodes of (CPUs, GPUs)."""

    def report(*sizes: tuple[float, float], dead: tuple[tuple[float, float], ...] = ()) -> None:
        found = [
            {"Alive": alive, "Resources": {"CPU": float(cpus), "GPU": float(gpus), "memory": 8 * 2**30}}
            for alive, group in ((True, sizes), (False, dead))
            for cpus, gpus in group
        ]
        for node in found:  # Ray leaves out what a node has none of
            if not node["Resources"]["GPU"]:  # type: ignore[index]
                del node["Resources"]["GPU"]  # type: ignore[attr-defined]
        monkeypatch.setattr(ray, "nodes", lambda: found)

    return report


@pytest.mark.parametrize(
    ("sizes", "cpus", "gpus", "places"),
    [
        ([(2, 0)], 1, 0, 2),
        ([(2, 0)], 2, 0, 1),
        ([(2, 0)], 0.5, 0, 4),
        ([(3, 0)], 2, 0, 1),
        ([(4, 0), (8, 0)], 3, 0, 1 + 2),
        ([(8, 1)], 1, 1, 1),
        ([(8, 1)], 1, 0.5, 2),
        ([(8, 1)], 1, 0.3, 3),  # three thirds and a rest that nobody can use
        ([(8, 2)], 1, 0.4, 4),  # two on each GPU: a trial is never split over two
        ([(8, 4)], 1, 2, 2),
        ([(8, 3)], 1, 2, 1),
        ([(2, 4)], 1, 0.25, 2),  # the CPUs run out first
        ([(8, 0), (8, 1)], 1, 0.1, 8),  # a node without a GPU holds none; ten by GPU, eight by CPU
        ([(1, 0)], 0.1, 0, 10),  # 1 / 0.1 is not exactly 10 in floating point
    ],
)
def test_how_many_trials_fit_at_once(
    sizes: list[tuple[float, float]], cpus: float, gpus: float, places: int, nodes: Callable[..., None]
) -> None:
    nodes(*sizes)
    assert cluster.check_resources(Resources(cpus=cpus, gpus=gpus)) == places


@pytest.mark.parametrize(
    ("cpus", "gpus", "sizes", "asked", "there"),
    [
        (16, 0, [(2, 0), (8, 1)], "16 CPUs and 0 GPUs", "8 and 1"),
        (1, 1, [(8, 0)], "1 CPUs and 1 GPUs", "8 and 0"),
        (1, 0.5, [(8, 0)], "1 CPUs and 0.5 GPUs", "8 and 0"),
        (1, 8, [(64, 4), (64, 4)], "1 CPUs and 8 GPUs", "64 and 4"),
        (4, 1, [(2, 1), (8, 0)], "4 CPUs and 1 GPUs", "8 and 1"),  # each is there, but not on one node
    ],
)
def test_what_no_node_can_hold_is_refused_with_what_there_is(
    cpus: float, gpus: float, sizes: list[tuple[float, float]], asked: str, there: str, nodes: Callable[..., None]
) -> None:
    nodes(*sizes)
    with pytest.raises(ResourceError) as caught:
        cluster.check_resources(Resources(cpus=cpus, gpus=gpus))
    assert f"asks for {asked} where the largest node has {there}; lower resources.cpus or resources.gpus" in str(caught.value)


def test_a_node_that_is_gone_does_not_count(nodes: Callable[..., None]) -> None:
    nodes((2, 0), dead=((64, 8),))
    assert cluster.check_resources(Resources(cpus=1)) == 2
    with pytest.raises(ResourceError, match="the largest node has 2 and 0"):
        cluster.check_resources(Resources(cpus=4))


@pytest.mark.usefixtures("local_ray")
def test_a_real_cluster_says_at_once_what_it_cannot_hold(
    tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path, new_progress: Callable[[], Any]
) -> None:
    assert cluster.check_resources(Resources(cpus=1)) == 2
    assert "2 CPUs, 0 GPUs" in cluster.node_hardware()
    for resources, asked in (({"cpus": 64}, "64 CPUs and 0 GPUs"), ({"gpus": 0.5}, "1 CPUs and 0.5 GPUs")):
        progress = new_progress()
        with pytest.raises(ResourceError, match=f"asks for {asked} where the largest node has 2 and 0"):
            runner.run(tiny_spec(resources=resources), rooms, Home(tmp_path), progress, spec_name="tiny")
        assert progress.events == []
    assert list(tmp_path.iterdir()) == []
    assert ray.is_initialized()  # a Ray that was there before stays


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
