"""Commands that let results travel: archive, adopt."""

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import HomeOption, JsonOption, StoreOption, print_json, sweep_names
from sweeper.cli.screen import out
from sweeper.home import DEFAULT_STORE, Home

app = typer.Typer()
MIB = 2**20


@app.command()
def archive(
    to: Annotated[Path, typer.Option(help="The archive's folder: new, empty, or an archive, which is added to.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Sweeps' names, as 'sweep list' shows them; default: all.", autocompletion=sweep_names)
    ] = None,
    photographs: Annotated[
        bool, typer.Option("--photographs/--no-photographs", help="Take pictures of your own image folders, faces, animals, scenes along.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Put sweeps' results into a small folder that may be cloned anywhere: 'python -m reports.build --home FOLDER' reads it."""
    from reports.curves import read_curves
    from sweeper.archive import archive as put

    drawn = {line.metric for figure in read_curves() for panel in figure.panels for line in panel.lines}
    done = put(Home(home, store), names or [], to, drawn, photographs=photographs)
    if as_json:
        print_json({"folder": str(to.resolve()), **vars(done)})
        return
    for name, reason in done.left_out.items():
        out.print(f"  [yellow]left out[/yellow] {name}: {reason}", soft_wrap=True)
    if done.without_photographs:
        out.print(
            f"  [yellow]note[/yellow] without pictures, which show photographs that may not be ours to give: "
            f"{', '.join(done.without_photographs)}; --photographs takes them along",
            soft_wrap=True,
        )
    out.print(
        f"{len(done.added)} sweeps added, {len(done.replaced)} replaced; "
        f"{to.resolve()} holds {done.sweeps} in {done.size_bytes / MIB:.1f} MiB",
        soft_wrap=True,
    )


@app.command()
def adopt(
    folder: Annotated[Path, typer.Argument(help="An archive, as 'sweep archive' makes it.")],
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Take an archive's sweeps into this home: they are listed and reported, and what they have trained is not trained again."""
    from sweeper.adoption import adopt as take

    place = Home(home, store)
    done = take(place, folder)
    if as_json:
        print_json(vars(done))
        return
    for name, kept in done.names.items():
        if name != kept:
            out.print(f"  [yellow]note[/yellow] {name} is called {kept} here, where another {name} is", soft_wrap=True)
    for name in done.unsent:
        out.print(
            f"  [yellow]note[/yellow] the store at {place.store_uri} gets its runs by: sweep sync {name}{place.options}", soft_wrap=True
        )
    out.print(f"{len(done.names)} sweeps adopted; {len(done.there)} were here already", soft_wrap=True)
