"""The commands. Each error is one message on standard error and exit code 2; nothing shows a traceback."""

import atexit
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli import archiving, doctor, look, manage, plan, remote, replay
from sweeper.cli.mistakes import mistakes_told
from sweeper.cli.options import (
    DataDirOption,
    HomeOption,
    JsonOption,
    NameArgument,
    NamesArgument,
    StoreOption,
    model_names,
    names_tables,
    output_file,
    print_json,
    set_data_dir,
    spec_names,
)
from sweeper.cli.screen import out
from sweeper.errors import SpecError
from sweeper.home import DEFAULT_STORE, Home

if TYPE_CHECKING:
    from sweeper.rooms import Rooms
    from sweeper.spec import Spec
    from sweeper.tracking import Store

warnings.filterwarnings("ignore", category=FutureWarning)
app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help="Hyperparameter sweeps for image inpainting."
)
app.add_typer(look.app)
app.add_typer(manage.app)
app.add_typer(remote.app)
app.add_typer(doctor.app)
app.add_typer(plan.app)
app.add_typer(archiving.app)
app.add_typer(replay.app)

PICTURES = (".png", ".webp", ".jpg", ".jpeg")
ClusterOption = Annotated[str | None, typer.Option("--address", envvar="RAY_ADDRESS", help="A running Ray cluster; default: this machine.")]


