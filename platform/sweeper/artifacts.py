"""Where a run's files lie, as far as that can be told without MLflow.

MLflow keeps the whole address of a run's files, so a store that was moved would no longer find them. An archive (`sweeper.archive`) holds
them beside its SQLite file instead, in `artifacts/RUN_ID/`; whoever reads a SQLite store looks there first.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCHEME = "sqlite:///"
FOLDER = "artifacts"
RUN_ID = r"[0-9a-f]{32}"


def kept_beside(uri: str, run_id: str, artifact: str) -> Path | None:
    """A run's file beside the SQLite file of its store; None where it is not there, or the store is no such file."""
    if not uri.startswith(SCHEME) or not re.fullmatch(RUN_ID, run_id):
        return None
    path = Path(uri.removeprefix(SCHEME)).parent / FOLDER / run_id / artifact
    return path if path.exists() else None


def local_folder(address: str) -> Path | None:
    """The folder of an address that MLflow gives a run's files; None where it is not on this machine."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(address)
