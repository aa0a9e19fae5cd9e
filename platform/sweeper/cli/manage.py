"""Commands that change a sweep from outside: stop, rm."""

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli import remote
from sweeper.cli.options import HomeOption, JsonOption, NameArgument, StoreOption, print_json
from sweeper.cli.remote import AddressOption
from sweeper.cli.screen import err, out
from sweeper.home import DEFAULT_STORE, Home

app = typer.Typer()


@app.command()
def stop(
    name: NameArgument,
    wait_s: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for its end; 0 = ask and go.")] = 60.0,
    as_json: JsonOption = False,
    address: AddressOption = None,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Ask a running sweep to stop, as Ctrl-C in its terminal would; nothing is lost, and 'sweep resume' goes on."""
    if address is not None:
        remote.stop(address, name, wait_s, as_json=as_json)
    from sweeper.cli.stopping import stop_sweep

    ended = stop_sweep(Home(home, store), name, wait_s)
    if as_json:
        print_json({"name": name, "asked": True, "ended": ended})
    elif ended:
        out.print(f"{name} has stopped; go on with: sweep resume {name}", soft_wrap=True)
    else:
        out.print(f"{name} is asked to stop and has not ended within {wait_s:g} s; look again with: sweep status {name}", soft_wrap=True)


@app.command("rm")
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Remove a sweep: its folder, its MLflow runs with their artifacts, its study. Says what, and asks first."""
    from sweeper.cli.removing import Removal

    with Removal(Home(home, store), name) as removal:
        if not as_json:
            out.print(removal.words, soft_wrap=True)
        if not yes and not typer.confirm(f"remove {name} for good?", err=True):
            err.print("nothing was removed")
            raise typer.Exit(1)
        notes = removal.remove()
    if as_json:
        print_json({"name": name, "removed": removal.document, "notes": notes})
    else:
        for note in notes:
            out.print(f"  [yellow]note[/yellow] {note}", soft_wrap=True)
        out.print(f"{name} is removed")
