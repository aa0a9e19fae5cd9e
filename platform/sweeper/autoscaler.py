"""The types of nodes that a cluster's autoscaler may add: from the environment, or from the file that `ray up` leaves on the head."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ray.exceptions import RayError

from sweeper.errors import ResourceError

VARIABLE = "SWEEP_NODE_TYPES"
BOOTSTRAP_FILE = "~/ray_bootstrap_config.yaml"
HEAD = "node:__internal_head__"
TYPE_LABEL = "sweep/node-type"
ANSWER_S = 60


class NodeType(BaseModel):
    """Nodes that may come.

    Attributes:
        name: of the type, as the autoscaler has it.
        resources: of one node, as Ray names and counts them.
        labels: of each node.
        max_workers: greatest number of them.
    """

    model_config = ConfigDict(frozen=True)

    name: str = ""
    resources: dict[str, float] = {}
    labels: dict[str, str] = {}
    max_workers: int = Field(1, ge=0)

    @property
    def label(self) -> str:
        """The type that a label names, where it has one."""
        return self.labels.get(TYPE_LABEL, self.name)


def node_types_to_come() -> tuple[tuple[NodeType, ...], int | None]:
    """The types of nodes that the autoscaler of the cluster that this process is connected to may add.

    Returns:
        The types, the head's left out, and the greatest number of workers of all types together; None = no such limit.

    Raises:
        ResourceError: the environment variable cannot be read.
    """
    told = os.environ.get(VARIABLE)
    if told:
        return _from_variable(told), None
    text = _on_head()
    return _from_bootstrap(yaml.safe_load(text)) if text else ((), 0)


def _from_variable(told: str) -> tuple[NodeType, ...]:
    """The types that the environment variable names.

    Raises:
        ResourceError: it is not as it should be.
    """
    try:
        found = TypeAdapter(dict[str, NodeType]).validate_python(json.loads(told))
    except (json.JSONDecodeError, ValidationError) as error:
        raise ResourceError(
            f'{VARIABLE} must be JSON like {{"gpu_worker": {{"resources": {{"CPU": 8, "GPU": 1}}, "max_workers": 4}}}}, '
            f"but got {told!r} ({str(error).splitlines()[0]}); mend or unset it"
        ) from error
    return tuple(kind.model_copy(update={"name": name}) for name, kind in found.items())


def _from_bootstrap(config: Mapping[str, Any]) -> tuple[tuple[NodeType, ...], int | None]:
    """The types in a cluster's file, as `ray up` has filled it in."""
    limit = config.get("max_workers", 0)
    head = config.get("head_node_type")
    types = []
    for name, kind in (config.get("available_node_types") or {}).items():
        workers = kind.get("max_workers", 0 if name == head else limit)
        labels = {key: str(value) for key, value in (kind.get("labels") or {}).items()}
        if workers:
            types.append(NodeType(name=name, resources=kind.get("resources") or {}, labels=labels, max_workers=workers))
    return tuple(types), limit


def bootstrap_text() -> str:
    """The cluster's file as `ray up` left it on this machine; "" where it left none."""
    file = Path(BOOTSTRAP_FILE).expanduser()
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _on_head() -> str:
    """The same on the cluster's head, wherever this process is; "" where the head does not answer."""
    here = ray.get_runtime_context().get_node_id()
    if any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes()):
        return bootstrap_text()
    try:
        asked = ray.remote(bootstrap_text).options(num_cpus=0, resources={HEAD: 0.001}).remote()
        return str(ray.get(asked, timeout=ANSWER_S))
    except RayError:
        return ""
