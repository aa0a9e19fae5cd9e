"""Imported by a worker of a local Ray as soon as it is up: all that a trial needs."""

from sweeper.imports import uncollected

with uncollected():
    import sweeper.cli.rooms
    import sweeper.trial  # noqa: F401
    from sweeper.cli.uncompiled import leave_compiler_out

leave_compiler_out()
