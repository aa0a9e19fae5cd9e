"""Commands that look at sweeps and change nothing but files of their own: list, status, show, compare, export, plots."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli import remote
from sweeper.cli.options import HomeOption, JsonOption, NameArgument, NamesArgument, StoreOption, output_file, print_json, sweep_names
from sweeper.cli.remote import AddressOption, given
from sweeper.cli.screen import out
from sweeper.errors import SpecError, SweepStateError
from sweeper.home import DEFAULT_STORE, Home

if TYPE_CHECKING:
    from sweeper.status import Status

app = typer.Typer()
JSON_ROWS = 100


@app.command("list")
def list_sweeps(
    as_json: JsonOption = False, address: AddressOption = None, home: HomeOption = Path(), store: StoreOption = DEFAULT_STORE
) -> None:
    """List the sweeps in the store."""
    if address is not None:
        remote.ask(address, "list", *given("--json", as_json))
    from sweeper.cli.tables import sweep_document, sweep_list
    from sweeper.sqlite_reader import open_reader
    from sweeper.status import true_state

    place = Home(home, store)
    sweeps = [(row, true_state(place, row)) for row in open_reader(place.store_uri).sweeps()]
    if as_json:
        print_json([sweep_document(row, state) for row, state in sweeps])
    else:
        out.print(sweep_list(sweeps) if sweeps else "no sweep yet; start with: sweep run quickstart")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="The sweep's name; without it all that run.", autocompletion=sweep_names)] = None,
    watching: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C or the sweep's end.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: JsonOption = False,
    address: AddressOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show how a sweep stands, also while another terminal or machine runs it."""
    if address is not None:
        if watching:
            raise SpecError(
                "--watch looks every few seconds, but each look at --address is a job of its own there; "
                "leave --watch out, or type 'sweep logs NAME --follow'"
            )
        remote.ask(address, "status", *([] if name is None else [name]), *given("--json", as_json))
    from sweeper.cli.standing import all_running, render, status_document, status_of, watch

    place = Home(home, store)
    if watching and as_json:
        raise SpecError("--json answers once, but --watch asks again and again; leave one out")

    def look() -> "list[Status]":
        return all_running(place) if name is None else [status_of(place, name)]

    if watching:
        watch(out, look, every_s)
    elif as_json:
        documents = [status_document(each) for each in look()]
        print_json({"sweeps": documents} if name is None else documents[0])
    else:
        out.print(render(look()))


@app.command()
def show(
    name: NameArgument,
    trial: Annotated[str | None, typer.Option(help="Everything of one trial: search-0007, final-0.")] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open the sweep's plots in the browser.")] = False,
    as_json: JsonOption = False,
    address: AddressOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show a sweep: leaderboard, best configuration, result on the test split, where everything lies; or one of its trials."""
    if address is not None:
        if opened:
            raise SpecError("--open opens a file of this machine, but with --address the plots lie on the cluster; leave one out")
        remote.ask(address, "show", name, *given("--trial", trial), *given("--json", as_json))
    from sweeper.cli.summary import print_summary_or_journal, summary
    from sweeper.sqlite_reader import open_reader

    place = Home(home, store)
    place.folder(name)
    if trial is not None:
        from sweeper.cli.trial_page import print_trial, trial_page

        page = trial_page(open_reader(place.store_uri), name, trial, home)
        print_json(page) if as_json else print_trial(out, page)
    elif as_json:
        print_json(summary(open_reader(place.store_uri), name, home, JSON_ROWS))
    else:
        print_summary_or_journal(out, place, name)
    if opened:
        _open(place.folder(name) / "plots" / "index.html", name)


@app.command()
def compare(
    names: NamesArgument,
    as_json: JsonOption = False,
    address: AddressOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show the best of several sweeps beside each other, and whether they may be compared."""
    if address is not None:
        remote.ask(address, "compare", *names, *given("--json", as_json))
    from sweeper.cli.compare import comparison, print_comparison
    from sweeper.sqlite_reader import open_reader

    place = Home(home, store)
    for name in names:
        place.folder(name)
    document = comparison(open_reader(place.store_uri), names, home)
    print_json(document) if as_json else print_comparison(out, document)


@app.command()
def export(
    name: NameArgument,
    to: Annotated[Path, typer.Option(help="Where the table goes: .csv or .parquet.")],
    steps: Annotated[bool, typer.Option("--steps", help="One row a step instead of one a trial.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a sweep's trials into a table: knobs, metrics, states, times."""
    from sweeper.cli.export import SUFFIXES
    from sweeper.cli.export import export as write
    from sweeper.sqlite_reader import open_reader

    output_file(to, SUFFIXES)
    place = Home(home, store)
    place.folder(name)
    rows = write(open_reader(place.store_uri), name, to, steps=steps)
    if as_json:
        print_json({"file": str(to.resolve()), "rows": rows})
    else:
        out.print(f"wrote {rows} rows to {to.resolve()}", soft_wrap=True)


@app.command()
def plots(
    name: NameArgument,
    opened: Annotated[bool, typer.Option("--open", help="Open them in the browser.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
) -> None:
    """Draw a sweep's plots anew: history, parallel coordinates, slices, contour, importance, learning curves, Pareto front."""
    from sweeper.cli.plots import draw

    drawn = draw(Home(home), name)
    if as_json:
        print_json({"index": str(drawn.index.resolve()), "drawn": dict(drawn.titles), "left_out": dict(drawn.left_out)})
    else:
        for title, reason in drawn.left_out.items():
            out.print(f"  [yellow]not drawn[/yellow] {title}: {reason}", soft_wrap=True)
        out.print(f"wrote {len(drawn.titles)} plots: {drawn.index.resolve()}", soft_wrap=True)
    if opened:
        _open(drawn.index, name)


def _open(index: Path, name: str) -> None:
    if not index.exists():
        raise SweepStateError(f"a sweep's plots must be drawn to be opened, but there are none at {index}; draw them: sweep plots {name}")
    typer.launch(str(index.resolve()))
