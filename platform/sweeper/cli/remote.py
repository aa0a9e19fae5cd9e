"""Sweeps on a cluster that this machine is no part of: `sweep submit`, `sweep logs`, and other commands with --address http://HEAD:8265."""

import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.markers import plain, said
from sweeper.cli.options import NameArgument, spec_names
from sweeper.cli.screen import err, out
from sweeper.errors import ResourceError, SpecError, SweepStateError

if TYPE_CHECKING:
    from sweeper.jobs import Job, JobServer
    from sweeper.spec import Spec

app = typer.Typer()
INSTALLED, SHIPPED = "installed", "shipped"
SCHEMES = ("http://", "https://")
AddressOption = Annotated[
    str | None, typer.Option("--address", help="Ask a cluster's job server, http://HEAD:8265; home and store are the cluster's own.")
]
ServerOption = Annotated[
    str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="The cluster's job server, for example http://HEAD:8265.")
]
CodeOption = Annotated[str, typer.Option("--code", help="shipped: this code runs there; installed: what the cluster has installed.")]


@app.command()
def submit(
    spec: Annotated[str, typer.Argument(help="A shipped spec's name, or a YAML file.", autocompletion=spec_names)],
    address: ServerOption,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, dotted: --set budget.trials=4; may be repeated.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what has been trained with equal code, data and knobs.")] = False,
    code: CodeOption = SHIPPED,
) -> None:
    """Run a sweep on a cluster, driver and all: this machine may be switched off once it has begun."""
    from sweeper.cli.rooms import installed_rooms
    from sweeper.spec_file import read_spec
    from sweeper.validation import validate

    shipped = _is_shipped(code)
    checked = validate(read_spec(spec, overrides or []), installed_rooms())
    _refuse_own_paths(checked)
    server = _server(address)
    name = checked.name
    while True:
        sent = checked.model_copy(update={"name": name})
        file = f"{Path(spec).stem}.yaml"
        arguments = ["run", file, "--address", "auto", *(["--fresh"] if fresh else [])]
        free = _start(server, name, arguments, shipped=shipped, spec=(file, sent.to_yaml()))
        if free is None:
            return
        out.print(
            f"a sweep {name!r} is there already; this one is called {free!r} "
            f"(to go on with the old one: sweep resume {name} --address {server.address})",
            soft_wrap=True,
        )
        name = free


@app.command()
def logs(
    name: NameArgument,
    address: ServerOption,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the driver ends, or Ctrl-C.")] = False,
) -> None:
    """Show what the driver of a submitted sweep prints."""
    server = _server(address)
    job = server.newest(name)
    if follow:
        server.follow(job.name, lambda text: _write(plain(text)))
    else:
        _write(plain(server.log(job.name)))
    job = server.job(job.name)
    if job.ended:
        err.print(f"its driver has ended: {job.outcome}")


def go_on(address: str, name: str, arguments: list[str]) -> None:
    """Goes on with a sweep of a cluster in a new job: `sweep ARGUMENTS` there, with this or the installed code, as it was sent first.

    Raises:
        SweepStateError: it is running.
        ResourceError: see `submit`.
    """
    server = _server(address)
    jobs = server.jobs_of(name)
    running = [job for job in jobs if not job.ended]
    if running:
        raise SweepStateError(
            f"a sweep must not be running to be gone on with, but the job {running[0].name} drives {name!r}; "
            f"look at it: sweep status {name} --address {server.address}"
        )
    _start(server, name, [*arguments, "--address", "auto"], shipped=not jobs or jobs[0].code == SHIPPED)


def ask(address: str, *arguments: str) -> None:
    """Runs a command of `sweep` on a cluster, prints what it prints there and ends as it ends.

    Raises:
        ResourceError: the job server does not answer, or the command cannot be started there.
        Exit: always.
    """
    raise typer.Exit(_asked(_server(address), *arguments))


def _asked(server: "JobServer", *arguments: str) -> int:
    """The same; the command's exit code."""
    from sweeper.cli.shipping import job_environment

    job = f"ask-{arguments[0]}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as stage:
        server.submit(job, _entrypoint("ask", list(arguments)), job_environment(Path(stage), shipped=True))
    ended, log = server.wait(job, lambda text: False)
    answer = said(log, "answer")
    if answer is None:
        raise ResourceError(_not_started(server, ended, log))
    server.forget(job)
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return int(answer["code"])


def stop(address: str, name: str, wait_s: float, *, as_json: bool) -> None:
    """`sweep stop` on a cluster: says so where the job that drove the sweep has ended, else asks the driver there and ends as that ends.

    Raises:
        SweepStateError: the job has ended.
        Exit: always.
    """
    server = _server(address)
    jobs = server.jobs_of(name)
    if jobs and all(job.ended for job in jobs):
        raise SweepStateError(
            f"a sweep must run to be stopped, but the job {jobs[0].name} that drove {name!r} has ended ({jobs[0].outcome}); "
            f"go on with it: sweep resume {name} --address {server.address}"
        )
    code = _asked(server, "stop", name, "--wait", f"{wait_s:g}", *given("--json", as_json))
    if code == 0 and wait_s and jobs:
        server.wait(jobs[0].name, lambda log: False, patience_s=wait_s)  # so that 'sweep resume' finds nothing that runs
    raise typer.Exit(code)


