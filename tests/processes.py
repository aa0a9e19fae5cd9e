"""What tests of other processes share."""

import os
import select

GONE_S = 60


def gone(process: int) -> bool:
    """Whether a process has ended, or does so within a minute."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = bool(poll.poll(GONE_S * 1000))
    os.close(descriptor)
    return ended
