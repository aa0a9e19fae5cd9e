"""Asking a driver to stop: a file in the sweep's folder from another terminal, a tag of its MLflow run from another machine.

A wish names the driver that it is for. The driver of a later resume has another name and does not heed it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.interrupt import Interrupt

if TYPE_CHECKING:
    from sweeper.tracking import Store

FILE = "stop"
DRIVER_TAG = "sweep.driver"
STOP_TAG = "sweep.stop"
FILE_EVERY_S = 0.5
TAG_EVERY_S = 5.0


def ask_here(folder: Path, driver: str) -> None:
    """Asks the driver that is running the sweep of a folder here."""
    (folder / FILE).write_text(driver, encoding="utf-8")


def ask_there(store: "Store", run_id: str, driver: str) -> None:
    """Asks a driver elsewhere.

    Raises:
        TrackingError: the store does not take the wish.
    """
    store.tag(run_id, STOP_TAG, driver)


class Wishes:
    """The driver's end: looks whether it is asked to stop, and passes it on as Ctrl-C."""

    def __init__(self, interrupt: Interrupt, folder: Path, driver: str) -> None:
        """Removes what was left for an earlier driver.

        Args:
            interrupt: hears of a wish.
            folder: the sweep's.
            driver: who is asked.
        """
        self._interrupt = interrupt
        self._file = folder / FILE
        self._driver = driver
        self._file.unlink(missing_ok=True)

    def look_here(self) -> None:
        """Heeds the file, once."""
        try:
            asked = self._file.read_text(encoding="utf-8") == self._driver
        except FileNotFoundError:
            return
        if asked:
            self._file.unlink(missing_ok=True)
            self._interrupt.ask()

    def heed(self, tags: dict[str, str]) -> None:
        """Heeds the tag, once."""
        if tags.get(STOP_TAG) == self._driver:
            self._interrupt.ask()
