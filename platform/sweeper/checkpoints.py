"""Where a sweep's checkpoints lie: a folder, or a bucket (`sweeper.buckets`); listing, judging, fetching and removing them there.

A checkpoint is a folder `attempt-NNN/TRIAL/checkpoint_NNNNNN` in such a place; that is its name, and names sort by age.
"""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from sweeper.errors import StorageError
from sweeper.home import Home
from sweeper.spec import BUCKETS, is_bucket, public_storage

FILE = "checkpoint.pt"
FOLDER = "checkpoints"


class Place(Protocol):
    """Where the checkpoints of one sweep lie.

    Thread safety: one thread at a time. What a method raises where the place does not answer is a StorageError.

    Attributes:
        address: as `place_at` takes it; may hold a secret.
        public: the same without.
        path: of the place in its file system.
        filesystem: pyarrow's, for Ray; None = this machine's files.
    """

    address: str
    public: str

    @property
    def path(self) -> str: ...

    @property
    def filesystem(self) -> Any: ...

    def attempts(self) -> int:
        """The greatest number of an attempt so far."""
        ...

    def trials(self) -> set[str]:
        """Trials that have a checkpoint."""
        ...

    def names(self, trial: str) -> list[str]:
        """A trial's checkpoints over all attempts, the newest first."""
        ...

    def size(self, name: str) -> int:
        """A checkpoint's bytes; 0 of one that is gone."""
        ...

    def is_whole(self, name: str) -> bool:
        """Whether a checkpoint was written to its end, as far as can be told without loading it: PyTorch's files are zip archives."""
        ...

    def added(self, name: str, size: int) -> None:
        """Hears that a worker has written a checkpoint."""
        ...

    def remove(self, name: str) -> None:
        """Removes a checkpoint, which may be gone already."""
        ...

    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """A checkpoint as a local folder for the length of a `with`; an empty one where it is gone."""
        ...

    def look_again(self) -> None:
        """Forgets what is remembered of the place."""
        ...

    def require(self, *, create: bool = False) -> None:
        """Writes something and removes it.

        Args:
            create: make the place where it is not there yet; a place that was there once and is gone must not be made again.

        Raises:
            StorageError: the place cannot be reached or written.
        """
        ...

    def clear(self) -> None:
        """Removes everything."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in its place."""

    place: Place
    name: str

    @property
    def address(self) -> str:
        """A folder's path or an address in a bucket, as `at` takes it; may hold a secret."""
        return joined(self.place.address, self.name)

    @property
    def public(self) -> str:
        """The same without."""
        return joined(self.place.public, self.name)

    def is_whole(self) -> bool:
        """See `Place.is_whole`."""
        return self.place.is_whole(self.name)

    def fetched(self) -> AbstractContextManager[Path]:
        """See `Place.fetched`."""
        return self.place.fetched(self.name)


class FolderPlace:
    """Implements `Place` in a folder, which is looked at anew each time."""

    def __init__(self, folder: Path) -> None:
        """Touches nothing."""
        self.folder = folder
        self.address = self.public = self.path = str(folder.resolve())
        self.filesystem = None

    def attempts(self) -> int:
        return newest_attempt(path.name for path in self.folder.glob("attempt-*"))

    def trials(self) -> set[str]:
        return {path.parent.name for path in self.folder.glob("attempt-*/*/checkpoint_*")}

    def names(self, trial: str) -> list[str]:
        return sorted(("/".join(path.parts[-3:]) for path in self.folder.glob(f"attempt-*/{trial}/checkpoint_*")), reverse=True)

    def size(self, name: str) -> int:
        return size_of(self.folder / name)

    def is_whole(self, name: str) -> bool:
        return zipfile.is_zipfile(self.folder / name / FILE)

    def added(self, name: str, size: int) -> None:
        """The folder itself says it."""

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        yield self.folder / name

    def look_again(self) -> None:
        """Nothing is remembered."""

    def require(self, *, create: bool = False) -> None:
        try:
            if create:
                self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix=".probe-", dir=self.folder) as probe:
                probe.write(b"probe")
        except OSError as error:
            raise StorageError(unusable(self.public, str(error))) from error

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def problems_of_storage(storage: Any) -> Iterator[str]:
    """What is wrong with `checkpoints.storage`; the address is told without its keys."""
    if not isinstance(storage, str):
        return
    scheme, mark, rest = storage.partition("://")
    bucket = rest.partition("?")[0].rpartition("@")[2].partition("/")[0]
    if not (scheme in BUCKETS and bucket if mark else Path(storage).expanduser().is_absolute()):
        buckets = " or ".join(f"{scheme}://BUCKET/PREFIX" for scheme in BUCKETS)
        yield f"checkpoints.storage: must be a folder's whole path, {buckets}, but got {public_storage(storage)!r}"


def place_at(address: str) -> Place:
    """The place at a folder's path or a bucket's address; reaches for nothing yet."""
    if not is_bucket(address):
        return FolderPlace(Path(address))
    from sweeper.buckets import BucketPlace  # pyarrow takes half a second to be imported

    return BucketPlace(address)


def sweeps_place(home: Home, sweep: str, storage: str | None) -> Place:
    """Where a sweep keeps its checkpoints.

    Args:
        home: where it lives.
        sweep: its name.
        storage: `checkpoints.storage` of its spec.
    """
    if storage is None:
        return FolderPlace(home.folder(sweep) / FOLDER)
    return place_at(joined(storage if is_bucket(storage) else str(Path(storage).expanduser()), f"{sweep}/{FOLDER}"))


def place_of(home: Home, sweep: str) -> Place:
    """Where a sweep keeps its checkpoints by the spec in its folder; without one, its folder."""
    file = home.folder(sweep) / "spec.yaml"
    fields = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return sweeps_place(home, sweep, (fields.get("checkpoints") or {}).get("storage"))


def checkpoints_of(place: Place, trial: str) -> list[Checkpoint]:
    """A trial's checkpoints over all attempts, the newest first."""
    return [Checkpoint(place, name) for name in place.names(trial)]


def at(address: str) -> Checkpoint:
    """The checkpoint at an address as `Checkpoint.address` gives it, or in any local folder."""
    if not is_bucket(address):
        return Checkpoint(FolderPlace(Path(address).parent), Path(address).name)
    path, mark, query = address.partition("?")
    place, *name = path.rsplit("/", 3)
    return Checkpoint(place_at(place + mark + query), "/".join(name))


def joined(address: str, name: str) -> str:
    """Something inside a folder or a bucket's prefix."""
    path, mark, query = address.partition("?") if is_bucket(address) else (address, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def newest_attempt(names: Iterator[str] | list[str]) -> int:
    """The greatest number among folders "attempt-NNN"; 0 where there is none."""
    return max((int(name.removeprefix("attempt-")) for name in names if re.fullmatch(r"attempt-\d+", name)), default=0)


def size_of(folder: Path) -> int:
    """Bytes of a folder's files; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def unusable(place: str, error: str) -> str:
    """What is told of a place that cannot be reached or written."""
    why = " ".join(error.split())  # in one line, as Ray's texts are looked through
    return (
        f"checkpoints.storage must be reachable and writable from every node, but {public_storage(place)} is not ({why}); look "
        "at the address, the network and the credentials, then type the same command again, or 'sweep resume' where the sweep had begun"
    )
