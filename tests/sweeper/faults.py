"""Real sweeps to which something real happens: processes killed, a store or a disk taken away; for test_faults.py and the benchmark."""

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sweeper.checkpoints import FolderPlace
from sweeper.journal import ENDED, read_trials
from sweeper.tracking import Store
from tests.sweeper.drivers import Driver
from tests.sweeper.fault_machines import Cluster, NotPossibleHereError, Server, fill_up, memory_gib, small_disk
from tests.sweeper.fault_place import NAME, PATIENCE_S, Finding, Place
from tests.sweeper.user_models import GREED_GIB

__all__ = ["CASES", "Finding", "NotPossibleHereError", "play"]

CPUS = 2
MOST_MEMORY = 0.8
AWAY_S, OUTLIVES_S = 60.0, 150.0  # the sweep outlives the time without a store
SMALL = {"base_filters": 16, "bottleneck": 256, "batch_images": 32}


# --- processes ---------------------------------------------------------------------------------------------------------------------


def worker_killed(place: Place) -> None:
    """kill -9 of a worker in mid-training."""
    place.write_spec()
    driver = place.run()
    place.until_results(driver, 2)
    last = place.events("result")[-1]
    os.kill(int(last["metrics"]["pid"]), signal.SIGKILL)
    begun_s = time.monotonic()

    def goes_on() -> bool:
        mine = [event["metrics"]["pid"] for event in place.events("result") if event["trial"] == last["trial"]]
        return mine[-1] != last["metrics"]["pid"]

    place.until(driver, goes_on)
    place.recover_s = time.monotonic() - begun_s
    place.ends(driver)


def driver_killed_after(delay_s: float, event: str = "start") -> Callable[[Place], None]:
    """kill -9 of the driver so many seconds after the first event of a kind."""

    def scenario(place: Place) -> None:
        place.write_spec()
        driver = place.run()
        place.until(driver, lambda: bool(place.events(event)))
        time.sleep(delay_s)
        place.kill(driver)
        place.resume()

    return scenario


def driver_killed_at_random(place: Place) -> None:
    """kill -9 of the driver at a random moment of its training, twice."""
    place.write_spec()
    driver = place.run()
    for _ in range(2):
        place.until(driver, lambda: bool(place.events("start")))
        time.sleep(random.uniform(0, 3))
        place.kill(driver)
        driver = place.start("resume", NAME)
    place.kill(driver)
    place.resume()


def interrupted_after(delay_s: float, event: str = "start") -> Callable[[Place], None]:
    """Ctrl-C so many seconds after the first event of a kind; the sweep may have been faster."""

    def scenario(place: Place) -> None:
        place.write_spec()
        driver = place.run()
        place.until(driver, lambda: bool(place.events(event)))
        time.sleep(delay_s)
        os.killpg(driver.process.pid, signal.SIGINT)
        code = driver.process.wait(PATIENCE_S)
        if code not in (0, 130):
            raise AssertionError(f"exit code {code} after Ctrl-C: {driver.text}")
        statuses = set(Store(f"sqlite:///{place.root / 'mlflow.db'}", create=False).trials(NAME).get("status", []))
        if "RUNNING" in statuses:
            raise AssertionError("a run was RUNNING after Ctrl-C")
        if code:
            place.resume()

    return scenario


def two_drivers(place: Place) -> None:
    """A second driver on the same name is refused, the first goes on."""
    mark = place.root / "mark"
    place.write_spec(knobs={"fate": "patient", "mark": str(mark), "dropout": [0.0, 0.1, 0.2], **SMALL})
    first = place.run()
    place.until_results(first, 1)
    second = place.start("resume", NAME)
    place.ends(second, 2)
    mark.touch()
    if "one process at a time may run a sweep" not in second.text:
        raise AssertionError(second.text)
    place.recover_s = 0.0
    place.ends(first)


# --- training ----------------------------------------------------------------------------------------------------------------------


def training_goes_wrong(place: Place) -> None:
    """A loss that is not finite, and trials without enough memory: once, and always."""
    knobs = {"fate": ["nan", "crowded", "hungry", "well"], "mark": str(place.root / "mark"), **SMALL}
    place.trials = 4
    place.write_spec(knobs=knobs, budget={"trials": 4, "epochs": 3})
    driver = place.run()
    place.until(driver, lambda: bool(place.events("note")))
    noted_s = time.monotonic()
    place.ends(driver)
    place.recover_s = time.monotonic() - noted_s
    states = {record.knobs["fate"]: record.state for record in read_trials(place.folder).values()}
    if states != {"nan": "diverged", "crowded": "complete", "hungry": "failed", "well": "complete"}:
        raise AssertionError(f"the trials ended as {states}")


