"""Ray starts, and its workers import what a trial needs, while this process imports and prepares what a sweep needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sweeper import ray_session
from sweeper.home import Home
from sweeper.imports import uncollected

WORKERS_IMPORT = "sweeper.cli.worker_imports"


@contextmanager
def ray_ahead(address: str | None, home: Home) -> Iterator[None]:
    """See `ray_session.ray_ahead`; what launching a sweep takes is imported when the `with` begins.

    Args:
        address: of a running cluster; None = this machine.
        home: where the sweep lives.
    """
    with ray_session.ray_ahead(address, (WORKERS_IMPORT,)):
        with uncollected():
            import sweeper.cli.launch  # noqa: F401
            from sweeper.tracking import load_for

            load_for(home.store_uri)
        yield
