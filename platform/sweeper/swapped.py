"""A class of another library with one of ours in its place, for as long as a `with` lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def swapped(module: ModuleType, name: str, ours: type) -> Iterator[None]:
    """Whoever asks `module` for `name` within the `with` gets `ours`."""
    before = getattr(module, name)
    setattr(module, name, ours)
    try:
        yield
    finally:
        setattr(module, name, before)
