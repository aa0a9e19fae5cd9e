"""What the hosts of the cluster tests keep apart, and what is left of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.hosts import PREFIX, ROOT, RUNS, Hosts, hosts_on_one_bridge, ip, missing_here, processes_of
from tests.sweeper.drivers import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(missing_here()), reason=missing_here())]

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()"
MAKE_AND_TELL = """
import signal
from tests.cluster.hosts import hosts_on_one_bridge
with hosts_on_one_bridge() as hosts:
    hosts.add("lost", {})
    print(hosts.folder, flush=True)
    signal.pause()
"""


def test_each_host_has_a_name_processes_and_folders_of_its_own() -> None:
    with hosts_on_one_bridge() as hosts:
        for name in ("a", "b"):
            hosts.add(name, {})
            write = f"echo {name} | tee /tmp/{PREFIX} /root/.ssh/{PREFIX} /dev/shm/{PREFIX} /mnt/sweeps/{name}"
            hosts[name].run("sh", "-c", write, output=hosts.folder / "told.txt")
        for name in ("a", "b"):
            read = f"hostname; cat /tmp/{PREFIX} ~/.ssh/{PREFIX} /dev/shm/{PREFIX} /mnt/sweeps/*; ls -d /proc/[0-9]* | wc -l"
            told = hosts[name].run("sh", "-c", read, output=hosts.folder / "told.txt").split()
            assert told[:6] == [name, name, name, name, "a", "b"]
            assert int(told[6]) < 10
        home = Path(hosts.home)
    assert not [path for path in (Path("/tmp"), home / ".ssh", Path("/dev/shm"), Path("/mnt/sweeps")) if (path / PREFIX).exists()]


def test_a_client_logs_in_where_it_has_the_key_and_reaches_nothing_else(tmp_path: Path) -> None:
    with hosts_on_one_bridge() as hosts:
        host, client = hosts.add("host", {"SAID": "so"}), hosts.add("client", {}, tmp_path)
        output = hosts.folder / "told.txt"
        login = "ssh -i ~/.ssh/sweep_key -o StrictHostKeyChecking=no -o LogLevel=ERROR"
        command = f"{login} root@{host.address} bash -lc \"'hostname; echo \\$SAID'\""
        assert client.run("sh", "-c", command, output=output).split() == ["host", "so"]
        with pytest.raises(AssertionError, match=r"refused"):
            host.run(sys.executable, "-c", CONNECT, client.address, "22", output=output)
        with pytest.raises(AssertionError, match=r"unreachable|timed out"):
            client.run(sys.executable, "-c", CONNECT, "192.0.2.1", "80", output=output)
        assert client.run("ls", "/mnt", output=output).split() == ["own"]


def test_a_cable_can_be_pulled_and_plugged_in_and_the_power_cut(tmp_path: Path) -> None:
    with hosts_on_one_bridge() as hosts:
        host, client = hosts.add("host", {}), hosts.add("client", {}, tmp_path)
        output = hosts.folder / "told.txt"
        client.run(sys.executable, "-c", CONNECT, host.address, "22", output=output)
        hosts.cut("host")
        with pytest.raises(AssertionError, match=r"unreachable|timed out"):
            client.run(sys.executable, "-c", CONNECT, host.address, "22", output=output)
        hosts.mend("host")
        assert wait_for(lambda: _connects(hosts, host.address))
        host.kill()
        with pytest.raises(AssertionError, match=r"refused|No such process|failed"):
            client.run(sys.executable, "-c", CONNECT, host.address, "22", output=output)


def _connects(hosts: Hosts, address: str) -> bool:
    process = hosts["client"].start([sys.executable, "-c", CONNECT, address, "22"], hosts.folder / "told.txt")
    return process.wait() == 0


def test_nothing_is_left_after_a_run_nor_after_one_that_was_killed() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE_AND_TELL], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    network = f"{PREFIX}-{folder.name}-lost"
    left = processes_of(network)
    assert left

    with hosts_on_one_bridge() as hosts:  # of a process that is there nothing is taken
        assert processes_of(network) == left
    assert not hosts.folder.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert processes_of(network) == left

    with hosts_on_one_bridge():
        assert f"{PREFIX}-{folder.name}" not in ip("netns", "list")
        assert not folder.exists()
    assert wait_for(lambda: not [pid for pid in left if Path(f"/proc/{pid}").exists()])
    assert RUNS.is_dir()
