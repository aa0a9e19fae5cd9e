"""A class or a function of another library with one of ours in its place, for as long as a `with` lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def swapped(place: Any, name: str, ours: Any) -> Iterator[None]:
    """Whoever asks `place`, a module or a class, for `name` within the `with` gets `ours`."""
    before = getattr(place, name)
    setattr(place, name, ours)
    try:
        yield
    finally:
        setattr(place, name, before)
