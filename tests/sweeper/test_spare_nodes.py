"""Sweeps on GPUs, on a cluster that grows from nothing, and on nodes that go away: real Ray nodes, whose GPUs alone are pretended."""

import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.losses import WORKER_RESTARTS
from tests.sweeper.drivers import Driver, wait_for
from tests.sweeper.fault_machines import Cluster, free_port, marked
from tests.sweeper.fault_place import QUICK_WORKERS

PATIENCE_S = 400
SMALL_STORE = 80 * 2**20


class ToySweep:
    """A toy sweep in a process of its own, and what it has said so far."""

    def __init__(self, root: Path, environment: Mapping[str, str], **asked: Any) -> None:
        spec = {
            "name": "toy",
            "model": "toy",
            "data": {"name": "photos"},
            "knobs": {"shift": {"low": -1.0, "high": 1.0}},
            "search": {"algorithm": "random"},
            "seeds": 0,
            "pictures": 0,
        }
        asked = {"home": str(root), **asked, "spec": spec | asked["spec"]}
        command = [sys.executable, str(Path(__file__).with_name("toy_driver.py")), json.dumps(asked)]
        self.driver: Driver = marked(command, root, root / "driver.txt", {**environment, **QUICK_WORKERS})

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.driver.text.splitlines() if line.startswith("{") and line.endswith("}")]

    @property
    def notes(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "note"]

    def until(self, condition: Callable[[], bool]) -> None:
        assert wait_for(lambda: condition() or self.driver.process.poll() is not None, PATIENCE_S), self.driver.text
        assert condition(), self.driver.text

    def records(self) -> list[dict[str, Any]]:
        """The trials, once it has ended well."""
        assert self.driver.process.wait(PATIENCE_S) == 0, self.driver.text
        return [event for event in self.events if event["event"] == "record"]


@pytest.fixture
def ended() -> Iterator[list[Driver]]:
    """Processes of which nothing is left after the test."""
    drivers: list[Driver] = []
    yield drivers
    for driver in drivers:
        driver.end()


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH whose nvidia-smi tells of two GPUs of 48 GiB."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '49152\\n49152\\n'\n")
    tool.chmod(0o755)
    return f"{tool.parent}:{os.environ['PATH']}"


@pytest.mark.conformance
def test_trials_share_gpus_by_the_memory_they_need(
    tools: str, tmp_path: Path, driver_environment: dict[str, str], ended: list[Driver]
) -> None:
    ray = {"num_cpus": 8, "num_gpus": 2, "resources": {"accelerator_type:A100": 1}, "object_store_memory": SMALL_STORE}
    spec = {
        "budget": {"trials": 4, "epochs": 2},
        "resources": {"gpu_memory_gib": 20, "accelerator_type": "A100", "memory_gib": 0.01},
        "seeds": 1,
    }
    (tmp_path / "gate").write_text("0")
    sweep = ToySweep(tmp_path, driver_environment | {"PATH": tools, "TOY_GATE": str(tmp_path / "gate")}, ray=ray, spec=spec)
    ended.append(sweep.driver)
    sweep.until(lambda: sum(event["event"] == "started" for event in sweep.events) == 4)  # two on each GPU; none has trained a step yet
    (tmp_path / "gate").write_text("2")
    records = sweep.records()
    assert [record["state"] for record in records] == ["complete"] * 5
    assert {metrics["gpus_seen"] for record in records for metrics in record["results"].values()} == {1.0}


# --- nodes that come ---------------------------------------------------------------------------------------------------------------


STAGES = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
NOTHING_TO_SET_UP: dict[str, Any] = {
    **{f"{stage}_commands": [] for stage in STAGES},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    "file_mounts_sync_continuously": False,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
}


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_sweep_begins_where_no_node_is_yet_and_the_autoscaler_brings_them(
    tmp_path: Path, driver_environment: dict[str, str], ended: list[Driver]
) -> None:
    host, port = socket.gethostbyname(socket.gethostname()), free_port()
    cluster = {
        "cluster_name": "fake",
        "max_workers": 2,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"{host}:{port}",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu_worker": {
                "resources": {"CPU": 1, "GPU": 1, "object_store_memory": SMALL_STORE},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
    }
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(cluster | NOTHING_TO_SET_UP))
    fake = {"HOME": str(tmp_path), "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    nodes = Cluster(tmp_path, driver_environment | QUICK_WORKERS | fake)
    head = nodes.start_head(0, port, f"--autoscaling-config={tmp_path / 'ray_bootstrap_config.yaml'}")
    ended.append(head)
    spec = {"budget": {"trials": 4, "epochs": 2}, "resources": {"gpus": 1}}
    environment = {**driver_environment, **nodes.environment, "HOME": str(tmp_path)}
    sweep = ToySweep(tmp_path, environment, address=nodes.address, spec=spec)
    ended.append(sweep.driver)
    assert [record["state"] for record in sweep.records()] == ["complete"] * 4
    assert sweep.notes.count("no node that is up holds a trial: waiting for a node of the type gpu_worker") == 1


# --- nodes that go -----------------------------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_trial_outlives_more_nodes_than_it_may_crash_and_loses_a_step_of_each_at_most(
    tmp_path: Path, driver_environment: dict[str, str]
) -> None:
    losses = WORKER_RESTARTS + 2
    gate, trained = tmp_path / "gate", tmp_path / "trained"
    gate.write_text("0")
    nodes = Cluster(tmp_path, driver_environment | QUICK_WORKERS | {"TOY_GATE": str(gate), "TOY_TRAINED": str(trained)})
    try:
        nodes.start_head(0)
        node = nodes.start_node(1)
        spec = {"budget": {"trials": 1, "epochs": 2 * losses + 1}}
        sweep = ToySweep(tmp_path, {**driver_environment, **nodes.environment}, address=nodes.address, spec=spec)
        for number in range(losses):
            gate.write_text(str(2 * number + 2))
            sweep.until(lambda step=2 * number + 2: any(event.get("step") == step for event in sweep.events))
            node.end()
            node = nodes.start_node(1)
        gate.write_text(str(2 * losses + 1))
        (record,) = sweep.records()
        sweep.driver.end()
    finally:
        nodes.close()
    assert (record["state"], record["reason"]) == ("complete", "")
    steps = Counter(map(int, trained.read_text().split()))
    assert sorted(steps) == list(range(1, 2 * losses + 2))
    assert sum(steps.values()) <= 2 * losses + 1 + losses
    assert max(steps.values()) <= 2
    told = [note for note in sweep.notes if "its node is gone, and it goes on from its last checkpoint on another one" in note]
    assert len(told) >= losses
