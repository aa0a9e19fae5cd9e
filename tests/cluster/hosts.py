"""Several hosts on one machine, as namespaces: each with a network, processes, folders, a name and an SSH server of its own.

They stand on a bridge that leads nowhere, and share one folder, which stands for a file server. Only root may make them. What belongs to
the machine (/tmp, the home folder with .ray and .ssh, /run, /dev/shm) is covered there by empty folders in memory: nothing of it is seen or
changed. The processes of a host are a family with a first one of its own: when that dies, all of them die.
"""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.cluster.host_init import READY
from tests.sweeper.drivers import wait_for

PREFIX = "sweephosts"
RUNS = Path("/var/tmp") / PREFIX  # on a disk, and not among the covered folders
SHARED, OWN = "/mnt/sweeps", "/mnt/own"
COVERED = ("/dev/shm", "/mnt", "/run", "/tmp", "/var/log")
ROOT = Path(__file__).resolve().parents[2]
FIRST_PROCESS = Path(__file__).with_name("host_init.py")
TOOLS = ("ip", "nsenter", "rsync", "ssh", "ssh-keygen", "sshd", "unshare")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE_S = 60
SSHD = """
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PrintLastLog no
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""


@cache
def missing_here() -> str:
    """Why hosts cannot be made on this machine; empty where they can."""
    if os.geteuid() != 0:
        return "only root may make namespaces"
    lacking = [tool for tool in TOOLS if not shutil.which(tool, path=SYSTEM_PATH)]
    if lacking:
        return f"the machine lacks {', '.join(lacking)} (Debian's packages openssh-server, rsync, iproute2 and util-linux)"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return f"this root may not make namespaces: {tried.stderr.decode().strip()}" if tried.returncode else ""


@dataclass
class Host:
    """A host.

    Attributes:
        name: as it calls itself.
        address: on the bridge.
        init: its first process, as the machine numbers it.
        folder: where its commands begin.
        environment: what they have in it.
    """

    name: str
    address: str
    init: int
    folder: str
    environment: Mapping[str, str]

    def start(self, arguments: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
        """Starts a command in the host, with its output in a file."""
        inside = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", f"--wdns={self.folder}", *arguments]
        with open(output, "ab") as file:
            return subprocess.Popen(inside, env=dict(self.environment), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)

    def run(self, *arguments: str, output: Path, patience_s: float = PATIENCE_S) -> str:
        """Runs a command in the host to its end and gives what it has written.

        Raises:
            AssertionError: it failed, or took too long.
        """
        begun_at = output.stat().st_size if output.exists() else 0
        process = self.start(arguments, output)
        try:
            code: int | str = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = f"nothing after {patience_s} s"
        text = output.read_bytes()[begun_at:].decode(errors="replace")
        if code:
            raise AssertionError(f"{' '.join(arguments)} in host {self.name} must succeed, but came to {code}: {text}")
        return text

    def kill(self) -> None:
        """A power cut: every process of the host dies at once; the cable stays plugged in."""
        os.kill(self.init, signal.SIGKILL)


@dataclass
class Hosts:
    """Hosts on one bridge; see `hosts_on_one_bridge`.

    Attributes:
        folder: what the machine keeps of this run.
        subnet: the first three numbers of every address.
        bridge: the network namespace that holds the bridge.
        hosts: by name.
        key: the file of the key with which one logs in.
        shared: the shared folder, as the machine sees it.
        home: the home folder of every host's root.
    """

    folder: Path
    subnet: str = "10.77.0"

    def __post_init__(self) -> None:
        self.bridge = f"{PREFIX}-{self.folder.name}"
        self.hosts: dict[str, Host] = {}
        self.key = self.folder / "key"
        self.shared = self.folder / "shared"
        self.home = pwd.getpwuid(0).pw_dir

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def make_bridge(self) -> None:
        for folder in (self.shared, self.folder / "stage"):
            folder.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        ip("netns", "add", self.bridge)
        ip("-n", self.bridge, "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", self.bridge, "link", "set", "bridge", "up")

    def add(self, name: str, environment: Mapping[str, str], own_folder: Path | None = None) -> Host:
        """Makes a host and waits until it is up.

        Args:
            name: as the host calls itself.
            environment: what its shells and commands have beyond the path.
            own_folder: for a client, a folder of the machine that it sees as OWN: nobody may log in there, it holds the key to those hosts
                where one may, and does not see the shared folder.

        Raises:
            AssertionError: it did not come up.
        """
        network, address = f"{self.bridge}-{name}", f"{self.subnet}.{len(self.hosts) + 1}"
        ip("netns", "add", network)
        ip("-n", self.bridge, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", network)
        ip("-n", self.bridge, "link", "set", "dev", name, "master", "bridge", "up")
        ip("-n", network, "link", "set", "lo", "up")
        ip("-n", network, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", network, "link", "set", "eth0", "up")
        ip("-n", network, "route", "add", "default", "dev", "eth0")  # to nobody, but programs look there for their own address
        variables = {"HOME": self.home, "PATH": f"{Path(sys.executable).parent}:{SYSTEM_PATH}", "LANG": "C.UTF-8", **(environment or {})}
        output, wanted = self.folder / f"{name}.txt", self.folder / f"{name}.json"
        wanted.write_text(json.dumps(self._wanted(name, variables, own_folder)))
        own = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with open(output, "wb") as file:
            process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{network}",
                    *own,
                    sys.executable,
                    str(Path(__file__).with_name("host_init.py")),
                    str(wanted),
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: READY in output.read_text() or process.poll() is not None, PATIENCE_S)
        if READY not in output.read_text():
            raise AssertionError(f"host {name} must come up, but does not: {output.read_text()}")
        init = next(pid for pid in processes_of(network) if _number_inside(pid) == 1)
        self.hosts[name] = Host(name, address, init, OWN if own_folder else SHARED, variables)
        return self.hosts[name]

    def _wanted(self, name: str, variables: Mapping[str, str], own_folder: Path | None) -> dict[str, object]:
        """What host_init.py is told."""
        ssh, exports = Path(self.home) / ".ssh", "".join(f"export {key}='{value}'\n" for key, value in variables.items() if key != "HOME")
        files = {f"{self.home}/.bashrc": exports, f"{self.home}/.profile": ". ~/.bashrc\n"}
        if own_folder is None:
            files[str(ssh / "authorized_keys")] = self.key.with_suffix(".pub").read_text()
            files[str(ssh / "host_key")] = self.key.read_text()
            files[str(ssh / "sshd_config")] = f"HostKey {ssh / 'host_key'}\n{SSHD}"
            files["/run/sshd/made"] = ""
        else:
            files[str(ssh / "sweep_key")] = self.key.read_text()
        sshd = [shutil.which("sshd", path=SYSTEM_PATH) or "sshd", "-D", "-e", "-f", str(ssh / "sshd_config")]
        return {
            "name": name,
            "stage": str(self.folder / "stage"),
            "covered": [*COVERED, self.home],
            "kept": sorted({str(ROOT), sys.prefix, sys.base_prefix}),
            "placed": {OWN: str(own_folder)} if own_folder else {SHARED: str(self.shared)},
            "files": files,
            "serve": [] if own_folder else [sshd],
        }

    def cut(self, name: str) -> None:
        """Pulls a host's cable."""
        ip("-n", self.bridge, "link", "set", "dev", name, "down")

    def mend(self, name: str) -> None:
        """Plugs a host's cable in again."""
        ip("-n", self.bridge, "link", "set", "dev", name, "up")


