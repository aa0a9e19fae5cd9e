"""The nodes of a cluster, those that are up and those that its autoscaler may add: which of them hold a trial, and how many at once."""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.autoscaler import NodeType, node_types_to_come
from sweeper.errors import ResourceError
from sweeper.spec import Resources

GIB = 2**30
ACCELERATOR = "accelerator_type:"  # Ray's own resource; a node of that type has one, of which each trial takes a thousandth
ACCELERATOR_SHARE = 0.001
NODE_LABELS = ("sweep/node-type", "ray.io/node-group", "ray.io/accelerator-type")
GPU_MEMORY_LABEL = "sweep/gpu-memory-gib"
GPU_MEMORY_RESOURCE = "gpu_memory_gib"
GPU_STEPS = 10_000  # Ray counts a GPU in ten-thousandths
PROBE_S = 120
ROUNDING = 1e-9


@dataclass(frozen=True)
class Node:
    """A node that is up, or one of a type that may come.

    Attributes:
        resources: as Ray names and counts them: CPU, GPU, memory in bytes, "accelerator_type:A100".
        kind: its type.
        gpu_gib: memory of its smallest GPU in GiB; None = not known, or not asked for.
        name: Ray's id of it; "" = it may come.
    """

    resources: Mapping[str, float]
    kind: str = "default"
    gpu_gib: float | None = None
    name: str = ""

    @property
    def accelerators(self) -> list[str]:
        """The types of its accelerators."""
        return [name.removeprefix(ACCELERATOR) for name in self.resources if name.startswith(ACCELERATOR)]


@dataclass(frozen=True)
class Room:
    """How a cluster holds the trials of a sweep.

    Attributes:
        held: what one trial holds; its share of a GPU follows from the memory that it needs there.
        now: trials that the nodes that are up hold at once.
        at_once: trials that the cluster holds at once when every node is there that may come.
        coming: types of the nodes that may come and hold a trial.
        small_nodes: ids of the nodes whose GPUs have too little memory for a trial.
        small_kinds: types of the nodes that may come of which the same is true.
    """

    held: Resources
    now: int
    at_once: int
    coming: tuple[str, ...] = ()
    small_nodes: tuple[str, ...] = ()
    small_kinds: tuple[str, ...] = ()

    @property
    def waits(self) -> str:
        """Why nothing runs yet; "" where something does."""
        return "" if self.now else f"no node that is up holds a trial: waiting for a node of the type {' or '.join(self.coming)}"

    @property
    def bundle(self) -> dict[str, float]:
        """What one trial holds, as Ray counts it."""
        held, bundle = self.held, {"CPU": float(self.held.cpus)}
        if held.gpus:
            bundle["GPU"] = float(held.gpus)
        if held.memory_gib is not None:
            bundle["memory"] = float(int(held.memory_gib * GIB))
        if held.accelerator_type is not None:
            bundle[ACCELERATOR + held.accelerator_type] = ACCELERATOR_SHARE
        return bundle

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the nodes that a trial may run on; empty = any."""
        keys = {"ray.io/node-id": self.small_nodes, "ray.io/node-group": self.small_kinds}
        return {key: f"!in({','.join(names)})" for key, names in keys.items() if names}


@dataclass(frozen=True)
class _Cluster:
    """Nodes that are up, and types that may come with how many nodes of each can still be added, `limit` of all together."""

    up: list[Node]
    coming: list[tuple[Node, int]] = field(default_factory=list)
    limit: int = 0


def check_resources(resources: Resources, address: str | None = None) -> Room:
    """How a cluster holds trials.

    Args:
        resources: what one trial asks for.
        address: of the cluster; None = a local Ray, to which no node is ever added.

    Raises:
        ResourceError: no node of the cluster, nor any that may come, could ever hold one trial.
    """
    cluster = _look(address)
    up, coming = cluster.up, [node for node, _ in cluster.coming]
    if resources.accelerator_type is not None:
        _require_accelerator(resources.accelerator_type, [*up, *coming])
    held = resources
    if resources.gpu_memory_gib is not None:
        up = [_with_gpu_memory(node) for node in up]
        held = _with_share(resources, [*up, *coming])
    now = sum(places(node, held) for node in up)
    later = [(node, count, places(node, held)) for node, count in cluster.coming]
    left, grown = cluster.limit, now
    for _, count, each in sorted(later, key=lambda found: -found[2]):
        added = min(count, left)
        left, grown = left - added, grown + added * each
    if not grown:
        raise _nothing_holds(held, [*up, *coming])
    names = tuple(dict.fromkeys(node.kind for node, count, each in later if count and each))
    small = [node for node in (*up, *coming) if node.resources.get("GPU") and _lacks_gpu_memory(node, held)]
    return Room(
        held, now, grown, names, tuple(each.name for each in small if each.name), tuple(each.kind for each in small if not each.name)
    )


def places(node: Node, held: Resources) -> int:
    """How many trials a node holds at once."""
    has = node.resources
    counts = [int(has.get("CPU", 0) / held.cpus + ROUNDING)]
    if held.gpus:
        gpus = has.get("GPU", 0)
        counts.append(int(gpus) * int(1 / held.gpus + ROUNDING) if held.gpus < 1 else int(gpus / held.gpus + ROUNDING))
    if held.memory_gib is not None:
        counts.append(int(has.get("memory", 0) / int(held.memory_gib * GIB)))
    if held.accelerator_type is not None and held.accelerator_type not in node.accelerators:
        return 0
    return 0 if _lacks_gpu_memory(node, held) else min(counts)


def _lacks_gpu_memory(node: Node, held: Resources) -> bool:
    """Whether a trial needs more of a GPU's memory than a node's have, as far as is known."""
    return held.gpu_memory_gib is not None and (node.gpu_gib or 0) < held.gpu_memory_gib


def node_hardware() -> str:
    """The cluster's nodes in words, for the record."""
    nodes = [node.resources for node in _up()]
    return "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs, {node.get('memory', 0) / GIB:.0f} GiB" for node in nodes)