def _start(server: "JobServer", name: str, arguments: list[str], *, shipped: bool, spec: tuple[str, str] | None = None) -> str | None:
    """Starts a driver and waits until it has begun.

    Returns:
        None, or the name that is free where the sweep's is taken.

    Raises:
        ResourceError: Ray is of another version there.
        Exit: with code 2 where the driver has ended before it began.
    """
    from sweeper.cli.shipping import job_environment

    if server.ray_version != server.own_ray_version:
        raise ResourceError(
            f"Ray must be of one version here and on the cluster, but is {server.own_ray_version} here and {server.ray_version} there; "
            f"install the cluster's here: pip install 'ray[default,tune]=={server.ray_version}'"
        )
    job = f"{name}-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as stage:
        environment = job_environment(Path(stage), shipped=shipped, spec=spec, modules=shipped)
        server.submit(job, _entrypoint("drive", arguments), environment, sweep=name, code=SHIPPED if shipped else INSTALLED)
    out.print(f"the job {job} is sent to {server.address}; waiting for its driver to begin", soft_wrap=True)
    try:
        ended, log = server.wait(job, lambda text: said(text, "begun") is not None)
    except KeyboardInterrupt:
        out.print(
            f"\nthe job {job} goes on without this terminal; look again with: sweep logs {name} --address {server.address}", soft_wrap=True
        )
        raise
    begun, taken = said(log, "begun"), said(log, "taken")
    if taken is not None:
        server.forget(job)
        return str(taken["free"])
    if begun is None:
        if said(log, "started") is None:
            raise ResourceError(_not_started(server, ended, log))
        err.print(plain(log, after="started"), soft_wrap=True, markup=False)
        raise typer.Exit(2)
    where = f"{name} --address {server.address}"
    out.print(f"{name} has begun on the cluster and goes on without this machine; look again with:", soft_wrap=True)
    out.print(f"  sweep status {where}\n  sweep logs {where} --follow\n  sweep stop {where}", soft_wrap=True)
    return None


def _entrypoint(how: str, arguments: list[str]) -> str:
    """For the cluster's shell; the command takes its place, so that a signal for the job is one for the driver."""
    return f"exec python -m sweeper.cli.job {how} {shlex.join(arguments)}"


def _not_started(server: "JobServer", job: "Job", log: str) -> str:
    last = " ".join((plain(log).splitlines() or job.message.splitlines() or ["no word"])[-1:])
    return (
        f"the command must start on the cluster at {server.address}, but the job {job.name} has {job.state.lower()}: {last}; "
        "check that python and the project's dependencies are on the PATH that 'ray start' had there"
    )


def is_job_server(address: str | None) -> bool:
    """Whether an address is a job server's, and not one that a driver joins a cluster at."""
    return address is not None and address.startswith(SCHEMES)


def given(option: str, value: object) -> list[str]:
    """An option for a command line, as far as it was given: a switch that is on, or a value."""
    if value is None or value is False:
        return []
    return [option] if value is True else [option, str(value)]


def _server(address: str) -> "JobServer":
    if not is_job_server(address):
        raise ResourceError(
            f"a job server's address must begin with http:// or https://, but got {address!r}; for example --address http://HEAD:8265"
        )
    from sweeper.jobs import JobServer  # imports Ray, which takes a second

    return JobServer(address)


def _is_shipped(code: str) -> bool:
    if code not in (INSTALLED, SHIPPED):
        raise SpecError(f"--code must be {SHIPPED} or {INSTALLED}, but got {code!r}; name one of these")
    return code == SHIPPED


def _refuse_own_paths(spec: "Spec") -> None:
    """Raises SpecError for places that only this machine knows."""
    problems = list(_own_paths(spec.model_dump(mode="json")))
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} on a cluster"
        raise SpecError(f"the spec has {count}; nothing was sent\n" + "\n".join(f"  - {problem}" for problem in problems))


def _own_paths(fields: dict[str, Any]) -> Iterator[str]:
    remedy = "name a folder that all of the cluster's nodes share, by its whole path"
    name = fields["data"]["name"]
    if name.startswith("folder:") and not name.startswith("folder:/"):
        yield f"data.name: must not depend on this machine's folders, but got {name!r}; {remedy}"
    for section, field in (("data", "data_dir"), ("checkpoints", "storage")):
        path = fields[section].get(field)
        if path and "://" not in path and not path.startswith("/"):
            yield f"{section}.{field}: must not depend on this machine's folders, but got {path!r}; {remedy}, or leave it out"
    study = fields["study"]
    if study and study.startswith("sqlite:") and not study.startswith("sqlite:////"):
        yield f"study: must not depend on this machine's folders, but got {study!r}; {remedy}, or leave it out"


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
