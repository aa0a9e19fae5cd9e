"""`--watch`: the report is built again whenever the store has changed."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from reports.selection import read_sweeps
from sweeper.errors import SweepError
from sweeper.home import Home
from sweeper.sqlite_reader import open_reader


def state_of(home: Home) -> str:
    """A text that changes when the store does: the SQLite files' sizes and times, or a digest of what a server's runs say.

    Args:
        home: which store.

    Raises:
        TrackingError: no store, or one that does not answer.
    """
    file = home.store_file
    if file is not None:
        return " ".join(_stamp(Path(f"{file}{ending}")) for ending in ("", "-wal"))
    text = repr([(sweep.row, sweep.trials) for sweep in read_sweeps(open_reader(home.store_uri))])
    return hashlib.sha256(text.encode()).hexdigest()


def watch(home: Home, every_s: float, rebuild: Callable[[], str], say: Callable[[str], None]) -> None:
    """Builds at once, and again after every change of the store, until Ctrl-C.

    The first build's error is raised. A later one, as of a server that restarts, is told, and the next change or look tries again.

    Args:
        home: which store.
        every_s: seconds between two looks.
        rebuild: builds the report and says what it built, in one line.
        say: takes one line a build.
    """
    seen = state_of(home)
    say(rebuild())
    try:
        while True:
            time.sleep(every_s)
            try:
                now = state_of(home)
                if now != seen:
                    line = rebuild()
                    seen = now
                    say(line)
            except SweepError as error:
                say(f"not built: {error}")
    except KeyboardInterrupt:
        say("no longer watching; the report is the one built last")


def _stamp(file: Path) -> str:
    """Size and time of a file; nothing where there is none."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return "-"
    return f"{found.st_size} {found.st_mtime_ns}"
