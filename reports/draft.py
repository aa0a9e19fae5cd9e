"""A report's folder appears whole or not at all: it is written as a draft beside its place, and an earlier one stays until then."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reports.errors import ReportError
from sweeper.errors import SweepError

MARK = "report.json"


def check_place(place: Path) -> None:
    """Refuses a folder that holds anything but an earlier report, since building replaces it.

    Raises:
        ReportError: such a folder.
    """
    if place.exists() and (not place.is_dir() or (any(place.iterdir()) and not (place / MARK).is_file())):
        raise ReportError(
            f"the report's folder must be new, empty or an earlier report, but {place} holds something else; name another with --out"
        )


@contextmanager
def draft(place: Path) -> Iterator[Path]:
    """A folder to write in, which takes its place when the `with` ends well and vanishes when it does not.

    Args:
        place: where the report will be; one that is there is replaced.

    Raises:
        ReportError: the folder cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise ReportError(f"the report's folder must be writable, but {place.parent} is not ({error}); name another with --out") from error
    new, old = scratch / "new", scratch / "old"
    try:
        new.mkdir()
        try:
            yield new
            if place.exists():
                place.rename(old)
            new.rename(place)
        except OSError as error:
            if old.exists() and not place.exists():
                old.rename(place)
            if isinstance(error, SweepError):
                raise
            raise ReportError(
                f"the report must be written whole, but {error}; the earlier one is as it was; mend that or use --out"
            ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
