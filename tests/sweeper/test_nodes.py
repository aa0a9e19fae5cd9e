"""Whether a cluster can hold a trial, and how many at once: by CPUs, GPUs, memory, kind of accelerator, and nodes that may come."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeper import runner
from sweeper.errors import ResourceError
from sweeper.home import Home
from sweeper.nodes import GIB, check_resources, node_hardware, node_types, smallest_gpu_gib
from sweeper.rooms import Rooms
from sweeper.spec import Resources, Spec

Report = Callable[..., None]


def node(cpus: float, gpus: float = 0, *, alive: bool = True, labels: dict[str, str] | None = None, **more: float) -> dict[str, Any]:
    """A node as Ray describes it; Ray leaves out what a node has none of."""
    resources = {"CPU": float(cpus), "memory": 8.0 * GIB} | ({"GPU": float(gpus)} if gpus else {}) | more
    return {"Alive": alive, "Resources": resources, "Labels": labels or {}, "NodeID": secrets.token_hex(4)}


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Report:
    """Makes Ray report nodes."""
    return lambda *nodes: monkeypatch.setattr(ray, "nodes", lambda: list(nodes))


@pytest.fixture
def nodes(up: Report) -> Report:
    """Makes Ray report nodes of (CPUs, GPUs)."""
    return lambda *sizes, dead=(): up(*(node(*size) for size in sizes), *(node(*size, alive=False) for size in dead))


@pytest.fixture
def to_come(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Says which types of nodes may come."""
    return lambda types: monkeypatch.setenv("SWEEP_NODE_TYPES", json.dumps(types))


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
    assert check_resources(Resources(cpus=cpus, gpus=gpus)).at_once == places


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
        check_resources(Resources(cpus=cpus, gpus=gpus))
    assert f"asks for {asked} where the largest node has {there}; lower resources.cpus or resources.gpus" in str(caught.value)


def test_a_node_that_is_gone_does_not_count(nodes: Callable[..., None]) -> None:
    nodes((2, 0), dead=((64, 8),))
    assert check_resources(Resources(cpus=1)).at_once == 2
    with pytest.raises(ResourceError, match="the largest node has 2 and 0"):
        check_resources(Resources(cpus=4))


@pytest.mark.usefixtures("local_ray")
def test_a_real_cluster_says_at_once_what_it_cannot_hold(
    tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path, new_progress: Callable[[], Any]
) -> None:
    assert check_resources(Resources(cpus=1)).at_once == 2
    assert "2 CPUs, 0 GPUs" in node_hardware()
    for resources, asked in (({"cpus": 64}, "64 CPUs and 0 GPUs"), ({"gpus": 0.5}, "1 CPUs and 0.5 GPUs")):
        progress = new_progress()
        with pytest.raises(ResourceError, match=f"asks for {asked} where the largest node has 2 and 0"):
            runner.run(tiny_spec(resources=resources), rooms, Home(tmp_path), progress, spec_name="tiny")
        assert progress.events == []
    assert list(tmp_path.iterdir()) == []
    assert ray.is_initialized()  # a Ray that was there before stays


# --- memory and accelerators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("memory_gib", "places"), [(8, 1), (4, 2), (3, 2), (1.5, 4), (0.5, 4)])  # four by CPU
def test_a_node_holds_as_many_trials_as_its_memory_is_enough_for(memory_gib: float, places: int, nodes: Report) -> None:
    nodes((4, 0))
    room = check_resources(Resources(memory_gib=memory_gib))
    assert room.at_once == places
    assert room.bundle == {"CPU": 1.0, "memory": memory_gib * 2**30}


def test_memory_that_no_node_has_is_told_in_numbers(nodes: Report) -> None:
    nodes((4, 0), (2, 1))
    with pytest.raises(ResourceError) as caught:
        check_resources(Resources(memory_gib=12))
    assert "1 CPUs, 0 GPUs and 12 GiB of memory where the largest node has 4, 1 and 8; lower resources.cpus, resources.gpus or " in str(
        caught.value
    )


