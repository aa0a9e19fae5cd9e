"""`sweep doctor` on real clusters: Ray nodes as processes on this machine, each fault planted before a node starts."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.sweeper.drivers import COMMAND
from tests.sweeper.fault_machines import Cluster, NotPossibleHereError
from tests.sweeper.test_doctor import fault, planted, verdicts

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
PATIENCE_S = 600
ROOT = os.geteuid() == 0
OTHER_DISK = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']  # at the folder that follows, for one node alone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the nodes write, with a home in it."""
    root = tmp_path_factory.mktemp("cluster")
    (root / "home").mkdir()
    return root


@pytest.fixture(scope="module")
def environment(driver_environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in driver_environment.items() if not name.startswith("RAY_AUTH")}


@pytest.fixture(scope="module")
def cluster(place: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A head with a job server, and a node with other packages and another home."""
    made = Cluster(place, environment, {"RAY_gcs_rpc_server_connect_timeout_s": "60"})  # the nodes need not die quickly
    planted(place / "site", ray="2.59.0", torch="2.1.0")
    (place / "elsewhere").mkdir()
    other = {
        "PYTHONPATH": f"{place / 'site'}:{environment['PYTHONPATH']}",
        "SWEEP_HOME": str(place / "elsewhere"),
        "SWEEP_DATA_DIR": str(place / "no-data"),
    }
    try:
        made.start_head(1, dashboard=True)
        made.start_node(1, other, [*OTHER_DISK, str(place / "home")] if ROOT else ())
        yield made
    except NotPossibleHereError as error:
        pytest.skip(str(error))
    finally:
        made.close()


def examined(environment: dict[str, str], home: Path, *arguments: str) -> list[dict[str, str]]:
    """Runs the doctor in a process of its own."""
    command = [*COMMAND, "doctor", *arguments, "--home", str(home), "--json"]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return found


def test_each_nodes_faults_are_named(cluster: Cluster, environment: dict[str, str], place: Path) -> None:
    fields = {
        "name": "asks_for_a_gpu",
        "model": "cnn_autoencoder",
        "data": {"name": "faces"},
        "budget": {"trials": 1, "epochs": 1},
        "resources": {"gpus": 1},
    }
    (place / "spec.yaml").write_text(yaml.safe_dump(fields))
    with_token = environment | cluster.environment
    found = examined(with_token, place / "home", str(place / "spec.yaml"), "--address", cluster.address)
    fault(found, "versions", "ray 2.59.0 (here", "install requirements.lock")
    fault(found, "versions", "torch 2.1.0 (here", "install requirements.lock")
    fault(found, "home", f"SWEEP_HOME is {place / 'elsewhere'} there", f"export SWEEP_HOME={place / 'home'}")
    if ROOT:  # only root may give a node another disk
        fault(found, "home", "is another folder there than here", f"mount the shared storage at {place / 'home'}")
    fault(found, "resources", "asks for 1 CPUs and 1 GPUs where the largest node has 1 and 0", "lower resources.cpus or resources.gpus")
    fault(found, "images", "a folder of images must exist", "put the data there")
    assert verdicts(found)["clock"] == "ok"
    assert ("cluster", "2 nodes") in [(each["check"], each["found"]) for each in found]
    assert [each["node"].count(",") for each in found if each["check"] == "versions" and each["verdict"] == "fault"] == [0]
    assert list((place / "home").iterdir()) == []  # the mark is gone


def test_a_token_of_another_cluster(cluster: Cluster, environment: dict[str, str], place: Path) -> None:
    wrong = environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    found = examined(wrong, place / "home", "--address", cluster.address)
    fault(found, "cluster", "lets nobody in", "copy the head's ~/.ray/auth_token")
    found = examined(wrong, place / "home", "--address", cluster.job_server)
    fault(found, "job server", "refuses the token", "copy the head's ~/.ray/auth_token")
    found = examined(environment | cluster.environment, place / "home", "--address", cluster.job_server)
    assert verdicts(found)["job server"] == "ok"
