"""Ctrl-C is remembered where the place that it landed in drops it."""

import contextlib
import signal

import pytest

from sweeper.interrupt import Interrupt


def test_a_dropped_interrupt_is_raised_again_at_the_next_check() -> None:
    with Interrupt() as interrupt:
        interrupt.check()
        with contextlib.suppress(KeyboardInterrupt):  # as a callback of a C extension does
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


def test_the_handler_from_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
