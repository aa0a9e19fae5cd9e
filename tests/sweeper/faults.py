"""Real sweeps to which something real happens: processes killed, a store or a disk taken away. Shared by test_faults.py and the benchmark.

Each scenario gives a `Finding`: what is in journal, store and study after the fault and the recovery from it.
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from mlflow import MlflowClient

from sweeper.journal import ENDED, read_events, read_trials
from sweeper.retention import checkpoints_of
from sweeper.tracking import Store
from tests.sweeper.drivers import MARK, Driver, start_driver, wait_for

NAME, TRIALS, EPOCHS = "faulty", 3, 6
ROOT = Path(__file__).resolve().parents[2]
SEARCH_PATH = [str(ROOT / "platform"), str(ROOT), str(Path(__file__).parent)]
CPUS = 2
PATIENCE_S = 400  # for a busy machine; nothing waits longer than it must
DISK_MIB = 48
SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
QUICK_NODES = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


class NotPossibleHereError(RuntimeError):
    """This machine does not allow what a scenario needs."""


@dataclass(frozen=True)
class Finding:
    """What a sweep came to.

    Attributes:
        finished: trials with an end in the journal.
        lost: trials without an end, or whose run lacks something that the journal has.
        duplicated: ends, runs and points beyond the first.
        running: runs that the store has as RUNNING, and trials that the study has so.
        study: trials that the study should have and has not, or has too many.
        recover_s: from the fault, or from the start of what recovers from it, to the next sign of life.
        problems: the above in words; empty where all is well.
    """

    finished: int
    lost: int
    duplicated: int
    running: int
    study: int
    recover_s: float
    problems: tuple[str, ...]


@dataclass
class Place:
    """A home folder with a sweep, the processes that work on it, and what recovery took.

    Attributes:
        root: the home folder.
        data_dir: folder of the prepared images.
        store: MLflow's address; empty = the default in the home folder.
        trials: how many trials the sweep has.
        recover_s: see `Finding`.
        found: what was found while a server was there that is no longer.
    """

    root: Path
    data_dir: str
    store: str = ""
    trials: int = TRIALS
    recover_s: float = float("nan")
    found: Finding | None = None
    _drivers: list[Driver] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.root / "sweeps" / NAME

    @property
    def environment(self) -> dict[str, str]:
        hidden = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEP_HOME")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return kept | {"PYTHONPATH": os.pathsep.join(SEARCH_PATH), "SWEEP_DATA_DIR": self.data_dir}

    def write_spec(self, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "name": NAME,
            "model": "user_models:Fateful",
            "data": {"name": "photos", "image_px": 32, "train": 96, "validation": 32, "test": 32, "data_dir": self.data_dir},
            "knobs": {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": [0.0, 0.1, 0.2]},
            "search": {"algorithm": "grid"},
            "budget": {"trials": self.trials, "epochs": EPOCHS},
            "seeds": 0,
            "pictures": 0,
        }
        (self.root / "mine.yaml").write_text(yaml.safe_dump(fields | changes))

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Driver:
        """Starts `sweep ARGUMENTS` on this place."""
        options = ["--store", self.store] if self.store else []
        output = self.root / f"output-{len(self._drivers)}.txt"
        self._drivers.append(start_driver([*arguments, *options], self.root, output, self.environment | dict(environment or {})))
        return self._drivers[-1]

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Driver:
        return self.start("run", str(self.root / "mine.yaml"), *arguments, environment=environment)

    def resume(self, *arguments: str, environment: Mapping[str, str] | None = None, code: int = 0) -> Driver:
        """Resumes the sweep to its end; notes the seconds to the first new line of the journal."""
        begun_s, lines = time.monotonic(), len(self.events())
        driver = self.start("resume", NAME, *arguments, environment=environment)
        self.until(driver, lambda: len(self.events()) > lines)
        self.recover_s = time.monotonic() - begun_s
        self.ends(driver, code)
        return driver

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [event for event in read_events(self.folder / "journal.jsonl") if kind in (None, event["event"])]

    def until(self, driver: Driver, condition: Callable[[], bool]) -> None:
        """Waits for something that a driver does.

        Raises:
            AssertionError: it ended before, or did nothing for long.
        """
        found = wait_for(lambda: condition() or driver.process.poll() is not None, PATIENCE_S)
        if not found or not condition():
            raise AssertionError(f"the driver did not come to that: {driver.text}")

    def until_results(self, driver: Driver, count: int) -> None:
        self.until(driver, lambda: len(self.events("result")) >= count)

    def ends(self, driver: Driver, code: int = 0) -> None:
        """Waits for a driver's end.

        Raises:
            AssertionError: another exit code, or a traceback on the screen.
        """
        found = driver.process.wait(PATIENCE_S)
        if found != code or "Traceback (most recent call last)" in driver.text:
            raise AssertionError(f"exit code {found} instead of {code}: {driver.text}")

    def kill(self, driver: Driver) -> None:
        """kill -9, then waits until Ray's processes have noticed."""
        driver.process.kill()
        driver.process.wait()
        if not wait_for(lambda: not driver.left_over(), PATIENCE_S):
            raise AssertionError(f"processes were left over: {driver.left_over()}")

    def close(self) -> None:
        for driver in self._drivers:
            driver.end()

    def finding(self) -> Finding:
        """Compares journal, store and study."""
        records = read_trials(self.folder)
        expected = {f"search-{number:04d}" for number in range(self.trials)}
        ended = {trial for trial, record in records.items() if record.state in ENDED}
        problems = [f"{trial} has no end" for trial in sorted(expected - ended)]
        missing = set(expected - ended)
        ends = Counter(event["trial"] for event in self.events("end"))
        twice = [f"{trial} ended {count} times" for trial, count in ends.items() if count > 1]
        store = Store(self.store or f"sqlite:///{self.root / 'mlflow.db'}", create=False)
        rows = store.trials(NAME).to_dict("records")
        runs = Counter(row["trial"] for row in rows)
        twice += [f"{trial} has {count} runs" for trial, count in runs.items() if count > 1]
        running = [f"the run of {row['trial']} is RUNNING" for row in rows if row["status"] == "RUNNING"]
        for trial in sorted(ended):
            record = records[trial]
            row = next((row for row in rows if row["trial"] == trial), None)
            if row is None or row["state"] != record.state:
                problems.append(f"{trial} is not in the store as {record.state}")
                missing.add(trial)
                continue
            lacking, doubled = _compare(MlflowClient(store.uri), row["run_id"], record.results)
            if lacking:
                missing.add(trial)
                problems.append(f"{trial} lacks {lacking}")
            twice += [f"{trial} has {name} {count} times" for name, count in doubled.items()]
        sweep = store.sweep(NAME)
        if sweep is None or store.client.get_run(sweep.run_id).info.status == "RUNNING":
            running.append("the sweep's own run is not there, or RUNNING")
        study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{self.folder / 'study.db'}")
        states = Counter(trial.state.name for trial in study.trials)
        orphans = states["RUNNING"]
        told = self.trials - sum(states[name] for name in ("COMPLETE", "PRUNED", "FAIL"))
        problems += twice + running + ([f"the study has {dict(states)}"] if orphans or told else [])
        return Finding(len(ended), len(missing), len(twice), len(running) + orphans, abs(told), self.recover_s, tuple(problems))


