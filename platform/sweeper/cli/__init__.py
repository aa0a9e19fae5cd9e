"""`sweep ...`: the command line. The only part of the engine that knows every room."""

import platform as _platform

if not hasattr(_platform, "system"):  # before anything else is imported: typer, ray and torch would end with a traceback
    raise SystemExit(
        f"error Python's own module platform must be found, but {getattr(_platform, '__file__', None) or 'another one'} hides it; "
        "remove its __init__.py, give it another name, or take its parent folder off PYTHONPATH"
    )
