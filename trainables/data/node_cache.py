"""A node's own copy of prepared images, made once and mapped by every process of the node.

A copy appears whole or not at all: it is written beside its place and renamed, under a lock that the processes of a node share. What it
holds is looked at against the fingerprint when it is made; later on, size and time of each file say whether it still is what was made.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trainables.data.splits import SPLITS
from trainables.errors import DataError

VARIABLE = "SWEEP_NODE_CACHE"
SEAL = "seal.json"
META = "meta.json"


def cache_folder() -> Path | None:
    """The node's cache, as the environment names it; None where there is none."""
    folder = os.environ.get(VARIABLE)
    return Path(folder).expanduser().resolve() if folder else None


@contextmanager
def copied(name: str, fingerprint: str, originals: list[Path], cache: Path) -> Iterator[Path | None]:
    """A node's copy of a prepared folder, held against being made again for the length of a `with`.

    Args:
        name: of the prepared folder.
        fingerprint: of its arrays.
        originals: where it may lie; the first that is there is copied.
        cache: a folder on the node's own disk.

    Yields:
        The copy; None where the node has none and no original is there.

    Raises:
        DataError: a cache that cannot be written, or an original that is damaged.
    """
    copy = cache / f"{name}-{fingerprint}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = os.open(cache / f".{copy.name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(_unwritable(cache, error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        original = next((path for path in originals if (path / META).is_file()), None)
        if not _is_whole(copy) and original is not None:
            _copy(original, copy, fingerprint)
        yield copy if _is_whole(copy) else None
    finally:
        os.close(lock)  # the lock goes with it, whatever ends this process


def _copy(original: Path, copy: Path, fingerprint: str) -> None:
    draft = copy.with_name(f".draft-{copy.name}")
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was ended while it copied
        draft.mkdir()
        for name in (*(f"{split}.npy" for split in SPLITS), META):
            shutil.copyfile(original / name, draft / name)
        found = fingerprint_of(draft)
        if found != fingerprint:
            raise DataError(
                f"the prepared images in {original} must have the fingerprint {fingerprint}, but have {found}; "
                "a damaged folder is made again once it is removed; originals that have changed belong to a new sweep"
            )
        (draft / SEAL).write_text(json.dumps(_seal(draft)))
        if copy.exists():
            shutil.rmtree(copy)  # a damaged one; whoever has it mapped keeps it
        draft.rename(copy)
    except OSError as error:
        raise DataError(_unwritable(copy.parent, error)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def fingerprint_of(folder: Path) -> str:
    """The fingerprint of a prepared folder's arrays, as preparing them gives it; of arrays that cannot be read "unreadable"."""
    digest = hashlib.sha256()
    try:
        for split in SPLITS:
            digest.update(np.ascontiguousarray(np.load(folder / f"{split}.npy", mmap_mode="r")).data)
    except (ValueError, EOFError):
        return "unreadable"
    return digest.hexdigest()[:16]


def _is_whole(copy: Path) -> bool:
    try:
        return bool(json.loads((copy / SEAL).read_text()) == _seal(copy))
    except (OSError, ValueError):
        return False


def _seal(folder: Path) -> dict[str, list[int]]:
    """Size and time of every file of a copy."""
    stats = {name: (folder / name).stat() for name in (*(f"{split}.npy" for split in SPLITS), META)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _unwritable(cache: Path, error: OSError) -> str:
    return (
        f"{VARIABLE} must name a folder that can be written and has room, but {cache} on node {os.uname().nodename} is none ({error}); "
        "free space there, name another, or unset it"
    )
