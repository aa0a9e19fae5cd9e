"""The first process of a host: gives it folders and a name of its own, starts its SSH server, and buries what died.

    python host_init.py WANTED.json

The file says what is wanted: name, stage, covered, kept, placed (see `cover`), files (text by path), serve (commands). hosts.py writes it
and starts this in namespaces of its own; when this ends, the kernel ends every process of the host.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READY = "the host is up"


def main() -> None:
    wanted: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    socket.sethostname(wanted["name"])
    cover(Path(wanted["stage"]), wanted["covered"], wanted["kept"], wanted["placed"])
    for path, text in wanted["files"].items():
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).write_text(text)
        Path(path).chmod(0o600)
    os.chdir("/")
    for command in wanted["serve"]:
        subprocess.Popen(command)
    print(READY, flush=True)
    while True:
        bury()


def cover(stage: Path, covered: list[str], kept: list[str], placed: dict[str, str]) -> None:
    """Puts an empty folder in memory over each path of `covered`.

    Args:
        stage: an empty folder, the same for all hosts, where the new folders are made ready.
        covered: absolute paths of folders.
        kept: folders of the machine that stay visible where they are, though they may lie in a covered one.
        placed: folders of the machine by the path, inside a covered one, at which they are to be seen.
    """
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(stage))
    os.chdir(stage)  # the way to it may be covered, too
    here = {path: path for path in kept} | placed
    for folder in covered:
        made = Path(folder.lstrip("/"))
        made.mkdir(parents=True, exist_ok=True)
        for seen_at, source in here.items():
            if Path(seen_at).is_relative_to(folder):
                target = Path(seen_at.lstrip("/"))
                target.mkdir(parents=True, exist_ok=True)
                mount("--bind", source, str(target))
    Path("tmp").chmod(0o1777)
    for folder in covered:
        mount("--rbind", folder.lstrip("/"), folder)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def bury() -> None:
    """Waits for the end of one process, or a little where there is none."""
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(1)


if __name__ == "__main__":
    main()
