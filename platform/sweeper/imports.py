"""Imports of what stays for good: torch, Ray and MLflow are half a million objects, in which Python would look for garbage many times."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage within the `with`; what is there at its end is never searched again."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # an ordinary end of Python takes everything apart
        if searched:
            gc.enable()
