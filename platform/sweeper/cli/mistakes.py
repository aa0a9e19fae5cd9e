"""A user's mistake is told in one message on standard error, with exit code 2 and without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape

from sweeper.cli.screen import err
from sweeper.errors import SweepError


@contextmanager
def mistakes_told() -> Iterator[None]:
    """A mistake within the `with` is told, before anything around it is ended; any other error goes on as it is.

    Raises:
        SystemExit: with code 2, where an error was the engine's own, or one of the models and images.
    """
    try:
        yield
    except Exception as error:
        neighbour = sys.modules.get("trainables.errors")
        if not isinstance(error, SweepError) and (neighbour is None or not isinstance(error, neighbour.InpaintingError)):
            raise
        err.print(f"[bold red]error[/bold red] {escape(str(error))}", soft_wrap=True)
        raise SystemExit(2) from None