@contextmanager
def hosts_on_one_bridge() -> Iterator[Hosts]:
    """A bridge for hosts, for the length of a `with`; what runs that were killed have left is removed first."""
    RUNS.mkdir(exist_ok=True)
    for left in RUNS.iterdir():
        if not _is_running(left):
            remove(left)
    folder = RUNS / secrets.token_hex(3)
    folder.mkdir()
    (folder / "owner").write_text(_identity(os.getpid()))
    try:
        hosts = Hosts(folder)
        hosts.make_bridge()
        yield hosts
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Ends the processes of a run, by what it has made, and removes its networks and its folder."""
    made = [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(f"{PREFIX}-{folder.name}")]
    if not wait_for(lambda: not _killed(made), PATIENCE_S):
        raise AssertionError(f"the hosts of {folder} must end, but do not: {[processes_of(network) for network in made]}")
    for network in made:
        ip("netns", "delete", network)
    shutil.rmtree(folder)


def processes_of(network: str) -> list[int]:
    return [int(pid) for pid in ip("netns", "pids", network).split()]


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _number_inside(pid: int) -> int:
    """A process's number in the innermost namespace that it is in; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def _killed(networks: list[str]) -> list[int]:
    """Kills the processes that are in networks, and gives those that there were."""
    there = [pid for network in networks for pid in processes_of(network)]
    for pid in there:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return there


def _identity(pid: int) -> str:
    """A process's number and the time of its start: numbers are used again."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[19]}"
    except OSError:
        return f"{pid} is gone"


def _is_running(folder: Path) -> bool:
    """Whether the process that made a run's folder is still there."""
    owner = folder / "owner"
    return owner.exists() and _identity(int(owner.read_text().split()[0])) == owner.read_text()
