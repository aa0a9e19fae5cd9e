"""A sweep on three hosts, of which one dies and one is cut off, sent by a client that is there no longer: `make cluster`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import SHARED, Hosts, hosts_on_one_bridge, missing_here
from tests.cluster.ray_cluster import HEAD, PATIENCE_S, RayCluster
from tests.sweeper.drivers import wait_for
from tests.sweeper.fault_place import NAME, Place

TRIALS = 12
MODEL = Path(__file__).with_name("waiting_model.py")
SPEC = {
    "model": "waiting_model:Waiting",
    "data": {"name": "photos", "image_px": 32, "train": 96, "validation": 32, "test": 32},
    "knobs": {
        "base_filters": 16,
        "bottleneck": 256,
        "batch_images": 32,
        "gates": f"{SHARED}/gates",
        "dropout": [round(0.05 * step, 2) for step in range(TRIALS)],
    },
    "budget": {"trials": TRIALS, "epochs": 3},
}

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing_here()), reason=missing_here())]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with hosts_on_one_bridge() as made:
        yield made


@pytest.mark.timeout(3600)
def test_a_sweep_outlives_its_client_a_host_and_a_cable(hosts: Hosts) -> None:
    cluster = RayCluster(hosts)
    cluster.up()
    place = Place(hosts.shared, "", f"sqlite:///{hosts.shared / 'mlflow.db'}", TRIALS)
    _submit(cluster, place)

    _until_results(cluster, place, 3)  # a trial on each host has done its first epoch, and waits
    hosts["two"].kill()
    cluster.until_nodes(HEAD, "one")
    _open_gate(place, 1)
    _until_results(cluster, place, 5)
    hosts.cut("one")
    cluster.until_nodes(HEAD)
    _open_gate(place, 2)
    _until_results(cluster, place, 6)
    hosts.mend("one")
    assert f"{NAME} is running" in cluster.ask("sweep", "status", NAME, "--address", cluster.dashboard)

    told = cluster.ask("sweep", "logs", NAME, "--address", cluster.dashboard, "--follow")
    assert "its driver has ended: succeeded" in told
    found = place.finding()
    assert found.problems == ()
    assert (found.finished, found.lost, found.duplicated, found.running, found.study) == (TRIALS, 0, 0, 0, 0)
    assert {event["state"] for event in place.events("end")} == {"complete"}
    cluster.until_nodes(HEAD, "one")  # the autoscaler has started Ray again on the host that was cut off

    cluster.ask("python", "-m", "reports.build", "--out", "report")
    assert NAME in (cluster.client_folder / "report" / "index.md").read_text()
    cluster.down()
    with pytest.raises(AssertionError, match="refused"):
        cluster.nodes()


def _submit(cluster: RayCluster, place: Place) -> None:
    """Sends the sweep from the client's own folder; the client's process ends with it."""
    (place.root / "gates").mkdir()
    place.write_spec(**SPEC)
    shutil.move(place.root / "mine.yaml", cluster.client_folder)
    shutil.copy(MODEL, cluster.client_folder)
    cluster.ask("sweep", "submit", "mine.yaml", "--address", cluster.dashboard)


def _open_gate(place: Place, epoch: int) -> None:
    (place.root / "gates" / str(epoch)).touch()


def _until_results(cluster: RayCluster, place: Place, count: int) -> None:
    if not wait_for(lambda: len(place.events("result")) >= count, PATIENCE_S):
        told = cluster.ask("sweep", "logs", NAME, "--address", cluster.dashboard)
        raise AssertionError(f"{count} epochs must be done, but {len(place.events('result'))} are: {told}")