def test_a_kind_of_accelerator_is_what_ray_schedules_by(up: Report) -> None:
    up(node(8, 2, **{"accelerator_type:T4": 1.0}), node(8, 1, **{"accelerator_type:A100": 1.0}), node(8))
    room = check_resources(Resources(gpus=0.5, accelerator_type="A100"))
    assert room.at_once == 2
    assert room.bundle == {"CPU": 1.0, "GPU": 0.5, "accelerator_type:A100": 0.001}
    assert check_resources(Resources(gpus=0.5)).at_once == 6


def test_a_kind_of_accelerator_that_is_not_there_is_refused_with_those_that_are(up: Report, nodes: Report) -> None:
    up(node(8, 2, **{"accelerator_type:T4": 1.0}), node(8, 1, **{"accelerator_type:A100": 1.0}))
    with pytest.raises(ResourceError, match="must be one that the cluster's nodes have, A100 or T4, but got 'H100'; name another"):
        check_resources(Resources(gpus=1, accelerator_type="H100"))
    nodes((8, 1))
    with pytest.raises(ResourceError, match="nodes have, but they have none, but got 'H100'"):
        check_resources(Resources(gpus=1, accelerator_type="H100"))


def gpu_node(gpu_gib: float, gpus: int = 1, **more: float) -> dict[str, Any]:
    return node(32, gpus, labels={"sweep/gpu-memory-gib": str(gpu_gib)}, **more)


@pytest.mark.parametrize(
    ("sizes", "need", "asked", "share", "places"),
    [
        ([80], 20, 0, 0.25, 4),
        ([80], 30, 0, 0.5, 2),
        ([79.6], 26, 0, 0.3333, 3),  # Ray counts in ten-thousandths: three times 0.3333 is not more than one GPU
        ([80], 60, 0, 1, 1),
        ([80], 20, 0.5, 0.5, 2),  # more than the memory needs
        ([80], 20, 0.1, 0.25, 4),  # less
        ([16, 80], 20, 0, 0.25, 4),  # the small one holds none
        ([24, 80], 10, 0, 0.5, 4),  # Ray gives the same share of either, and the smaller one must be enough for it
        ([16], 0.25, 0, 0.0156, 32),  # 64 by GPU, 32 by CPU
    ],
)
def test_as_many_trials_share_a_gpu_as_its_memory_is_enough_for(
    sizes: list[float], need: float, asked: float, share: float, places: int, up: Report
) -> None:
    up(*map(gpu_node, sizes))
    room = check_resources(Resources(gpus=asked, gpu_memory_gib=need))
    assert (room.held.gpus, room.at_once) == (share, places)


def test_trials_keep_away_from_gpus_that_are_too_small(up: Report) -> None:
    small = gpu_node(16)
    up(small, gpu_node(80), node(4))
    assert check_resources(Resources(gpu_memory_gib=10)).selector == {}
    assert check_resources(Resources(gpu_memory_gib=20)).selector == {"ray.io/node-id": f"!in({small['NodeID']})"}
    assert check_resources(Resources(gpus=1)).selector == {}


def test_the_share_is_that_of_the_kind_of_gpu_that_is_asked_for(up: Report) -> None:
    up(gpu_node(16, **{"accelerator_type:T4": 1.0}), gpu_node(80, 2, **{"accelerator_type:A100": 1.0}))
    room = check_resources(Resources(gpu_memory_gib=10, accelerator_type="A100"))
    assert (room.held.gpus, room.at_once) == (0.125, 16)


def test_gpu_memory_that_no_gpu_has_is_refused_with_the_numbers(up: Report) -> None:
    up(gpu_node(16), gpu_node(24))
    with pytest.raises(ResourceError, match=r"asks for 40 GiB of it where the largest has 24 GiB; lower resources\.gpu_memory_gib"):
        check_resources(Resources(gpu_memory_gib=40))
    up(node(8))
    with pytest.raises(ResourceError, match="where none is there whose memory is known; lower"):
        check_resources(Resources(gpu_memory_gib=40))
    up(node(8, 1, labels={"sweep/gpu-memory-gib": "plenty"}))
    with pytest.raises(ResourceError, match="sweep/gpu-memory-gib must be a number of GiB, but got 'plenty'"):
        check_resources(Resources(gpu_memory_gib=40))


