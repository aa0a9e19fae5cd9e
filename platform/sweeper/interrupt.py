"""Ctrl-C that cannot get lost, and a wish to stop from elsewhere that is the same: SIGTERM, as `ray job stop` and an init system send it.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside a callback of a C extension (Ray's and the database's are
such) it may be printed and dropped. So the wish is remembered as well, and the driver's loop asks for it.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Listens for SIGINT and SIGTERM for the length of a `with`; outside the main thread it leaves signals alone.

    A process that Ray's job server has started gets no SIGINT until it asks for it: here it does.

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
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
            self._blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            if self._listens:
                for number, handler in self._before.items():
                    signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's to set again
                signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
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