def node_types() -> list[str]:
    """The type of each node that is there: its label "sweep/node-type", or the autoscaler's, or its accelerator's, or "default"."""
    return [node.kind for node in _up()]


def _up() -> list[Node]:
    """The nodes that are there."""
    there = [node for node in ray.nodes() if node["Alive"]]
    return [_node(node["Resources"], node.get("Labels", {}), kind="default", name=node.get("NodeID", "")) for node in there]


def _node(resources: Mapping[str, float], labels: Mapping[str, str], *, kind: str, name: str = "") -> Node:
    """A node, with the memory of its GPUs where a label or a resource tells it.

    Raises:
        ResourceError: the label is no number.
    """
    told = labels.get(GPU_MEMORY_LABEL, resources.get(GPU_MEMORY_RESOURCE))
    try:
        gpu_gib = float(told) if told is not None else None
    except ValueError:
        raise ResourceError(f"the label {GPU_MEMORY_LABEL} must be a number of GiB, but got {told!r}; mend the cluster's file") from None
    return Node(resources, next((labels[key] for key in NODE_LABELS if labels.get(key)), kind), gpu_gib, name)


def _look(address: str | None) -> _Cluster:
    """What is there and what may come."""
    up = _up()
    types, limit = ((), 0) if address is None else node_types_to_come()
    there = [sum(node.kind in (kind.name, kind.label) for node in up) for kind in types]
    coming = [(_type(kind), max(kind.max_workers - count, 0)) for kind, count in zip(types, there, strict=True)]
    if limit is None:
        return _Cluster(up, coming, sum(count for _, count in coming))
    return _Cluster(up, coming, max(limit - (len(up) - 1), 0))  # the head is no worker


def _type(kind: NodeType) -> Node:
    found = _node(kind.resources, kind.labels, kind=kind.name)
    return Node(found.resources, kind.name, found.gpu_gib)


