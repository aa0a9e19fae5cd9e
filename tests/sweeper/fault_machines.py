"""What can be taken from a sweep: a disk, an MLflow server, Ray nodes, all real and on this machine."""

import errno
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.sweeper.drivers import MARK, Driver, wait_for
from tests.sweeper.fault_place import PATIENCE_S

DISK_MIB = 160
SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
QUICK_NODES = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
SLOW_DASHBOARD = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "120"}


class NotPossibleHereError(RuntimeError):
    """This machine does not allow what a scenario needs."""


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


def fill_up(file: Path) -> None:
    """Writes until the disk has no room left, whatever else is written meanwhile.

    Raises:
        OSError: it cannot be written for another reason.
    """
    with open(file, "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(2**14))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def memory_gib() -> tuple[float, float]:
    """The machine's memory in GiB: all of it, and what is free."""
    sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(sizes[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    return total, free


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


class Cluster:
    """Ray nodes as processes on this machine, each of which can be killed whole."""

    def __init__(self, root: Path, environment: Mapping[str, str], settings: Mapping[str, str] = QUICK_NODES) -> None:
        self.environment = {**settings, **SLOW_DASHBOARD, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._all = {**environment, **self.environment}
        self._root = root
        self._nodes: list[Driver] = []
        self._port = free_port()
        self.address = ""
        self.job_server = ""
        self._temporary: list[str] = []

    def start_head(self, cpus: int, port: int | None = None, *more: str, dashboard: bool = False) -> Driver:
        self._port = port or free_port()
        host = socket.gethostbyname(socket.gethostname())
        self.address = f"{host}:{self._port}"
        options = ["--include-dashboard=false"]
        if dashboard:
            at = free_port()
            self.job_server = f"http://127.0.0.1:{at}"
            options = ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={at}"]
        return self._start(["--head", f"--port={self._port}", f"--node-ip-address={host}", *options, *more], cpus)

    def start_head_with_job_server(self, cpus: int) -> Driver:
        """A head on the loopback interface alone, whose jobs are listed apart from those of any other Ray on this machine."""
        self._port = free_port()
        self.address, port = f"127.0.0.1:{self._port}", free_port()
        self.job_server = f"http://127.0.0.1:{port}"
        self._temporary.append(tempfile.mkdtemp(prefix="sweep-ray-"))  # a short path: Ray's sockets lie in it
        options = [f"--port={self._port}", "--node-ip-address=127.0.0.1", f"--temp-dir={self._temporary[-1]}"]
        options += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        options += [f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}"]
        return self._start(["--head", *options], cpus)

    def start_node(self, cpus: int, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> Driver:
        """Starts another node, with more in its environment, or under another command."""
        return self._start([f"--address={self.address}"], cpus, environment, before)

    def close(self) -> None:
        for node in self._nodes:
            node.end()
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, options: list[str], cpus: int, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> Driver:
        ray = str(Path(sys.executable).with_name("ray"))
        sizes = [f"--num-cpus={cpus}", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        output = self._root / f"node-{len(self._nodes)}.txt"
        self._nodes.append(marked([*before, ray, "start", *options, *sizes], self._root, output, self._all | dict(environment or {})))
        node = self._nodes[-1]
        if (
            not wait_for(lambda: "Ray runtime started" in node.text or node.process.poll() is not None, PATIENCE_S)
            or node.process.poll() is not None
        ):
            raise NotPossibleHereError(f"a node must start, but does not: {node.text}")
        return node
