"""Where a sweep's study is kept: a SQLite file in its folder, or any database that Optuna can use, by its address.

The journal holds what the study holds, so that a lost study is made anew: the file is not forced to the disk at every write, which is most
of what a trial costs there. A process that is killed loses nothing by it.
"""

import sqlite3
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sweeper.errors import StudyError, first_line
from sweeper.search.study_file import StudyFile, connected, has_known_schema
from sweeper.spec import Spec

FILE = "study.db"
DAMAGED = "study.db.damaged"
OWNER = "sweep.folder"
_ERRORS = (SQLAlchemyError, sqlite3.Error, OptunaError, ImportError, OSError, RuntimeError, ValueError, KeyError)


def check_storage(spec: Spec) -> None:
    """Opens and leaves the storage that a spec names, before anything starts.

    Raises:
        StudyError: it cannot be reached.
    """
    if spec.study is not None:
        _reached(spec.study)


def open_study(spec: Spec, folder: Path, directions: list[str]) -> tuple[optuna.Study, str]:
    """A sweep's study, made where it is not there.

    Args:
        spec: the sweep.
        folder: the sweep's.
        directions: "minimize" or "maximize" for each objective.

    Returns:
        The study, and what is worth telling of it; empty where all is well. A damaged file in the sweep's folder is put aside.

    Raises:
        StudyError: a storage that cannot be reached, or that holds another sweep's study of this name.
    """
    if spec.study is not None:
        study = _study(_reached(spec.study), spec.name, directions)
        here = str(folder.resolve())
        owner = study.user_attrs.get(OWNER, "another program" if study.get_trials(deepcopy=False) else here)
        if owner != here:
            raise StudyError(
                f"the study {spec.name!r} in {_shown(spec.study)} must be this sweep's own, but it belongs to {owner}; "
                "give the sweep another name"
            )
        study.set_user_attr(OWNER, here)
        return study, ""
    path = folder / FILE
    try:
        study = _study(_of_file(path), spec.name, directions)
        study.get_trials(deepcopy=False)
        return study, ""
    except _ERRORS as error:
        if "locked" in str(error) or not path.exists():
            raise StudyError(
                f"{path} must be readable and writable, but it is not ({first_line(error)}); check the folder, and end what else holds it"
            ) from error
    for file in (path, *folder.glob(f"{FILE}-*")):  # what SQLite left beside it belongs to the damaged one
        file.replace(file.with_name(file.name.replace(FILE, DAMAGED)))
    note = f"{FILE} was damaged: it is kept as {DAMAGED}, and the study is made anew from the journal"
    return _study(_of_file(path), spec.name, directions), note


def study_address(spec: Spec, folder: Path) -> str:
    """Where a sweep's study is kept."""
    return spec.study or _file_url(folder / FILE)


def delete_study(spec: Spec, folder: Path) -> bool:
    """Deletes a sweep's study where it is kept outside its folder; whether there was one."""
    if spec.study is None:
        return False
    try:
        optuna.delete_study(study_name=spec.name, storage=study_address(spec, folder))
    except KeyError:
        return False
    return True


def emptied(study: optuna.Study, directions: list[str]) -> optuna.Study:
    """A study without its trials, under the same name in the same storage."""
    storage, owner = study._storage, study.user_attrs
    optuna.delete_study(study_name=study.study_name, storage=storage)
    made = optuna.create_study(storage=storage, study_name=study.study_name, directions=directions)
    for key, value in owner.items():
        made.set_user_attr(key, value)
    return made


def _of_file(path: Path) -> BaseStorage:
    """The storage of a file in a sweep's folder, made where it is not there. Raises what SQLAlchemy, SQLite and Optuna raise."""
    database = _storage(_file_url(path))
    return StudyFile(path, database) if has_known_schema(path) else database


def _study(storage: BaseStorage, name: str, directions: list[str]) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)


def _reached(url: str) -> RDBStorage:
    try:
        return _storage(url)
    except _ERRORS as error:
        raise StudyError(
            f"study: a database that Optuna can use must answer at {_shown(url)}, but none does ({first_line(error)}); "
            "check the address and that its driver is installed, or leave study out"
        ) from error


def _storage(url: str) -> RDBStorage:
    """Raises what SQLAlchemy and Optuna raise."""
    address = make_url(url)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "sqlite":
        options = {"creator": lambda: connected(Path(address.database or ":memory:"))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RDBStorage(url, engine_kwargs=options)


def _file_url(path: Path) -> str:
    return f"sqlite:///{path}"


def _shown(url: str) -> str:
    """An address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the given address"
