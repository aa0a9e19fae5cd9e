"""What Linux tells of a process's memory, and which processes are a sweep's workers."""

import os
from pathlib import Path

PROC = Path("/proc")
WORKERS = (b"ray::SweepTrial", b"ray::ResourceTrainable")  # waiting, and at work
MIB = 2**20


def workers() -> list[int]:
    """The processes of this one's trials: Ray's workers below it, by number."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(WORKERS) and _is_below(int(folder.name), os.getpid()):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


def resident_mib(process: int) -> float:
    """Memory that a process has in the machine's, shared or not."""
    pages = int((PROC / str(process) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def proportional_mib(process: int) -> float:
    """The same, of what is shared its share alone."""
    return _field((PROC / str(process) / "smaps_rollup").read_text().splitlines(), "Pss:")


def proportional_of_mib(process: int, folder: Path) -> float:
    """A process's share of the files of a folder that it has mapped into its memory."""
    total, inside = 0.0, False
    for line in (PROC / str(process) / "smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = words[-1].startswith(str(folder))
        elif inside and words[0] == "Pss:":
            total += int(words[1]) / 1024
    return total


def _field(lines: list[str], name: str) -> float:
    return sum(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def _is_below(process: int, ancestor: int) -> bool:
    """Whether a process was started by another one, or by one that it has started."""
    while process > 1:
        parent = int((PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        if parent == ancestor:
            return True
        process = parent
    return False
