"""MLflow's store, and the database of the study where the spec names one."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

from sweeper.checkpoints import place_at
from sweeper.doctor.data import refused
from sweeper.doctor.finding import Finding, Question
from sweeper.errors import first_line
from sweeper.sqlite_reader import SqliteReader

ANOTHER = "name another with --store or MLFLOW_TRACKING_URI"


def tracking(question: Question) -> list[Finding]:
    """Whether the store answers. It is read alone: a store that is not there yet is not made."""
    uri, file = question.home.store_uri, question.home.store_file
    if file is not None:
        wrong = _wrong_with_file(file)
        if wrong is not None or not file.exists() or SqliteReader.reads(uri):
            return [wrong or Finding("MLflow store", uri if file.exists() else f"{uri}, made by the first sweep")]
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        reason = refused(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if reason:
            remedy = f"start it (mlflow server), check the address and what lies between, or {ANOTHER}"
            return [Finding("MLflow store", f"{uri} does not answer ({reason})", "fault", remedy)]
    from sweeper.tracking import look  # takes seconds to be imported

    return [Finding("MLflow store", f"{uri}, {look(uri)}")]


def study(question: Question) -> list[Finding]:
    """Whether the study's database answers; the one in the sweep's folder is made with it."""
    if question.spec is None or question.spec.study is None:
        return []
    from sweeper.search import check_storage

    check_storage(question.spec)
    return [Finding("study", "the database answers")]


def checkpoints(question: Question) -> list[Finding]:
    """Whether the place of checkpoints that the spec names can be reached and written; the sweep's own folder is its home's to judge."""
    storage = question.spec.checkpoints.storage if question.spec else None
    if storage is None:
        return []
    place = place_at(storage)
    place.require()
    return [Finding("checkpoints", f"{place.public} takes a file and gives it back")]


def _wrong_with_file(file: Path) -> Finding | None:
    """What is wrong with a SQLite store without asking MLflow, which would fill a foreign database with its tables."""
    if not file.parent.is_dir():
        return Finding("MLflow store", f"{file.parent} is not there", "fault", f"make it (mkdir -p {file.parent}), or {ANOTHER}")
    if not file.exists():
        return None
    if not os.access(file, os.R_OK | os.W_OK) or not os.access(file.parent, os.W_OK):
        return Finding(
            "MLflow store", f"{file} cannot be written", "fault", f"give yourself the right to the file and its folder, or {ANOTHER}"
        )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=10)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        return Finding("MLflow store", f"{file} is no SQLite database ({first_line(error)})", "fault", f"put its copy back, or {ANOTHER}")
    if not {"experiments", "alembic_version"} <= tables:
        some = ", ".join(sorted(tables)[:3]) or "nothing"
        return Finding("MLflow store", f"{file} is a database of something else: it holds {some}", "fault", ANOTHER)
    return None