def memory_taken(place: Place) -> None:
    """A trial takes the node's memory until Ray ends its process: it runs again alone, and nothing else is lost."""
    place.write_spec(knobs={"fate": ["greedy", "well"], "mark": str(place.root / "mark"), **SMALL}, budget={"trials": 2, "epochs": 3})
    place.trials = 2
    total, free = memory_gib()
    threshold = 1 - (free - GREED_GIB / 2) / total
    if threshold > MOST_MEMORY:
        raise NotPossibleHereError(f"{GREED_GIB} GiB of memory must be free beside what all else may take, but {free:.1f} GiB are")
    driver = place.run(environment={"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"})
    place.until(driver, lambda: any(event["kind"] == "out_of_memory" for event in place.events("note")))
    noted_s = time.monotonic()
    place.ends(driver)
    place.recover_s = time.monotonic() - noted_s
    states = [record.state for record in read_trials(place.folder).values()]
    if states != ["complete", "complete"]:
        raise AssertionError(f"the trials ended as {states}: {driver.text}")


def checkpoint_truncated(place: Place) -> None:
    """The newest checkpoint of an interrupted trial is cut in half: the one before is used."""
    place.write_spec()
    driver = place.run()
    place.until(driver, lambda: max(Counter(event["trial"] for event in place.events("result")).values(), default=0) >= 3)
    place.kill(driver)
    for trial, record in read_trials(place.folder).items():
        found = [place.folder / "checkpoints" / name for name in FolderPlace(place.folder / "checkpoints").names(trial)]
        if found and record.state not in ENDED and (found[0] / "checkpoint.pt").exists():
            os.truncate(found[0] / "checkpoint.pt", (found[0] / "checkpoint.pt").stat().st_size // 2)
    place.resume()


# --- storage -----------------------------------------------------------------------------------------------------------------------


def storage_full(place: Place) -> None:
    """The disk of the sweeps fills up, is freed, and the sweep goes on."""
    with small_disk(place.root / "sweeps"):
        place.write_spec()
        driver = place.run()
        place.until_results(driver, 2)
        fill_up(place.root / "sweeps" / "filler")
        _stopped_by_storage(place, driver, "MiB free")
        (place.root / "sweeps" / "filler").unlink()
        place.resume()
        shutil.copytree(place.root / "sweeps", place.root / "copied")
    shutil.rmtree(place.root / "sweeps")
    (place.root / "copied").rename(place.root / "sweeps")


def storage_gone(place: Place) -> None:
    """The sweep's folder vanishes, comes back, and the sweep goes on."""
    place.write_spec()
    driver = place.run()
    place.until_results(driver, 2)
    place.folder.rename(place.root / "away")
    _stopped_by_storage(place, driver, "is gone", folder=place.root / "away")
    shutil.rmtree(place.folder, ignore_errors=True)
    (place.root / "away").rename(place.folder)
    place.resume()


def _stopped_by_storage(place: Place, driver: Driver, told: str, folder: Path | None = None) -> None:
    place.ends(driver, 2)
    errors = driver.text.count("error a sweep's folder")
    if told not in driver.text or errors != 1 or "sweep resume" not in driver.text:
        raise AssertionError(f"one message must tell of the storage, but {errors} do: {driver.text}")
    read_trials(folder or place.folder)
    statuses = set(Store(f"sqlite:///{place.root / 'mlflow.db'}", create=False).trials(NAME)["status"])
    if "RUNNING" in statuses:
        raise AssertionError("a run was RUNNING after the sweep had ended")


# --- the store ---------------------------------------------------------------------------------------------------------------------


def store_away(place: Place) -> None:
    """The MLflow server is killed for a minute of a sweep."""
    _with_server(place, for_good=False)


def store_away_for_good(place: Place) -> None:
    """The MLflow server is killed for the rest of a sweep; `sweep sync` sends everything later, and once."""
    _with_server(place, for_good=True)


def _with_server(place: Place, *, for_good: bool) -> None:
    server = Server(place.root, place.environment)
    place.store = server.uri
    if for_good:
        place.write_spec()
    else:
        place.trials = CPUS
        place.write_spec(budget={"trials": place.trials, "epochs": 1e6, "wall_s": OUTLIVES_S})
    try:
        server.start()
        driver = place.run()
        place.until_results(driver, 2)
        server.kill()
        if not for_good:
            begun_s, before = time.monotonic(), len(place.events("result"))
            place.until(driver, lambda: time.monotonic() - begun_s > AWAY_S)
            if len(place.events("result")) <= before:
                raise AssertionError(f"no trial went on while the store was away: {driver.text}")
            begun_s = time.monotonic()
            server.start()
            place.ends(driver)
            place.recover_s = time.monotonic() - begun_s
        else:
            place.ends(driver)
            if f"sweep sync {NAME}" not in driver.text or f"{NAME}, from its journal" not in driver.text:
                raise AssertionError(f"what to type must be told, but is not: {driver.text}")
            server.start()
            for _ in range(2):
                begun_s = time.monotonic()
                place.ends(place.start("sync", NAME))
                place.recover_s = time.monotonic() - begun_s
        _keep_finding(place)
    finally:
        server.kill()


# --- nodes -------------------------------------------------------------------------------------------------------------------------


def node_killed(place: Place) -> None:
    """kill -9 of everything on one of two nodes, while trials run on it."""
    cluster = Cluster(place.root, place.environment)
    place.write_spec()
    try:
        cluster.start_head(1)
        node = cluster.start_node(1)
        driver = place.run("--address", cluster.address, environment=cluster.environment)
        place.until_results(driver, 2)
        begun_s, lines = time.monotonic(), len(place.events("result"))
        node.end()
        place.until(driver, lambda: len(place.events("result")) > lines + 1)
        place.recover_s = time.monotonic() - begun_s
        place.ends(driver)
    finally:
        cluster.close()


def head_killed(place: Place) -> None:
    """kill -9 of the only node, the head; the sweep goes on on a new cluster."""
    cluster = Cluster(place.root, place.environment)
    place.write_spec()
    try:
        head = cluster.start_head(CPUS)
        driver = place.run("--address", cluster.address, environment=cluster.environment)
        place.until_results(driver, 2)
        head.end()
        driver.process.wait(PATIENCE_S)
        cluster.start_head(CPUS)
        place.resume("--address", cluster.address, environment=cluster.environment)
    finally:
        cluster.close()


# --- all of them -------------------------------------------------------------------------------------------------------------------

CASES: dict[str, Callable[[Place], None]] = {
    "worker killed": worker_killed,
    "driver killed as a trial starts": driver_killed_after(0.0),
    "driver killed 0.03 s after": driver_killed_after(0.03),
    "driver killed 0.1 s after": driver_killed_after(0.1),
    "driver killed after a step": driver_killed_after(0.0, "result"),
    "driver killed at a trial's end": driver_killed_after(0.0, "end"),
    "driver killed at random": driver_killed_at_random,
    "node killed": node_killed,
    "head node killed": head_killed,
    "store away for a minute": store_away,
    "store away for the rest": store_away_for_good,
    "storage full": storage_full,
    "storage gone": storage_gone,
    "truncated checkpoint": checkpoint_truncated,
    "NaN, out of memory": training_goes_wrong,
    "memory taken": memory_taken,
    "Ctrl-C as it begins": interrupted_after(0.0, "sweep"),
    "Ctrl-C as a trial starts": interrupted_after(0.0),
    "Ctrl-C in training": interrupted_after(0.5, "result"),
    "Ctrl-C at a trial's end": interrupted_after(0.0, "end"),
    "two drivers": two_drivers,
}


def _keep_finding(place: Place) -> None:
    """Looks at the store while its server is there."""
    place.found = place.finding()


def play(case: str, data_dir: str) -> Finding:
    """Plays a case in a folder of its own; leaves no process and no file.

    Raises:
        NotPossibleHereError: this machine does not allow it.
        AssertionError: something else than the finding was not as it should be.
    """
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    place = Place(root, data_dir)
    try:
        CASES[case](place)
        return place.found or place.finding()
    finally:
        place.close()
        shutil.rmtree(root, ignore_errors=True)
