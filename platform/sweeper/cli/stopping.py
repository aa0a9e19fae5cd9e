"""`sweep stop`: asks a driver to stop and waits for its end."""

import threading
import time
from collections.abc import Callable

from sweeper import stop
from sweeper.cli.summary import known_sweep
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import driver_of
from sweeper.status import is_here

POLL_HERE_S = 0.1
POLL_THERE_S = 1.0


def stop_sweep(home: Home, name: str, wait_s: float) -> bool:
    """Asks a running sweep to stop.

    Args:
        home: where it lives.
        name: the sweep.
        wait_s: how long its end is waited for.

    Returns:
        Whether it has ended.

    Raises:
        SweepStateError: there is no such sweep, or it does not run.
        TrackingError: it does not run here, and the store does not answer.
    """
    if is_here(home, name):
        return _stop_here(home, name, wait_s)
    return _stop_there(home, name, wait_s)


def _stop_here(home: Home, name: str, wait_s: float) -> bool:
    folder = home.folder(name)
    asked = driver_of(folder)
    if asked is None:
        raise SweepStateError(f"a sweep must run to be stopped, but no driver is running {name!r}; 'sweep status' shows those that run")

    def ended() -> bool:
        nonlocal asked
        found = driver_of(folder)
        if found is not None and found != asked:  # it had just taken over from another when the wish was written
            asked = found
            stop.ask_here(folder, asked)
        return found is None

    stop.ask_here(folder, asked)
    return _wait(ended, wait_s, POLL_HERE_S)


def _stop_there(home: Home, name: str, wait_s: float) -> bool:
    from sweeper.tracking import Store  # takes seconds to be imported

    store = Store(home.store_uri, create=False)
    row = known_sweep(store, name)
    driver = row.tags.get(stop.DRIVER_TAG)
    if row.tags.get("sweep.state") != "running" or driver is None:
        state = row.tags.get("sweep.state", "unknown")
        raise SweepStateError(f"a sweep must run to be stopped, but {name!r} is {state}; 'sweep status' shows those that run")
    stop.ask_there(store, row.run_id, driver)
    return _wait(lambda: store.tags(row.run_id).get("sweep.state") != "running", wait_s, POLL_THERE_S)


def _wait(ended: Callable[[], bool], wait_s: float, every_s: float) -> bool:
    """Whether something has ended within a time."""
    deadline = time.monotonic() + wait_s
    pause = threading.Event()
    while not (over := ended()) and time.monotonic() < deadline:
        pause.wait(every_s)
    return over