def _compare(client: MlflowClient, run_id: str, results: Mapping[int, Mapping[str, float]]) -> tuple[list[str], dict[str, int]]:
    """What a run lacks of the journal's results, and what it has more than once."""
    lacking, doubled = [], {}
    for name in sorted({name for metrics in results.values() for name in metrics}):
        expected = [(step, metrics[name]) for step, metrics in sorted(results.items()) if name in metrics]
        points = sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
        if repr(sorted(set(points))) != repr(sorted(set(expected))):
            lacking.append(name)
        steps = Counter(step for step, _ in points)
        if max(steps.values(), default=0) > 1:
            doubled[name] = max(steps.values())
    return lacking, doubled


# --- processes ---------------------------------------------------------------------------------------------------------------------


def worker_killed(place: Place) -> None:
    """kill -9 of a worker in mid-training."""
    place.write_spec()
    driver = place.run()
    place.until_results(driver, 2)
    last = place.events("result")[-1]
    os.kill(int(last["metrics"]["pid"]), signal.SIGKILL)
    begun_s = time.monotonic()
    place.until(driver, lambda: any(event["metrics"]["pid"] != last["metrics"]["pid"] for event in place.events("result")[-1:]))
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
    place.write_spec()
    first = place.run()
    place.until_results(first, 1)
    second = place.start("resume", NAME)
    place.ends(second, 2)
    if "one process at a time may run a sweep" not in second.text:
        raise AssertionError(second.text)
    place.recover_s = 0.0
    place.ends(first)


# --- training ----------------------------------------------------------------------------------------------------------------------


def training_goes_wrong(place: Place) -> None:
    """A loss that is not finite, and trials without enough memory: once, and always."""
    knobs = {"fate": ["nan", "crowded", "hungry", "well"], "mark": str(place.root / "mark"), "base_filters": 16, "bottleneck": 256}
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


