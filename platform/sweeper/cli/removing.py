"""`sweep rm`: what there is of a sweep, and its removal."""

import shutil
from types import TracebackType
from typing import Any, Self

import yaml

from sweeper.checkpoints import Place, sweeps_place
from sweeper.errors import StorageError, SweepStateError, TrackingError
from sweeper.home import Home
from sweeper.journal import driver_of, take_lock
from sweeper.spec import Spec
from sweeper.status import size_bytes
from sweeper.tracking import Store


class Removal:
    """A sweep that is about to be removed; for the length of a `with` no driver can take it up.

    Attributes:
        words: what there is, for people.
        document: the same as a document.
    """

    def __init__(self, home: Home, name: str) -> None:
        """Looks at what there is.

        Args:
            home: where the sweep lives.
            name: the sweep.

        Raises:
            SweepStateError: there is no such sweep, or it runs elsewhere.
            TrackingError: the store does not answer.
            StorageError: the place of its checkpoints does not.
        """
        self._name, self._home = name, home
        self._folder = home.folder(name)
        here = (self._folder / "spec.yaml").exists()
        try:
            self._store: Store | None = Store(home.store_uri, create=False)
        except TrackingError:
            if not here or not self._no_store():
                raise
            self._store = None
        row = self._store.sweep(name) if self._store else None
        if not here and row is None:
            raise SweepStateError(f"a sweep must be here to be removed, but there is no {name!r}; 'sweep list' shows those that are")
        if not here and row is not None and row.tags.get("sweep.state") == "running":
            raise SweepStateError(
                f"a sweep must not run while it is removed, but {name!r} runs elsewhere by the store; first: sweep stop {name}"
            )
        runs = (len(self._store.trials(name)) + (row is not None)) if self._store else 0
        self._spec = Spec(**yaml.safe_load((self._folder / "spec.yaml").read_text())) if here else None
        self._here = here
        self._place, elsewhere = self._checkpoints_elsewhere()
        size = size_bytes(self._folder) if here else 0
        study = self._spec.study if self._spec else None
        self.document: dict[str, Any] = {
            "folder": str(self._folder.resolve()) if here else None,
            "bytes": size,
            "runs": runs,
            "store": home.store_uri,
            "study_elsewhere": study is not None,
            "checkpoints_elsewhere": self._place.public if self._place else None,
            "checkpoints_bytes": elsewhere,
        }
        parts = [f"folder {self._folder.resolve()} ({size / 2**20:.1f} MiB)"] if here else []
        parts += [f"{runs} MLflow runs and their artifacts in {home.store_uri}"] if runs else []
        parts += [f"checkpoints in {self._place.public} ({elsewhere / 2**20:.1f} MiB)"] if self._place else []
        parts += ["the study in its own storage"] if study else []
        self.words = f"of {name} there is: " + "; ".join(parts)

    def __enter__(self) -> Self:
        """Takes the sweep's lock.

        Raises:
            SweepStateError: it runs.
        """
        if self._here and driver_of(self._folder) is not None:
            raise SweepStateError(
                f"a sweep must not run while it is removed, but a driver here is running {self._name!r}; first: sweep stop {self._name}"
            )
        self._lock = take_lock(self._folder) if self._here else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.close()

    def remove(self) -> list[str]:
        """Removes all of it, the folder last, so that a removal that fails can be begun again; returns what is worth telling.

        Raises:
            TrackingError: the store does not do as it is told.
            StorageError: the place of the checkpoints does not.
        """
        notes: list[str] = []
        if self._store is not None and self._store.delete(self._name, notes.append):
            notes.append("the runs are marked as deleted in the store; 'mlflow gc' frees their rows")
        if self._spec is not None and self._spec.study is not None:
            from sweeper.search.storage import delete_study  # its libraries take seconds to be imported

            if not delete_study(self._spec, self._folder):
                notes.append(f"there was no study {self._name!r} in its storage")
        if self._place is not None:
            self._place.clear()
        if self._here:
            shutil.rmtree(self._folder)
        return notes

    def _checkpoints_elsewhere(self) -> tuple[Place | None, int]:
        """Where the sweep's checkpoints lie outside its folder, and how many bytes; None where they do not."""
        if self._spec is None or self._spec.checkpoints.storage is None:
            return None, 0
        place = sweeps_place(self._home, self._name, self._spec.checkpoints.storage)
        try:
            return place, sum(place.size(name) for trial in place.trials() for name in place.names(trial))
        except StorageError as error:
            file = self._folder / "spec.yaml"
            raise StorageError(f"{error}; to leave the checkpoints where they are, set checkpoints.storage to null in {file}") from error

    def _no_store(self) -> bool:
        """Whether there is simply no store, as for a sweep that never came to one."""
        file = self._home.store_file
        return file is not None and not file.exists()
