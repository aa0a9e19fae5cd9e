"""Ctrl-C and SIGTERM are remembered where the place that they landed in drops them."""

import contextlib
import signal

import pytest

from sweeper.interrupt import Interrupt

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_dropped_interrupt_is_raised_again_at_the_next_check(number: signal.Signals) -> None:
    with Interrupt() as interrupt:
        interrupt.check()
        with contextlib.suppress(KeyboardInterrupt):  # as a callback of a C extension does
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


@BOTH
def test_the_handler_from_before_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_a_signal_that_the_process_was_started_without_is_heard() -> None:
    """Ray's job server blocks SIGINT in what it starts; 'sweep stop' there would not wake a driver that waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with pytest.raises(KeyboardInterrupt), Interrupt():
            signal.raise_signal(signal.SIGINT)
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
