"""A Ray cluster on the hosts, started from a client by the launcher with `clusters/local.yaml`, as a user would start it."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import ROOT, Hosts
from tests.sweeper.drivers import wait_for

HEAD, WORKERS, CLIENT = "head", ("one", "two"), "client"
PATIENCE_S = 900  # for a busy machine; nothing waits longer than it must
# what this small machine needs beyond the file: as many trials at once as there are hosts, little memory each, no project to install
RAY_START = "ray start --num-cpus=1 --object-store-memory=100000000 --disable-usage-stats"
SETTINGS = "SWEEP_INSTALL=none RAY_worker_niceness=0"
LOOK_AT_NODES = """
import json, os, pathlib, sys, urllib.request
token = pathlib.Path("~/.ray/auth_token").expanduser().read_text().strip()
question = urllib.request.Request(sys.argv[1] + "/api/v0/nodes?detail=0", headers={"Authorization": f"Bearer {token}"})
print("ALIVE", json.dumps([node["node_ip"] for node in json.load(urllib.request.urlopen(question, timeout=30))["data"]["result"]["result"]
      if node["state"] == "ALIVE"]))
"""


class RayCluster:
    """A head and two workers of one CPU each, and a client that is no part of it.

    Attributes:
        store: MLflow's address.
        dashboard: the job server's address.
        client_folder: where the client's commands begin, as the machine sees it.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        # as an installed wheel would give it, whichever checkout the environment was made for
        environment = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
        for name in (HEAD, *WORKERS):
            hosts.add(name, environment)
        self.store = f"http://{hosts[HEAD].address}:5000"
        self.dashboard = f"http://{hosts[HEAD].address}:8265"
        self.client_folder = hosts.folder / "client"
        self.client_folder.mkdir()
        environment |= {"RAY_AUTH_MODE": "token", "RAY_UP_enable_autoscaler_v2": "0", "MLFLOW_TRACKING_URI": self.store}
        self._client = hosts.add(CLIENT, environment, self.client_folder)
        self._output = hosts.folder / "client-commands.txt"

    def ask(self, *arguments: str, patience_s: float = PATIENCE_S) -> str:
        """Runs a command on the client and gives what it has written."""
        return self._client.run(*arguments, output=self._output, patience_s=patience_s)

    def up(self) -> None:
        """`ray up`, then waits for all nodes."""
        self.ask("ray", "get-auth-token", "--generate")
        (self.client_folder / "local.yaml").write_text(yaml.safe_dump(self._variant(), sort_keys=False))
        self.ask("ray", "up", "--yes", "local.yaml")
        self.until_nodes(HEAD, *WORKERS)

    def down(self) -> None:
        self.ask("ray", "down", "--yes", "local.yaml")

    def until_nodes(self, *names: str) -> None:
        """Waits until these hosts, and no others, are nodes that are alive.

        Raises:
            AssertionError: it did not come to that.
        """
        addresses = {self.hosts[name].address for name in names}
        if not wait_for(lambda: self.nodes() == addresses, PATIENCE_S, poll_s=1):
            raise AssertionError(f"the nodes must be {addresses}, but are {self.nodes()}")

    def nodes(self) -> set[str]:
        """Addresses of the nodes that are alive, as the head sees it."""
        told = self.ask("python", "-S", "-c", LOOK_AT_NODES, self.dashboard)
        return set(json.loads(told.rpartition("ALIVE")[2]))

    def _variant(self) -> dict[str, Any]:
        """`clusters/local.yaml` for these hosts."""
        fields: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / "local.yaml").read_text())
        fields["provider"] |= {
            "head_ip": self.hosts[HEAD].address,
            "worker_ips": [self.hosts[name].address for name in WORKERS],
        }
        fields["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/sweep_key"}
        installed = ("dist", "requirements.lock")
        fields["file_mounts"] = {
            there: here if here.startswith("~") else str(ROOT / here)
            for there, here in fields["file_mounts"].items()
            if Path(here).name not in installed
        }
        fields["setup_commands"][0] = fields["setup_commands"][0].replace("SWEEP_INSTALL=wheel", SETTINGS)
        for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
            fields[commands] = [command.replace("ray start", RAY_START) for command in fields[commands]]
        return fields