def _require_accelerator(wanted: str, nodes: Iterable[Node]) -> None:
    """Whether a node has accelerators of a type.

    Raises:
        ResourceError: none has.
    """
    there = sorted({name for node in nodes for name in node.accelerators})
    if wanted not in there:
        raise ResourceError(
            f"resources.accelerator_type must be one that the cluster's nodes have, {' or '.join(there) or 'but they have none'}, "
            f"but got {wanted!r}; name another, or use a cluster that has it"
        )


def _with_gpu_memory(node: Node) -> Node:
    """The same node with the memory of its GPUs, which the node itself is asked for where nothing tells it."""
    if node.gpu_gib is not None or not node.resources.get("GPU"):
        return node
    here = NodeAffinitySchedulingStrategy(node.name, soft=False)
    try:
        found = ray.get(ray.remote(smallest_gpu_gib).options(num_cpus=0, scheduling_strategy=here).remote(), timeout=PROBE_S)
    except RayError:  # it does not answer, or is just being lost: its memory stays unknown, which is told where no other node holds a trial
        found = None
    return Node(node.resources, node.kind, found, node.name)


def smallest_gpu_gib() -> float | None:
    """Memory of this machine's smallest GPU in GiB, as its driver tells it; None where there is none or it does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = [float(line) / 1024 for line in told.splitlines() if line.strip().replace(".", "", 1).isdigit()]
    return min(sizes, default=None)


def _with_share(resources: Resources, nodes: Iterable[Node]) -> Resources:
    """The share of a GPU that a trial holds so that the memory of the smallest GPU that fits at all is enough for those beside it.

    Raises:
        ResourceError: no GPU has as much memory.
    """
    need, wanted = resources.gpu_memory_gib or 0.0, resources.accelerator_type
    nodes = [node for node in nodes if node.resources.get("GPU") and wanted in (None, *node.accelerators)]
    sizes = [node.gpu_gib for node in nodes if node.gpu_gib is not None]
    fitting = [size for size in sizes if size >= need]
    if not fitting:
        largest = f"the largest has {max(sizes):.4g} GiB" if sizes else "none is there whose memory is known"
        unknown = sorted({node.kind for node in nodes if node.gpu_gib is None})
        label = f", or give nodes of the type {' and '.join(unknown)} the label {GPU_MEMORY_LABEL}" if unknown else ""
        raise ResourceError(
            f"a trial must fit a GPU's memory, but asks for {need:g} GiB of it where {largest}; "
            f"lower resources.gpu_memory_gib and what the model needs{label}"
        )
    if resources.gpus >= 1:
        return resources
    share = max(GPU_STEPS // int(min(fitting) / need + ROUNDING), 1) / GPU_STEPS
    return resources.model_copy(update={"gpus": max(resources.gpus, share)})


def _nothing_holds(held: Resources, nodes: list[Node]) -> ResourceError:
    """What to say where no node holds a trial, with the largest numbers there are."""
    sizes: list[tuple[str, str, Any, str]] = [("CPU", "CPUs", held.cpus, "cpus"), ("GPU", "GPUs", held.gpus, "gpus")]
    if held.memory_gib is not None:
        sizes.append(("memory", "GiB of memory", held.memory_gib, "memory_gib"))
    unit = {"memory": GIB}
    asked = [f"{value:g} {word}" for _, word, value, _ in sizes]
    there = [f"{max((node.resources.get(name, 0) for node in nodes), default=0) / unit.get(name, 1):.4g}" for name, *_ in sizes]
    fields = [f"resources.{name}" for *_, name in sizes]
    of = f" of {held.accelerator_type}" if held.accelerator_type else ""
    return ResourceError(
        f"a trial must fit one node, but asks for {_listed(asked, 'and')}{of} where the largest node has {_listed(there, 'and')}; "
        f"lower {_listed(fields, 'or')}, or use a larger cluster"
    )


def _listed(words: list[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