def test_whole_gpus_are_asked_for_as_many_as_there_are_written(up: Report) -> None:
    up(gpu_node(16, 4), gpu_node(80, 4))
    room = check_resources(Resources(gpus=2, gpu_memory_gib=40))
    assert (room.bundle["GPU"], room.at_once) == (2.0, 2)


@pytest.mark.parametrize(("says", "gib"), [("81559\n40960\n", 40.0), ("[N/A]\n", None), ("", None)])
def test_the_driver_says_how_much_memory_the_smallest_gpu_has(
    says: str, gib: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{says}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert smallest_gpu_gib() == gib


# --- nodes that may come -----------------------------------------------------------------------------------------------------------

HEAD = "auto"
WORKER = {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 3}


def test_a_trial_that_only_a_node_to_come_holds_is_waited_for(nodes: Report, to_come: Callable[..., None]) -> None:
    nodes((4, 0))
    to_come({"gpu_worker": WORKER, "cpu_worker": {"resources": {"CPU": 64}, "max_workers": 9}})
    room = check_resources(Resources(gpus=0.5), HEAD)
    assert (room.now, room.at_once) == (0, 6)
    assert room.waits == "no node that is up holds a trial: waiting for a node of the type gpu_worker"
    with pytest.raises(ResourceError, match="the largest node has 4 and 0"):
        check_resources(Resources(gpus=0.5))  # to a local Ray nothing comes


def test_nodes_that_came_already_are_not_counted_twice(up: Report, to_come: Callable[..., None]) -> None:
    up(node(4), node(8, 1, labels={"ray.io/node-group": "gpu_worker"}), node(8, 1, labels={"sweep/node-type": "gpu_worker"}))
    to_come({"gpu_worker": WORKER})
    room = check_resources(Resources(gpus=1), HEAD)
    assert (room.now, room.at_once, room.waits) == (2, 3, "")


def test_what_neither_the_cluster_nor_its_autoscaler_has_is_refused(nodes: Report, to_come: Callable[..., None]) -> None:
    nodes((4, 0))
    to_come({"gpu_worker": WORKER | {"max_workers": 0}})
    for resources in (Resources(gpus=1), Resources(cpus=16)):
        with pytest.raises(ResourceError, match="the largest node has 8 and 1"):
            check_resources(resources, HEAD)


def test_the_memory_of_gpus_to_come_is_what_their_label_or_resource_says(nodes: Report, to_come: Callable[..., None]) -> None:
    nodes((4, 0))
    large = WORKER | {"resources": {"CPU": 8, "GPU": 1, "gpu_memory_gib": 80}}
    to_come({"large": large, "small": WORKER | {"labels": {"sweep/gpu-memory-gib": "16"}}})
    room = check_resources(Resources(gpu_memory_gib=40), HEAD)
    assert (room.held.gpus, room.at_once, room.coming) == (0.5, 6, ("large",))
    assert room.selector["ray.io/node-group"] == "!in(small)"
    to_come({"unknown": WORKER})
    with pytest.raises(ResourceError, match="or give nodes of the type unknown the label sweep/gpu-memory-gib"):
        check_resources(Resources(gpu_memory_gib=40), HEAD)


def test_a_node_type_is_its_own_label_or_the_autoscalers_or_its_accelerators(up: Report) -> None:
    kinds = ({"sweep/node-type": "a", "ray.io/node-group": "b"}, {"ray.io/node-group": "b"}, {"ray.io/accelerator-type": "T4"}, {})
    up(*(node(1, labels=labels) for labels in kinds), node(1, alive=False))
    assert node_types() == ["a", "b", "T4", "default"]
