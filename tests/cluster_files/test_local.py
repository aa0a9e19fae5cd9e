"""`clusters/local.yaml` through Ray's own reading; that its machines come up is tested on real hosts elsewhere."""

from collections.abc import Callable
from typing import Any

from ray.autoscaler._private.local.config import bootstrap_local


def test_every_named_machine_becomes_a_worker(accepted: Callable[[str], dict[str, Any]]) -> None:
    config = bootstrap_local(accepted("local"))

    machines = config["provider"]["worker_ips"]
    assert config["provider"]["head_ip"] not in machines
    only = config["available_node_types"][config["head_node_type"]]
    assert (only["min_workers"], only["max_workers"], config["max_workers"]) == (len(machines),) * 3
