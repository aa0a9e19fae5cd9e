"""Folders and their room: the sweeps' home, Ray's temporary folder, shared memory. The nodes' are judged by the same rules."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sweeper.doctor.finding import Finding, Question
from sweeper.errors import first_line

GIB = 2**30
LEAST_HOME_BYTES = 64 * 2**20  # a few checkpoints; a journal stops at 1 MiB
PLENTY_HOME_BYTES = 5 * GIB
FULL_FOR_RAY = 0.95  # from there on Ray's object store takes nothing more: local_fs_capacity_threshold
LEAST_SHARED_BYTES = 64 * 2**20  # what a container has by default; Ray's store then works on the disk
PLENTY_SHARED_BYTES = 200 * 2**20  # the object store of a local sweep
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Space:
    """Room of a folder's disk, in bytes; `free_files` is how many files more it takes, None where it has no such limit."""

    free: int
    total: int
    free_files: int | None = None


def space_of(folder: Path) -> Space:
    """Room of the disk that a folder lies on. Raises OSError."""
    usage, told = shutil.disk_usage(folder), os.statvfs(folder)
    return Space(usage.free, usage.total, told.f_favail if told.f_files else None)


def home(question: Question) -> list[Finding]:
    """Whether the home folder is there, can be written, and has room."""
    root = question.home.root.absolute()
    if not root.is_dir():
        kind = "is no folder" if root.exists() else "is not there"
        return [Finding("home", f"{root} {kind}", "fault", f"make it (mkdir -p {root}), mount its disk, or name another with --home")]
    refused = cannot_write(root)
    if refused:
        return [Finding("home", f"{root} cannot be written ({refused})", "fault", "give yourself the right, or name another with --home")]
    return [judge_home(str(root), space_of(root))]


def judge_home(place: str, space: Space, node: str = "") -> Finding:
    """Whether a home's disk has room for sweeps."""
    found = f"{place}, {space.free / GIB:.1f} of {space.total / GIB:.1f} GiB free"
    if space.free_files == 0:
        return Finding("home", f"{place} takes no further file: its inodes are used up", "fault", "remove files: sweep rm", node)
    if space.free < LEAST_HOME_BYTES:
        return Finding("home", found, "fault", "free space (sweep rm, checkpoints.best), or name another disk with --home", node)
    if space.free < PLENTY_HOME_BYTES:
        return Finding("home", found, "warning", "checkpoints may fill it: set checkpoints.quota_gib, or free space", node)
    return Finding("home", found, node=node)


def ray_temporary(question: Question) -> list[Finding]:
    """Whether Ray may write to its temporary folder."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    refused = cannot_write(folder)
    if refused:
        text = f"{folder} cannot be written ({refused})"
        return [Finding("Ray's temporary folder", text, "fault", "name another folder with RAY_TMPDIR")]
    return [judge_temporary(str(folder), space_of(folder))]


def judge_temporary(place: str, space: Space, node: str = "") -> Finding:
    """Whether Ray's object store takes anything there."""
    used = 1 - space.free / space.total if space.total else 1.0
    found = f"{place}, {used:.0%} used"
    if used > FULL_FOR_RAY:
        remedy = f"Ray's workers cannot take anything from {FULL_FOR_RAY:.0%} on: free space there, or name another disk with RAY_TMPDIR"
        return Finding("Ray's temporary folder", found, "fault", remedy, node)
    return Finding("Ray's temporary folder", found, node=node)


def shared_memory(question: Question, folder: Path = SHARED_MEMORY) -> list[Finding]:
    """Whether Ray's object store has memory to live in; not looked at where the system has no such folder."""
    return [judge_shared(space_of(folder), str(folder))] if folder.is_dir() else []


def judge_shared(space: Space, place: str = str(SHARED_MEMORY), node: str = "") -> Finding:
    """Whether there is enough shared memory."""
    found = f"{place}, {space.free / GIB:.2f} of {space.total / GIB:.2f} GiB free"
    remedy = "in a container: --shm-size=2g (Kubernetes: an emptyDir with medium: Memory); elsewhere: mount -o remount,size=2G " + place
    if space.free < LEAST_SHARED_BYTES:
        return Finding("shared memory", found, "fault", remedy, node)
    if space.free < PLENTY_SHARED_BYTES:
        return Finding("shared memory", f"{found}: Ray's object store goes to the disk", "warning", remedy, node)
    return Finding("shared memory", found, node=node)


def cannot_write(folder: Path) -> str:
    """Why no file can be made in a folder; empty where one can. A full disk still takes an empty file."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".sweep-doctor-", dir=folder):
            return ""
    except OSError as error:
        return error.strerror or first_line(error)
