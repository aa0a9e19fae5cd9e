"""A folder of trained stages, for trials that share their training (`trainables.shared_training`).

A stage is what a step of training leaves, under a name that says everything it depends on. Whoever comes to a name that is there loads it;
whoever does not, trains and writes it. A lock a name makes a second trial wait for the first one instead of training the same again.

Files appear whole or not at all, and a damaged one is trained again. The folder holds at most `KEPT_GIB`; what was used longest ago goes
first. Locks hold between the processes of a machine, and between machines where the folder's file system passes locks on.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trainables.errors import DataError

FOLDER = "stages"
KEPT_GIB = 8.0
DRAFT_S = 3600.0

Stage = dict[str, Any]


class StageCache:
    """A folder of trained stages, used by many processes at the same time.

    Thread safety: between processes and threads, by file locks.
    """

    def __init__(self, folder: Path, kept_gib: float = KEPT_GIB) -> None:
        """Touches nothing yet.

        Args:
            folder: where the stages lie; made at the first write.
            kept_gib: greatest size of all stages together; the newest one is kept in any case.
        """
        self._folder = folder
        self._kept_bytes = int(kept_gib * 2**30)

    def get(self, key: str, train: Callable[[], Stage | None], device: torch.device) -> tuple[Stage | None, bool]:
        """The stage of a key.

        Args:
            key: its name; letters and digits.
            train: makes the stage, tensors and plain values; None where it is not worth keeping. Called only if the stage is not there;
                until it is done every other caller with this key waits.
            device: where a stage's tensors are loaded to.

        Returns:
            The stage, and whether it was there.

        Raises:
            DataError: a folder that cannot be written.
        """
        path, lock = self._folder / f"{key}.pt", self._folder / f"{key}.lock"
        with self._telling():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.touch()
        with _locked(lock):
            stage = _read(path, device)
            if stage is not None:
                return stage, True
            stage = train()
            if stage is None:
                lock.unlink(missing_ok=True)
            else:
                with self._telling():
                    self._write(path, stage)
        return stage, False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turns what goes wrong on the disk into a DataError."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"the folder of trained stages must be writable, but {self._folder} is not ({error}); free space there, or choose another "
                "data folder with --data-dir"
            ) from error

    def _write(self, path: Path, stage: Stage) -> None:
        """Writes a stage in one go, then drops the oldest ones."""
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(stage, file)
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
        self._drop(keep=path)

    def _drop(self, keep: Path) -> None:
        """Removes the stages that were used longest ago until the rest fits, and what killed processes left unfinished."""
        total = _size(keep)
        for path in sorted((path for path in self._folder.glob("*.pt") if path != keep), key=_used, reverse=True):
            total += _size(path)
            if total > self._kept_bytes:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
        for draft in self._folder.glob(".draft-*"):
            if 0 < _used(draft) < time.time() - DRAFT_S:
                draft.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock file for the length of a `with`; waits for it as long as another process holds it."""
    while True:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                current = False
            if current:  # else it was dropped while this process waited: a new file is the lock now
                yield
                return


def _read(path: Path, device: torch.device) -> Stage | None:
    """A stage, which now counts as just used; None where it is not there or damaged."""
    if not path.exists():
        return None
    try:
        stage: Stage = torch.load(path, map_location=device, weights_only=True)
        path.touch()
    except Exception:  # torch names no common root for a damaged file: it is trained again and overwritten
        return None
    return stage


def _used(path: Path) -> float:
    """When a stage was last used; 0 where another process has just dropped it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    """Bytes of a file; 0 where another process has just dropped it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
