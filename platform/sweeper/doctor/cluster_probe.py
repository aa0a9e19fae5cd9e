"""Asks every node of a running cluster how it stands: a process of its own, `python -m sweeper.doctor.cluster_probe ADDRESS`.

Ray may hang, or end the process that asks; whoever started this one sees either from outside. What is to be asked comes as JSON on
standard input, the answer is the last line of standard output: {"error": text} or {"nodes": [one mapping a node]}.

As the main module's, `Probe` is sent to the nodes by value: a node on which the project is not installed answers too.
"""

import json
import sys
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.errors import ResourceError
from sweeper.nodes import check_resources
from sweeper.spec import Resources

PINGS = 5


class Probe:
    """Runs on one node. Its imports are its own, since it is sent by value."""

    def now(self) -> float:
        """The node's clock, in seconds since 1970."""
        import time

        return time.time()

    def report(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Versions, folders, room and GPUs of the node."""
        import os
        import platform
        import tempfile
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        versions = {"python": platform.python_version()}
        for name in asked["packages"]:
            try:
                versions[name] = version(name)
            except PackageNotFoundError:
                versions[name] = "not installed"
        data = asked["data"] or os.environ.get("SWEEP_DATA_DIR") or asked["usual_data"]
        folders = {
            "home": asked["home"],
            "data": str(Path(data).expanduser()),
            "temporary": os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(),
            "shared": "/dev/shm",
        }
        return {
            "versions": versions,
            "home_variable": os.environ.get("SWEEP_HOME"),
            "marked": (Path(asked["home"]) / asked["marker"]).exists(),
            "folders": {name: self.room(folder) for name, folder in folders.items()},
            "torch": self.torch(),
        }

    def room(self, folder: str) -> dict[str, Any]:
        """Whether a folder is there, can be written, and the room of its disk."""
        import os
        import shutil
        import tempfile

        if not os.path.isdir(folder):
            return {"folder": folder, "refused": "it is not there"}
        try:
            with tempfile.NamedTemporaryFile(prefix=".sweep-doctor-", dir=folder):
                pass
        except OSError as error:
            return {"folder": folder, "refused": error.strerror}
        usage, told = shutil.disk_usage(folder), os.statvfs(folder)
        return {"folder": folder, "free": usage.free, "total": usage.total, "free_files": told.f_favail if told.f_files else None}

    def torch(self) -> dict[str, Any]:
        """What torch finds of GPUs, asked in another process: Ray hides them from an actor that holds none."""
        import json
        import os
        import subprocess
        import sys

        code = "import json, torch; n = torch.cuda.device_count(); "
        code += "print(json.dumps({'cuda': torch.version.cuda, 'gpus': [torch.cuda.get_device_name(i) for i in range(n)]}))"
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    def images(self, prepare: str, data: dict[str, Any], mask: dict[str, Any]) -> dict[str, str]:
        """The fingerprint of a spec's images as this node sees them."""
        from importlib import import_module

        module, _, name = prepare.partition(":")
        try:
            return {"fingerprint": getattr(import_module(module), name)(data, mask).fingerprint}
        except Exception as error:  # whatever it is, it is this node's answer
            return {"error": str(error).strip() or type(error).__name__}


def ask(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Asks all alive nodes at once; one that does not answer in time has an "error"."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    places = [NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False) for node in nodes]
    probes = [ray.remote(Probe).options(num_cpus=0, scheduling_strategy=place).remote() for place in places]
    reports = [probe.report.remote(asked) for probe in probes]
    deadline = time.monotonic() + asked["node_s"]
    found = [_gathered(report, deadline) for report in reports]
    if asked["images"]:
        answers = [probe.images.remote(*asked["images"]) for probe in probes]
        deadline = time.monotonic() + asked["images_s"]
        for own, answer in zip(found, answers, strict=True):
            if "error" not in own:
                own["images"] = _gathered(answer, deadline)
    for own, probe in zip(found, probes, strict=True):
        if "error" not in own:
            own["clock_s"], own["clock_error_s"] = _clock(probe)
    return [
        own
        | {"node": f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", "id": node["NodeID"], "resources": node["Resources"]}
        for own, node in zip(found, nodes, strict=True)
    ]


def lacking(asked: dict[str, Any], address: str) -> str:
    """Why no node, nor any that may come, holds a trial; empty where one does, or where nothing is asked for."""
    if asked["resources"] is None:
        return ""
    try:
        check_resources(Resources(**asked["resources"]), address)
    except ResourceError as error:
        return str(error)
    return ""


def _gathered(answer: Any, deadline: float) -> dict[str, Any]:
    try:
        return dict(ray.get(answer, timeout=max(deadline - time.monotonic(), 0.1)))
    except Exception as error:  # one node's trouble is one node's finding
        return {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}


def _clock(probe: Any) -> tuple[float, float]:
    """By how much a node's clock is ahead of this one, and how exactly that is known: the quickest of several answers, in seconds."""
    found = []
    for _ in range(PINGS):
        before = time.time()
        there = ray.get(probe.now.remote(), timeout=10)
        after = time.time()
        found.append(((after - before) / 2, there - (before + after) / 2))
    error, ahead = min(found)
    return ahead, error


def main() -> None:
    """Connects, asks, prints."""
    asked = json.load(sys.stdin)
    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        answer = {"nodes": ask(asked), "ray": ray.__version__, "lacking": lacking(asked, sys.argv[1])}
    except Exception as error:  # Ray raises a bare Exception where a cluster does not come up
        answer = {"error": f"{type(error).__name__}: {str(error).strip()}"}
    print("\n" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
