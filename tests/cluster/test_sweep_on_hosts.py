"""A sweep on three hosts, of which one dies and one is cut off, sent by a client that is switched off: `make cluster`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import Hosts, hosts_on_one_bridge, missing_here
from tests.cluster.ray_cluster import HEAD, RayCluster
from tests.sweeper.drivers import wait_for
from tests.sweeper.fault_place import NAME, PATIENCE_S, Place

TRIALS, EPOCHS = 12, 3
USER_MODELS = Path(__file__).parents[1] / "sweeper" / "user_models.py"

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing_here()), reason=missing_here())]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with hosts_on_one_bridge() as made:
        yield made


@pytest.mark.timeout(900)
def test_a_sweep_outlives_its_client_a_host_and_a_cable(hosts: Hosts) -> None:
    cluster = RayCluster(hosts)
    place = Place(hosts.shared, "", f"sqlite:///{hosts.shared / 'mlflow.db'}", TRIALS)
    cluster.up()

    place.write_spec(
        data={"name": "photos", "image_px": 32, "train": 192, "validation": 32, "test": 32},
        knobs={"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": [round(0.05 * step, 2) for step in range(TRIALS)]},
        budget={"trials": TRIALS, "epochs": EPOCHS},
    )
    (place.root / "mine.yaml").rename(cluster.client_folder / "mine.yaml")
    shutil.copy(USER_MODELS, cluster.client_folder)
    cluster.ask("sweep", "submit", "mine.yaml", "--address", cluster.dashboard)
    assert f"{TRIALS}" in cluster.ask("sweep", "status", NAME, "--address", cluster.dashboard)

    _until(lambda: len(place.events("result")) >= 4, "four steps must be done")
    hosts["two"].kill()
    cluster.until_nodes(HEAD, "one")
    _until_more_results(place)
    hosts.cut("one")
    cluster.until_nodes(HEAD)
    _until_more_results(place)
    hosts.mend("one")

    cluster.ask("sweep", "logs", NAME, "--address", cluster.dashboard, "--follow", patience_s=PATIENCE_S)
    found = place.finding()
    assert found.problems == ()
    assert (found.finished, found.lost, found.duplicated, found.running, found.study) == (TRIALS, 0, 0, 0, 0)
    assert {row["state"] for row in place.events("end")} == {"complete"}

    cluster.ask("python", "-m", "reports.build", "--out", "report")
    assert NAME in (cluster.client_folder / "report" / "index.md").read_text()
    cluster.down()


def _until_more_results(place: Place) -> None:
    before = len(place.events("result"))
    _until(lambda: len(place.events("result")) >= before + 2, "two more steps must be done")


def _until(condition: Callable[[], bool], what: str) -> None:
    if not wait_for(condition, PATIENCE_S):
        raise AssertionError(f"{what}, but nothing happens")
