"""Ctrl-C that cannot get lost, and a wish to stop from elsewhere that is the same.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside a callback of a C extension (Ray's and the database's are
such) it may be printed and dropped. So the wish is remembered as well, and the driver's loop asks for it.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """Listens for SIGINT for the length of a `with`; outside the main thread it leaves signals alone.

    Attributes:
        asked: whether Ctrl-C was pressed, or `ask` was called.
    """

    def __init__(self) -> None:
        self.asked = False
        self._listens = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listens = threading.current_thread() is threading.main_thread()
        if self._listens:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            if self._listens:
                signal.signal(signal.SIGINT, self._before)
            self._listens = False

    def ask(self) -> None:
        """Does what Ctrl-C does, once; from any thread. After the `with` nobody is interrupted."""
        with self._lock:
            first, self.asked = not self.asked, True
            if first and self._listens:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C was pressed and has not ended the sweep yet."""
        if self.asked:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt
