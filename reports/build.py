"""`python -m reports.build`: every table and every sweep of a store as Markdown, CSV, LaTeX and one page of HTML.

A report is written into a draft folder beside its place and put there when it is whole; until then, and when anything fails, an earlier one
stays as it is.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reports.contents import Contents
from reports.curves import check_curve_names, read_curves
from reports.curves_drawn import drawn, traces
from reports.draft import MARK, check_place, draft
from reports.errors import ReportError
from reports.freshness import Today
from reports.grids import draw_grids
from reports.keepsakes import Keepsakes
from reports.layers import check_names, read_layer_tables
from reports.layers_built import compare
from reports.selection import fill, ranking, read_sweeps
from reports.table import read_tables
from reports.wanted import Lack, lacks
from reports.watch import watch
from reports.writing import FORMATS, PICTURED, formats_of, write
from sweeper.errors import SweepError
from sweeper.home import DEFAULT_STORE, Home
from sweeper.sqlite_reader import open_reader

FIRST_PAGES = {"html": "index.html", "md": "index.md", "latex": "report.tex", "csv": "tables"}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Built:
    """A report that was written.

    Attributes:
        folder: where it is.
        measured: measured and all cells of each table, by name.
        layers: how much of each layer table agrees, in words, by name.
        curves: how much of each figure over epochs is there, in words, by name.
        sweeps: how many there are.
        page: the one to open first.
        lacks: the cells, layer tables and figures that are missing or stale.
    """

    folder: Path
    measured: dict[str, tuple[int, int]]
    layers: dict[str, str]
    curves: dict[str, str]
    sweeps: int
    page: Path
    lacks: tuple[Lack, ...] = ()

    @property
    def words(self) -> str:
        """What was built, in one line."""
        measured, cells = (sum(counts) for counts in zip(*self.measured.values(), strict=True)) if self.measured else (0, 0)
        return f"{measured} of {cells} cells measured, {self.sweeps} sweep{'' if self.sweeps == 1 else 's'}: {self.page}"


def build(
    home: Home,
    out: Path | None = None,
    only: Sequence[str] = (),
    tables: Path | None = None,
    formats: Sequence[str] = FORMATS,
    *,
    photographs: bool = True,
) -> Built:
    """Builds a report.

    Args:
        home: where sweeps live and which store they are in.
        out: the report's folder, made anew; None = `report/` in the home folder.
        only: names of the tables and figures to build; none = all.
        tables: folder of table files; None = those that come with the package.
        formats: of `reports.writing.FORMATS`.
        photographs: show images that may not be published, too.

    Raises:
        ReportError: a table file that cannot be used, or a folder that holds something else than a report.
        TrackingError: no store, or one that does not answer.
    """
    every, layered, figures = read_tables(tables), read_layer_tables(tables), read_curves(tables)
    names = {table.name for table in every}
    check_names(layered, names)
    names |= {table.name for table in layered}
    check_curve_names(figures, names)
    _check_only(only, names | {curves.name for curves in figures})
    place = (home.root / "report" if out is None else out).resolve()
    check_place(place)
    store = open_reader(home.store_uri)
    sweeps = read_sweeps(store)
    with draft(place) as folder:
        filled = {table.name: ranking(table, fill(table, sweeps)) for table in every if not only or table.name in only}
        drawing = any(name in PICTURED for name in formats)
        grids = draw_grids(filled, sweeps, store, folder / "grids", photographs=photographs) if drawing else []
        contents = Contents(
            filled=filled,
            layers={table.name: compare(table, sweeps, store) for table in layered if not only or table.name in only},
            curves=[(curves, traces(curves, sweeps, store)) for curves in figures if not only or curves.name in only],
            sweeps=sweeps,
            today=Today(),
            pictures=grids,
        )
        stems = write(folder, contents, formats, Keepsakes(store, photographs=photographs))
        (folder / MARK).write_text(json.dumps({"tables": contents.names, "sweeps": stems}, indent=2) + "\n", encoding="utf-8")
    parts = [part for part in (*every, *layered, *figures) if not only or part.name in only]
    cells = {name: found for name, (_, found) in contents.filled.items()}
    return Built(
        place,
        {name: (sum(cell.value is not None for cell in found), len(found)) for name, found in cells.items()},
        {name: comparison.words for name, comparison in contents.layers.items()},
        {curves.name: drawn(curves, found) for curves, found in contents.curves},
        len(sweeps),
        place / next(page for name, page in FIRST_PAGES.items() if name in formats),
        tuple(lack for part in parts for lack in lacks(part, sweeps, contents.today, cells.get(part.name))),
    )


def _check_only(only: Sequence[str], names: set[str]) -> None:
    """Raises ReportError for names that are no table's."""
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ReportError(f"--only must name one of {', '.join(sorted(names))}, but got {', '.join(unknown)}; name one of these")


HomeOption = Annotated[Path, typer.Option("--home", envvar="SWEEP_HOME", help="Folder that holds sweeps/ and, by default, mlflow.db.")]
StoreOption = Annotated[
    str, typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow store; default: mlflow.db in the home folder.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="The report's folder, made anew; default: report/ in the home folder.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="A table or figure, as beyond_cnns_1; may be repeated.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="List what is missing or stale, with the command for each, and end with exit code 1.")
]
PhotographsOption = Annotated[
    bool, typer.Option("--photographs/--no-photographs", help="Show input and truth of photographs that are not free to be published, too.")
]
TablesOption = Annotated[Path | None, typer.Option("--tables", help="Folder of table files; default: the package's own.")]
FormatOption = Annotated[list[str] | None, typer.Option("--format", help="md, csv, latex, html; several with commas. Default: all.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Build again whenever the store has changed, until Ctrl-C.")]
EveryOption = Annotated[float, typer.Option("--every", min=0.1, help="With --watch: seconds between two looks at the store.")]


@app.command()
def command(
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = None,
    only: OnlyOption = None,
    tables: TablesOption = None,
    format_: FormatOption = None,
    watching: WatchOption = False,
    every_s: EveryOption = 10.0,
    strict: StrictOption = False,
    photographs: PhotographsOption = True,
) -> None:
    """Build the report: published tables beside what the runs in the store say, and a page for every sweep."""
    place, formats = Home(home, store), formats_of(format_ or [])

    def again() -> Built:
        return build(place, out, only or [], tables, formats, photographs=photographs)

    if watching:
        watch(place, every_s, lambda: again().words, typer.echo)
        return
    built = again()
    for name, (measured, cells) in built.measured.items():
        typer.echo(f"{name}: {measured} of {cells} cells measured")
    for name, words in (built.layers | built.curves).items():
        typer.echo(f"{name}: {words}")
    typer.echo(f"{built.sweeps} sweep{'' if built.sweeps == 1 else 's'}")
    typer.echo(f"report: {built.page}")
    if strict and built.lacks:
        stale = sum(lack.stale for lack in built.lacks)
        typer.echo(f"--strict: {len(built.lacks) - stale} missing, {stale} stale", err=True)
        for lack in built.lacks:
            typer.echo(f"  {lack.line}", err=True)
        raise typer.Exit(1)


def main() -> None:
    """Entry point; a user's mistake is told in one message on standard error, with exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SweepError as error:
        print(f"error {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
