"""Checkpoints in object storage, through pyarrow's file systems, as Ray itself writes them: s3://BUCKET/PREFIX and gs://BUCKET/PREFIX.

What pyarrow reads from an address goes for these too: `s3://BUCKET/PREFIX?endpoint_override=HOST:PORT&scheme=http&region=...`.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import ArrowException, fs  # type: ignore[import-untyped]

from sweeper.checkpoints import FILE, newest_attempt, unusable
from sweeper.errors import StorageError
from sweeper.spec import public_storage

PROBE = ".probe"
GCS_PATIENCE_S = 60  # pyarrow's own is 15 minutes
LEAST_BYTES = 64  # of an archive; zipfile would look before the beginning of less
_PARTS = 4  # of a file in a checkpoint: attempt, trial, checkpoint, file


class BucketPlace:
    """Implements `sweeper.checkpoints.Place` in a bucket.

    The bucket is listed once; from then on what lies there is kept in memory: what workers say that they have written, less what is
    removed here. Ownership: whoever runs the sweep is the only one to remove.
    """

    def __init__(self, address: str) -> None:
        """Reaches for nothing.

        Args:
            address: of the folder that holds the attempts.
        """
        self.address, self.public = address, public_storage(address)
        self._opened: tuple[Any, str] | None = None
        self._sizes: dict[str, dict[str, int]] | None = None
        self._whole: dict[str, bool] = {}

    @property
    def filesystem(self) -> Any:
        """pyarrow's file system; Ray takes it with `path`."""
        return self._open()[0]

    @property
    def path(self) -> str:
        """The place's path in it."""
        return self._open()[1]

    def attempts(self) -> int:
        with self._answering():
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
            return newest_attempt([info.base_name for info in found])

    def trials(self) -> set[str]:
        return {trial for trial, sizes in self._listed().items() if sizes}

    def names(self, trial: str) -> list[str]:
        return sorted(self._listed().get(trial, {}), reverse=True)

    def size(self, name: str) -> int:
        return self._listed().get(_trial(name), {}).get(name, 0)

    def is_whole(self, name: str) -> bool:
        if name not in self._whole:
            try:
                with self._answering(), self.filesystem.open_input_file(f"{self.path}/{name}/{FILE}") as file:
                    self._whole[name] = file.size() >= LEAST_BYTES and zipfile.is_zipfile(file)  # reads the end of the object alone
            except FileNotFoundError:
                self._whole[name] = False
        return self._whole[name]

    def added(self, name: str, size: int) -> None:
        self._listed().setdefault(_trial(name), {})[name] = size
        self._whole[name] = True  # an object appears when it was sent to its end

    def remove(self, name: str) -> None:
        with self._answering():
            self._delete(f"{self.path}/{name}")
        self._listed().get(_trial(name), {}).pop(name, None)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            with self._answering():
                source = f"{self.path}/{name}"
                for info in self.filesystem.get_file_info(fs.FileSelector(source, allow_not_found=True, recursive=True)):
                    place = Path(folder) / PurePosixPath(info.path).relative_to(source)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if info.is_file:
                        fs.copy_files(info.path, str(place), source_filesystem=self.filesystem, destination_filesystem=fs.LocalFileSystem())
            yield Path(folder)

    def look_again(self) -> None:
        self._sizes = None
        self._whole.clear()

    def require(self, *, create: bool = False) -> None:
        with self._answering():
            self.filesystem.create_dir(self.path)
            with self.filesystem.open_output_stream(f"{self.path}/{PROBE}") as probe:
                probe.write(b"probe")
            self.filesystem.delete_file(f"{self.path}/{PROBE}")

    def clear(self) -> None:
        parent = self.path.rpartition("/")[0]
        with self._answering():
            for folder in (self.path, parent):
                beside = self.filesystem.get_file_info(fs.FileSelector(parent, allow_not_found=True))
                if folder == self.path or not beside:
                    self._delete(folder)
        self.look_again()

    def _delete(self, folder: str) -> None:
        try:
            self.filesystem.delete_dir(folder)
        except FileNotFoundError:
            return  # it is gone, as it should be

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            address = self.address
            if address.startswith("gs:") and "retry_limit_seconds=" not in address:
                address += f"{'&' if '?' in address else '?'}retry_limit_seconds={GCS_PATIENCE_S}"
            with self._answering():
                filesystem, path = fs.FileSystem.from_uri(address)
            self._opened = filesystem, path.rstrip("/")
        return self._opened

    def _listed(self) -> dict[str, dict[str, int]]:
        """Bytes of every checkpoint by trial and name."""
        if self._sizes is None:
            with self._answering():
                found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=True))
            self._sizes = {}
            for info in found:
                parts = PurePosixPath(info.path).relative_to(self.path).parts
                if info.is_file and len(parts) >= _PARTS and parts[2].startswith("checkpoint_"):
                    sizes = self._sizes.setdefault(parts[1], {})
                    name = "/".join(parts[:3])
                    sizes[name] = sizes.get(name, 0) + info.size
        return self._sizes

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What pyarrow raises, told without the address's secrets.

        Raises:
            StorageError: instead of what was raised, unless something simply is not there.
        """
        try:
            yield
        except (StorageError, FileNotFoundError):
            raise
        except (OSError, ArrowException) as error:
            raise StorageError(unusable(self.public, str(error).replace(self.address, self.public))) from None


def _trial(name: str) -> str:
    return name.split("/")[1]
