"""Something that is done again and again while something else goes on."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

PATIENCE_S = 5.0


class Pulse:
    """Calls a function every few seconds from a thread of its own, for the length of a `with`.

    The function handles its own errors. One that hangs at the end of the `with` is left to the process's end after a few seconds.
    """

    def __init__(self, act: Callable[[], None], every_s: float, name: str) -> None:
        """Starts nothing yet.

        Args:
            act: what is done.
            every_s: seconds between two calls.
            name: the thread's.
        """
        self._act = act
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        while not self._over.is_set():
            self._act()
            self._over.wait(self._every_s)
