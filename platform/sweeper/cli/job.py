"""The other end of a job: runs on the cluster's head, looks whether versions and folders fit, then runs a command of `sweep` there.

`python -m sweeper.cli.job drive run SPEC ...` runs a sweep and says when it has begun; `... ask status NAME ...` hands back what a command
prints, in one line of the log.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from packaging.version import Version
from rich.markup import escape

from sweeper.cli.markers import say
from sweeper.cli.screen import err
from sweeper.errors import ResourceError, SweepError
from sweeper.home import Home
from sweeper.provenance import JOB_VARIABLE, PROJECT, version_tags
from sweeper.spec_file import read_spec

MODULES = "modules"
TAKEN = 3


def problems_of_versions(here: dict[str, str], client: dict[str, str], *, shipped: bool) -> list[str]:
    """What keeps a client's job from running, each in a line that names both versions and what to do.

    Code that was shipped meets the cluster's Python and torch, which must be those that it was checked with; code that is installed must be
    the version that the spec was checked by.
    """
    problems = []
    for name, parts in (("python", 2), ("torch", 3)) if shipped else ():
        own, other = here[f"version.{name}"], client[f"version.{name}"]
        if own == "not installed" or Version(own).release[:parts] != Version(other).release[:parts]:
            shown = "Python" if name == "python" else name
            problems.append(
                f"{shown} must be of one version here and on the cluster, but is {other} here and {own} there; submit from an environment "
                f"with the cluster's, install {shown} {other} on the cluster, or let it run its own installation: --code installed"
            )
    own, other = here[f"version.{PROJECT}"], client[f"version.{PROJECT}"]
    if not shipped and own != other:
        problems.append(
            f"{PROJECT} must be of one version here and on the cluster, but is {other} here and {own} there; "
            "install the same on both, or leave out --code installed"
        )
    return problems


def home_here() -> Home:
    """Where the cluster keeps its sweeps.

    Raises:
        ResourceError: its nodes do not say.
    """
    root = os.environ.get("SWEEP_HOME", "")
    if not os.path.isabs(root):
        raise ResourceError(
            f"SWEEP_HOME must name a folder that all of the cluster's nodes share, by its whole path, but it is {root!r} there; "
            "set it on every node before 'ray start'"
        )
    return Home(Path(root))


def _drive(arguments: list[str]) -> None:
    """Runs, resumes or extends a sweep."""
    facts: dict[str, Any] = json.loads(os.environ[JOB_VARIABLE])
    problems = problems_of_versions(version_tags(), facts["versions"], shipped=facts["shipped"])
    if problems:
        raise ResourceError("\n".join(problems))
    home = home_here()
    if arguments[0] == "run":
        name = str(read_spec(arguments[1])["name"])
        free = home.free_name(name)
        if free != name:
            say("taken", free=free)
            raise SystemExit(TAKEN)
        _keep_modules(Path(arguments[1]), home.folder(name) / MODULES)
    else:
        modules = home.folder(arguments[1]) / MODULES
        if modules.is_dir():
            os.chdir(modules)
    _sweep(arguments)


def _keep_modules(spec: Path, folder: Path) -> None:
    """Copies what came with a spec beside the sweep, for 'sweep resume': Ray removes the job's own folder some time after its end."""
    shutil.rmtree(folder, ignore_errors=True)
    own = [path for path in Path.cwd().iterdir() if path.name not in (spec.name, "__pycache__")]
    if own:
        folder.mkdir(parents=True)
    for path in own:
        shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copy(path, folder / path.name)


def _ask(arguments: list[str]) -> None:
    """Runs a command and hands back what it prints and its exit code."""
    told, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
        try:
            home_here()
            _sweep(arguments)
        except SweepError as error:
            _tell(error)
            code = 2
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    say("answer", code=code, out=told.getvalue(), err=errors.getvalue())


def _sweep(arguments: list[str]) -> None:
    """What `sweep ARGUMENTS` does."""
    from sweeper.cli.app import main as sweep

    sys.argv = ["sweep", *arguments]
    sweep()


def _tell(error: SweepError) -> None:
    for line in str(error).splitlines():
        err.print(f"[bold red]error[/bold red] {escape(line)}", soft_wrap=True)


def main() -> None:
    """Entry point of a job; a user's mistake is one message in its log, with exit code 2."""
    say("started")
    how, *arguments = sys.argv[1:]
    try:
        _drive(arguments) if how == "drive" else _ask(arguments)
    except SweepError as error:
        _tell(error)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
