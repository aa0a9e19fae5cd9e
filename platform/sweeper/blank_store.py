"""The empty MLflow store in SQLite that new ones are copies of.

MLflow makes a new store by going through all changes that its tables have had since its first version. That takes three seconds, and breaks
the store for good where two processes do so at once. Here it is done once for each version of MLflow, in the user's cache, and a copy takes
the new store's place in one step.

Source: MLflow 3.17, `SqlAlchemyStore`, which makes the tables where they are missing.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow.version
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine


def make(path: Path) -> None:
    """Makes an empty store; one that is there, or that another process makes meanwhile, stays as it is.

    Raises:
        OSError: the folder cannot be written.
    """
    blank = _kept()
    with _beside(path) as copy:
        if blank is None:
            _create(copy)
        else:
            shutil.copyfile(blank, copy)
        with suppress(FileExistsError):
            os.link(copy, path)


def _kept() -> Path | None:
    """The empty store in the user's cache; None where nothing can be kept there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "inpaint-sweeps"
    blank = folder / f"mlflow-{mlflow.version.VERSION}.db"
    if blank.is_file():
        return blank
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _beside(blank) as made:
            _create(made)
            os.replace(made, blank)
    except OSError:  # a home that cannot be written, or is full: the store is made without
        return None
    return blank


def _create(path: Path) -> None:
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A place in the same folder for a file that is not whole yet; removed afterwards, whatever has come of it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        yield Path(folder) / path.name
