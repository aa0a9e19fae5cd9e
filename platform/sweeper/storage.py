"""Room in a sweep's folder, looked at before something is written there: a full or vanished folder ends a sweep with one message."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeper.errors import StorageError, SweepError

RESERVE_BYTES = 2**20
_NO_SPACE = re.compile(r"StorageError|No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]")


def require_room(folder: Path, size: int) -> None:
    """Looks whether a folder is there and has room.

    Args:
        folder: must exist.
        size: bytes that must be free.

    Raises:
        StorageError: it is gone or full.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(gone(folder)) from error
    if free <= size:
        raise StorageError(no_room(folder))


def require_same(path: Path, opened: int) -> None:
    """Looks whether an open file still lies where it was opened.

    Raises:
        StorageError: it does not.
    """
    try:
        there = os.stat(path)
    except OSError as error:
        raise StorageError(gone(path.parent)) from error
    if not os.path.samestat(there, os.fstat(opened)):
        raise StorageError(gone(path.parent))


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Any error while the folder is full or gone is told as that.

    Raises:
        StorageError: instead of what was raised, where the folder is full or gone.
    """
    try:
        yield
    except SweepError:
        raise
    except Exception:
        require_room(folder, RESERVE_BYTES)
        raise


def is_shortage(text: str) -> bool:
    """Whether an error's text tells of a full disk."""
    return _NO_SPACE.search(text) is not None


def no_room(folder: Path) -> str:
    """What is told of a full folder."""
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    return (
        f"a sweep's folder must have room, but {folder.resolve()} has {free / 2**20:.1f} MiB free; nothing that was written is lost: "
        f"free space, then type 'sweep resume {sweep_of(folder)}'"
    )


def gone(folder: Path) -> str:
    """What is told of a folder that has vanished."""
    return (
        f"a sweep's folder must stay where it is, but {folder.absolute()} is gone; put it or its disk back, "
        f"then type 'sweep resume {sweep_of(folder)}'"
    )


def sweep_of(folder: Path) -> str:
    """The sweep's name: its folder's, or of the one that holds `checkpoints`."""
    return folder.parent.name if folder.name == "checkpoints" else folder.name
