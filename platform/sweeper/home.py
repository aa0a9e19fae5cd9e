"""Where sweeps live on disk."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sweeper.artifacts import FOLDER
from sweeper.errors import SweepStateError

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
DEFAULT_STORE = "sqlite:///mlflow.db"


@dataclass(frozen=True)
class Home:
    """Where sweeps live.

    Attributes:
        root: the folder that holds `sweeps/NAME/` for each sweep.
        store: MLflow's address; a relative SQLite path is relative to `root`.
    """

    root: Path
    store: str = DEFAULT_STORE

    @property
    def store_uri(self) -> str:
        """The address with a relative SQLite path made absolute."""
        if self.store.startswith("sqlite:///") and not self.store.startswith("sqlite:////"):
            return f"sqlite:///{(self.root / self.store.removeprefix('sqlite:///')).resolve()}"
        return self.store

    @property
    def options(self) -> str:
        """The options of a command that name the same folder and store again."""
        root = "" if self.root == Path() else f" --home {shlex.quote(str(self.root))}"
        return root + ("" if self.store == DEFAULT_STORE else f" --store {shlex.quote(self.store)}")

    @property
    def store_file(self) -> Path | None:
        """The store's file; None where it is no SQLite file."""
        return Path(self.store_uri.removeprefix("sqlite:///")) if self.store_uri.startswith("sqlite:///") else None

    @property
    def artifacts_beside(self) -> Path | None:
        """The folder beside the store's file in which an archive holds its runs' files; None where there is none."""
        beside = self.store_file and self.store_file.parent / FOLDER
        return beside if beside and beside.is_dir() else None

    def folder(self, name: str) -> Path:
        """A sweep's folder.

        Raises:
            SweepStateError: a name that no sweep can have, which might lead elsewhere.
        """
        if not re.fullmatch(NAME, name):
            raise SweepStateError(
                f"a sweep's name must be letters, digits, '_', '.' and '-', 64 at most, a letter or digit first, but got {name!r}; "
                "'sweep list' shows the names"
            )
        return self.root / "sweeps" / name

    def spec_file(self, name: str) -> Path:
        """The resolved spec of a sweep that was begun.

        Raises:
            SweepStateError: there is no such sweep here.
        """
        path = self.folder(name) / "spec.yaml"
        if not path.exists():
            there = sorted(entry.parent.name for entry in self.root.glob("sweeps/*/spec.yaml"))
            raise SweepStateError(
                f"a sweep must lie in {self.root.resolve() / 'sweeps'}, but {name!r} does not; there is: {', '.join(there) or 'none'}; "
                "name one of these, or another folder with --home"
            )
        return path

    def free_name(self, name: str) -> str:
        """`name`, or `name-2`, `name-3`, ... where a sweep of that name is there already."""
        candidate, number = name, 1
        while (self.folder(candidate) / "spec.yaml").exists():
            number += 1
            candidate = f"{name}-{number}"
        return candidate