def checkpoint_truncated(place: Place) -> None:
    """The newest checkpoint of an interrupted trial is cut in half: the one before is used."""
    place.write_spec()
    driver = place.run()
    place.until(driver, lambda: max(Counter(event["trial"] for event in place.events("result")).values(), default=0) >= 3)
    place.kill(driver)
    for trial, record in read_trials(place.folder).items():
        found = checkpoints_of(place.folder / "checkpoints", trial)
        if found and record.state not in ENDED and (found[0] / "checkpoint.pt").exists():
            os.truncate(found[0] / "checkpoint.pt", (found[0] / "checkpoint.pt").stat().st_size // 2)
    place.resume()


# --- storage -----------------------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of a few MiB at a folder.

    Raises:
        NotPossibleHereError: only root may mount.
    """
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        raise NotPossibleHereError(f"a disk must be mounted, which this user may not: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def storage_full(place: Place) -> None:
    """The disk of the sweeps fills up, is freed, and the sweep goes on."""
    with small_disk(place.root / "sweeps"):
        place.write_spec()
        driver = place.run()
        place.until_results(driver, 2)
        free = shutil.disk_usage(place.root / "sweeps").free
        (place.root / "sweeps" / "filler").write_bytes(bytes(max(free - 2**18, 0)))
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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A real MLflow server on SQLite."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._root = root
        self._environment = environment
        self._port = free_port()
        self._process: Driver | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._root / 'server.db'}", "--artifacts-destination", str(self._root / "kept")]
        self._process = marked(command, self._root, self._root / "server.txt", {**self._environment, **SERVER})
        if not wait_for(self._answers, PATIENCE_S):
            raise AssertionError(self._process.text)

    def kill(self) -> None:
        if self._process is not None:
            self._process.end()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b"OK" in connection.recv(4096)
        except OSError:
            return False


def marked(command: list[str], root: Path, output: Path, environment: Mapping[str, str]) -> Driver:
    """Starts any command as `drivers.start_driver` starts a driver."""
    mark = secrets.token_hex(16)
    with open(output, "ab") as file:
        process = subprocess.Popen(
            command, cwd=root, env={**environment, MARK: mark}, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Driver(process, mark, output)


def store_away(place: Place) -> None:
    """The MLflow server is killed for some seconds of a sweep."""
    _with_server(place, for_good=False)


def store_away_for_good(place: Place) -> None:
    """The MLflow server is killed for the rest of a sweep; `sweep sync` sends everything later, and once."""
    _with_server(place, for_good=True)


def _with_server(place: Place, *, for_good: bool) -> None:
    server = Server(place.root, place.environment)
    place.store = server.uri
    place.write_spec()
    try:
        server.start()
        driver = place.run()
        place.until_results(driver, 2)
        server.kill()
        if not for_good:
            place.until_results(driver, 5)
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


class Cluster:
    """Ray nodes as processes on this machine, each of which can be killed whole."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.environment = {**QUICK_NODES, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._all = {**environment, **self.environment}
        self._root = root
        self._nodes: list[Driver] = []
        self._port = free_port()
        self.address = ""

    def start_head(self, cpus: int) -> Driver:
        self._port = free_port()
        host = socket.gethostbyname(socket.gethostname())
        self.address = f"{host}:{self._port}"
        return self._start(["--head", f"--port={self._port}", f"--node-ip-address={host}", "--include-dashboard=false"], cpus)

    def start_node(self, cpus: int) -> Driver:
        return self._start([f"--address={self.address}"], cpus)

    def close(self) -> None:
        for node in self._nodes:
            node.end()

    def _start(self, options: list[str], cpus: int) -> Driver:
        ray = str(Path(sys.executable).with_name("ray"))
        sizes = [f"--num-cpus={cpus}", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        output = self._root / f"node-{len(self._nodes)}.txt"
        self._nodes.append(marked([ray, "start", *options, *sizes], self._root, output, self._all))
        node = self._nodes[-1]
        if (
            not wait_for(lambda: "Ray runtime started" in node.text or node.process.poll() is not None, PATIENCE_S)
            or node.process.poll() is not None
        ):
            raise NotPossibleHereError(f"a node must start, but does not: {node.text}")
        return node


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
    "store away for seconds": store_away,
    "store away for the rest": store_away_for_good,
    "storage full": storage_full,
    "storage gone": storage_gone,
    "truncated checkpoint": checkpoint_truncated,
    "NaN, out of memory": training_goes_wrong,
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