@app.command()
def run(
    spec: Annotated[
        str,
        typer.Argument(
            help="A shipped spec's name ('sweep specs' lists them), or a YAML file; or table:NAME, tables: what is missing or stale of one "
            "of the papers' tables, of all.",
            autocompletion=spec_names,
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, dotted: --set budget.trials=4; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and what it would cost; start nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what has been trained with equal code, data and knobs.")] = False,
    budget_s: Annotated[float | None, typer.Option("--budget-s", min=0, help="Of tables: wall time of all sweeps, in seconds.")] = None,
    tables: Annotated[Path | None, typer.Option("--tables", help="Of tables: folder of table files; default: the package's own.")] = None,
    address: ClusterOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    data_dir: DataDirOption = None,
) -> None:
    """Run a sweep."""
    if remote.is_job_server(address):
        raise SpecError(f"run joins a cluster, but {address} is a job server's address; type: sweep submit {spec} --address {address}")
    place = Home(home, store)
    if names_tables(spec):
        from sweeper.cli.filling import Ways, fill_tables

        ways = Ways(_rooms(), place, overrides or [], data_dir, address, fresh, budget_s, tables)
        fill_tables(out, spec, ways, dry_run=dry_run)
        return
    if budget_s is not None or tables is not None:
        raise SpecError(f"--budget-s and --tables go with table:NAME and tables, but got {spec!r}; a sweep's own limit is budget.wall_s")
    from sweeper.spec_file import read_spec
    from sweeper.validation import validate

    fields = read_spec(spec, overrides or [])
    set_data_dir(fields, data_dir)
    rooms = _rooms()
    checked = validate(fields, rooms)
    if dry_run:
        from sweeper.cli.dry_run import dry_run as say_what_would_run

        say_what_would_run(out, checked, rooms, address)
        return
    name = place.free_name(checked.name)
    if name != checked.name:
        out.print(
            f"a sweep {checked.name!r} is there already; this one is called {name!r} "
            f"(to go on with the old one: sweep resume {checked.name})"
        )
        checked = checked.model_copy(update={"name": name})
    from sweeper.cli.ahead import ray_ahead

    with ray_ahead(address, place), mistakes_told():  # at once: to end a Ray that is just starting takes seconds
        from sweeper.cli.launch import launch

        launch(out, checked, rooms, place, Path(spec).stem, address, fresh=fresh)


@app.command()
def resume(
    name: NameArgument,
    address: ClusterOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Go on with a sweep that was interrupted: finished trials stay, begun ones continue from their checkpoints."""
    if address is not None and remote.is_job_server(address):
        remote.go_on(address, name, ["resume", name])
        return
    _go_on(name, Home(home, store), address, lambda spec, place: spec)


@app.command()
def extend(
    name: Annotated[str, typer.Argument(help="The sweep's name, as 'sweep list' shows it.")],
    epochs: Annotated[float | None, typer.Option(help="Epochs a trial; finished trials go on from their checkpoints.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all.")] = None,
    wall_s: Annotated[float | None, typer.Option("--wall-s", help="Wall time in all, in seconds.")] = None,
    accelerator_h: Annotated[float | None, typer.Option("--accelerator-h", help="Accelerator-hours in all.")] = None,
    cost: Annotated[float | None, typer.Option(help="Money in all.")] = None,
    address: ClusterOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Give a sweep a larger budget and go on with it: longer training of finished trials, more trials, the same study."""
    from sweeper.extension import extend as write_larger

    named = {"epochs": epochs, "trials": trials, "wall_s": wall_s, "accelerator_h": accelerator_h, "cost": cost}
    changes = {field: float(value) for field, value in named.items() if value is not None}
    if address is not None and remote.is_job_server(address):
        options = [f"--{field.replace('_', '-')}={value}" for field, value in named.items() if value is not None]
        remote.go_on(address, name, ["extend", name, *options])
        return
    _go_on(name, Home(home, store), address, lambda spec, place: write_larger(spec, place, changes))


@app.command()
def sync(
    name: Annotated[str, typer.Argument(help="The sweep's name, as it was run.")],
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Send MLflow what it could not take while a sweep ran; a second time nothing is sent twice."""
    from sweeper.cli.launch import send
    from sweeper.spec_file import read_spec
    from sweeper.validation import validate

    rooms, place = _rooms(), Home(home, store)
    send(out, validate(read_spec(str(place.spec_file(name))), rooms), rooms, place)


@app.command()
def pictures(
    names: NamesArgument,
    to: Annotated[Path, typer.Option(help="Where the picture goes: .png, .webp or .jpg.")] = Path("pictures.png"),
    images: Annotated[int, typer.Option(min=1, max=64, help="How many images.")] = 8,
    split: Annotated[str, typer.Option(help="validation or test.")] = "validation",
    fills_only: Annotated[bool, typer.Option("--fills-only", help="Show no pixel of the images, only what the models made.")] = False,
    home: HomeOption = Path(),
) -> None:
    """Draw the best models of several sweeps side by side on the same images."""
    from sweeper.cli.pictures import draw
    from sweeper.cli.rooms import installed_rooms

    output_file(to, PICTURES)
    if split not in ("validation", "test"):
        raise SpecError(f"--split must be validation or test, but got {split!r}; name one of these")
    draw(installed_rooms(), Home(home), names, to, images=images, split=split, fills_only=fills_only)
    out.print(f"wrote {to.resolve()}", soft_wrap=True)


@app.command()
def samples(
    name: NameArgument,
    to: Annotated[Path, typer.Option(help="Where the picture goes: .png, .webp or .jpg.")] = Path("samples.png"),
    images: Annotated[int, typer.Option(min=1, max=256, help="How many images.")] = 32,
    home: HomeOption = Path(),
) -> None:
    """Draw images that a sweep's best model makes of nothing; the model must make whole images, like lsgan."""
    from sweeper.cli.pictures import draw_samples
    from sweeper.cli.rooms import installed_rooms

    output_file(to, PICTURES)
    draw_samples(installed_rooms(), Home(home), name, to, images=images)
    out.print(f"wrote {to.resolve()}", soft_wrap=True)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models."""
    from sweeper.cli.rooms import installed_rooms

    rooms = installed_rooms()
    if as_json:
        print_json([{"name": name, "class": path, "knobs": list(rooms.spaces[name])} for name, path in rooms.models.items()])
        return
    for name, path in rooms.models.items():
        out.print(f"[bold]{name}[/bold]  {path}  ({len(rooms.spaces[name])} knobs; sweep space {name})", soft_wrap=True)


@app.command()
def specs(as_json: JsonOption = False) -> None:
    """List the specs that come with the engine."""
    import yaml

    from sweeper.spec_file import shipped

    described = {name: yaml.load(path.read_text(), yaml.CSafeLoader).get("description", "") for name, path in shipped().items()}
    if as_json:
        print_json([{"name": name, "description": description} for name, description in described.items()])
        return
    for name, description in described.items():
        out.print(f"[bold]{name}[/bold]  {description}", soft_wrap=True)


@app.command()
def space(
    model: Annotated[str, typer.Argument(help="A model's name; 'sweep models' lists them.", autocompletion=model_names)],
    as_json: JsonOption = False,
) -> None:
    """Show a model's knobs: range, the paper's value, source."""
    from search_spaces import SPACES
    from sweeper.cli.tables import knob_document, knob_table

    if model not in SPACES:
        raise SpecError(f"model must be one of {', '.join(SPACES)}, but got {model!r}; name one of these")
    if as_json:
        print_json([knob_document(name, knob) for name, knob in SPACES[model].items()])
    else:
        out.print(knob_table(model, SPACES[model]))


@app.command()
def algorithms() -> None:
    """Show the search algorithms and the schedulers: what goes with what, and why not."""
    from sweeper.cli.tables import algorithm_table, capability_notes, scheduler_table

    out.print(algorithm_table())
    out.print(scheduler_table())
    for note in capability_notes():
        out.print(note, soft_wrap=True)


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="A model's name, or module:Class; 'sweep models' lists them.", autocompletion=model_names)],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="knob=value; may be repeated. Others keep the paper's.")] = None,
    image_px: Annotated[int, typer.Option(min=1, help="Side of the images.")] = 32,
    hole_px: Annotated[int, typer.Option(min=1, help="Side of the holes.")] = 8,
    mask: Annotated[str | None, typer.Option(help="Kind of the holes; default: the first one that the model fills.")] = None,
) -> None:
    """Show a model's layers: filter, stride, padding, output and parameters of each."""
    from sweeper.cli.layers import print_layers
    from sweeper.cli.rooms import installed_rooms

    print_layers(out, installed_rooms(), model, overrides or [], image_px=image_px, hole_px=hole_px, mask=mask)


@app.command()
def ui(
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on the store; listens on this machine alone. Ctrl-C ends it."""
    place = _open_store(home, store)
    out.print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", place.uri, "--host", "127.0.0.1", "--port", str(port)]
    beside = Home(home, store).artifacts_beside
    command += [] if beside is None else ["--artifacts-destination", str(beside)]
    raise typer.Exit(subprocess.call([*command, "--workers", "1"], env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}))


def _go_on(name: str, place: Home, address: str | None, change: "Callable[[Spec, Home], Spec]") -> None:
    """Runs a sweep that was begun before."""
    from sweeper.cli.ahead import ray_ahead
    from sweeper.spec_file import read_spec
    from sweeper.validation import validate

    rooms = _rooms()
    spec = change(validate(read_spec(str(place.spec_file(name))), rooms), place)
    with ray_ahead(address, place), mistakes_told():  # at once: to end a Ray that is just starting takes seconds
        from sweeper.cli.launch import launch
        from sweeper.tracking import Store

        known = Store(place.store_uri).sweep(name)
        launch(out, spec, rooms, place, known.tags.get("sweep.spec", name) if known else name, address)


def _rooms() -> "Rooms":
    from sweeper.imports import uncollected

    with uncollected():
        from sweeper.cli.rooms import installed_rooms

    return installed_rooms()


def _open_store(home: Path, store: str) -> "Store":
    from sweeper.tracking import Store

    return Store(Home(home, store).store_uri, create=False)


def command() -> None:
    """The console script: `main`, and an end at once: Python would take 2.5 s to take apart what torch, Ray and MLflow are."""
    try:
        main()
    except SystemExit as end:
        if not (end.code is None or isinstance(end.code, int)):
            raise
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


def main() -> None:
    """Runs a command; a user's mistake is told in one message, with exit code 2."""
    sys.path.append(str(Path.cwd()))  # a user's own model may lie here; what is installed comes first
    try:
        with mistakes_told():
            app(prog_name="sweep")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
