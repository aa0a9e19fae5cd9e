"""Drivers in processes of their own, for tests that kill them."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-c", "from sweeper.cli.app import command; command()"]
MARK = "SWEEP_TEST_MARK"
POLL_S = 0.02
PATIENCE_S = 120


@dataclass
class Driver:
    """A driver in a process group of its own, with everything that it starts marked in the environment."""

    process: subprocess.Popen[bytes]
    mark: str
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def left_over(self) -> list[int]:
        """Processes that this driver, or Ray on its behalf, started and that are still there."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                continue
            if marked and state != "Z":
                found.append(int(folder.name))
        return found

    def wait_until_gone(self) -> bool:
        """Whether everything that it started ends by itself."""
        return wait_for(lambda: not self.left_over())

    def end(self) -> None:
        """Leaves nothing running, whatever the test found."""
        for number in self.left_over():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(30)


def wait_for(condition: Callable[[], bool], patience_s: float = PATIENCE_S, poll_s: float = POLL_S) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def start_driver(arguments: list[str], root: Path, output: Path, environment: Mapping[str, str]) -> Driver:
    """Starts `sweep ARGUMENTS --home ROOT` with its output in a file."""
    mark = uuid.uuid4().hex
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [*COMMAND, *arguments, "--home", str(root)],
            cwd=root,
            env={**environment, MARK: mark},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Driver(process, mark, output)
