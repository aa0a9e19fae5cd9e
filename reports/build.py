"""`python -m reports.build`: every table and every sweep of a store as Markdown, CSV, figures and pictures.

A report is written into a draft folder beside its place and put there when it is whole; until then, and when anything fails, an earlier one
stays as it is.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reports.curves import Curves, check_curve_names, read_curves
from reports.curves_drawn import Trace, curves_csv, curves_page, draw_curves, drawn, traces
from reports.errors import ReportError
from reports.figures import draw
from reports.index_page import index_page
from reports.layers import check_names, read_layer_tables
from reports.layers_built import Comparison, compare
from reports.layers_page import layers_csv, layers_page
from reports.lineage import Lineage, to_csv
from reports.selection import Cell, Sweep, fill, ranking, read_sweeps
from reports.sweep_page import sweep_page
from reports.table import NAME, Table, read_tables
from reports.table_page import table_page
from sweeper.errors import SweepError, TrackingError
from sweeper.home import DEFAULT_STORE, Home
from sweeper.rows import Reader
from sweeper.sqlite_reader import open_reader

MARK = "report.json"
PICTURE = "pictures/best.png"
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
    """

    folder: Path
    measured: dict[str, tuple[int, int]]
    layers: dict[str, str]
    curves: dict[str, str]
    sweeps: int


def build(home: Home, out: Path | None = None, only: Sequence[str] = (), tables: Path | None = None) -> Built:
    """Builds a report.

    Args:
        home: where sweeps live and which store they are in.
        out: the report's folder, made anew; None = `report/` in the home folder.
        only: names of the tables and figures to build; none = all.
        tables: folder of table files; None = those that come with the package.

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
    chosen = [table for table in every if not only or table.name in only]
    place = (home.root / "report" if out is None else out).resolve()
    _check_place(place)
    store = open_reader(home.store_uri)
    sweeps = read_sweeps(store)
    with _draft(place) as folder:
        filled = {table.name: ranking(table, fill(table, sweeps)) for table in chosen}
        compared = {table.name: compare(table, sweeps, store) for table in layered if not only or table.name in only}
        traced = [(curves, traces(curves, sweeps, store)) for curves in figures if not only or curves.name in only]
        stems = _write_sweeps(folder / "sweeps", store, sweeps)
        _write_tables(folder / "tables", filled, sweeps)
        _write_layers(folder / "tables", compared)
        _write_curves(folder / "tables", traced)
        (folder / "index.md").write_text(index_page(filled, compared, traced, sweeps, stems), encoding="utf-8")
        built = [*filled, *compared, *(curves.name for curves, _ in traced)]
        (folder / MARK).write_text(json.dumps({"tables": built, "sweeps": stems}, indent=2) + "\n", encoding="utf-8")
    measured = {name: (sum(cell.value is not None for cell in cells), len(cells)) for name, (_, cells) in filled.items()}
    words = {name: comparison.words for name, comparison in compared.items()}
    return Built(place, measured, words, {curves.name: drawn(curves, found) for curves, found in traced}, len(sweeps))


def _check_only(only: Sequence[str], names: set[str]) -> None:
    """Raises ReportError for names that are no table's."""
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ReportError(f"--only must name one of {', '.join(sorted(names))}, but got {', '.join(unknown)}; name one of these")


def _write_tables(folder: Path, filled: dict[str, tuple[Table, list[Cell]]], sweeps: list[Sweep]) -> None:
    folder.mkdir()
    for name, (table, cells) in filled.items():
        lineage = Lineage.of(cells, sweeps)
        (folder / f"{name}.md").write_text(table_page(table, cells, lineage), encoding="utf-8")
        (folder / f"{name}.csv").write_text(to_csv(table, cells, lineage), encoding="utf-8")
        draw(table, cells, folder)


def _write_layers(folder: Path, compared: dict[str, Comparison]) -> None:
    for name, comparison in compared.items():
        (folder / f"{name}.md").write_text(layers_page(comparison), encoding="utf-8")
        (folder / f"{name}.csv").write_text(layers_csv(comparison), encoding="utf-8")


def _write_curves(folder: Path, traced: Sequence[tuple[Curves, Sequence[Trace]]]) -> None:
    for curves, found in traced:
        (folder / f"{curves.name}.md").write_text(curves_page(curves, found), encoding="utf-8")
        (folder / f"{curves.name}.csv").write_text(curves_csv(curves, found), encoding="utf-8")
        draw_curves(curves, found, folder)


def _write_sweeps(folder: Path, store: Reader, sweeps: list[Sweep]) -> list[str]:
    """Writes each sweep's page and picture; gives the pages' names without ending."""
    folder.mkdir()
    stems = []
    for sweep in sweeps:
        stem = sweep.row.name if re.match(NAME, sweep.row.name) and sweep.row.name not in stems else sweep.row.run_id
        stems.append(stem)
        picture: str | None = f"{stem}.png"
        try:
            (folder / f"{stem}.png").write_bytes(store.fetch(sweep.row.run_id, PICTURE).read_bytes())
        except TrackingError:  # a sweep without pictures, or whose pictures were moved away: its numbers are still worth a page
            picture = None
        (folder / f"{stem}.md").write_text(sweep_page(sweep, picture), encoding="utf-8")
    return stems


def _check_place(place: Path) -> None:
    """Refuses a folder that holds anything but an earlier report, since building replaces it."""
    if place.exists() and (not place.is_dir() or (any(place.iterdir()) and not (place / MARK).is_file())):
        raise ReportError(
            f"the report's folder must be new, empty or an earlier report, but {place} holds something else; name another with --out"
        )


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A folder to write in, which takes its place when the `with` ends well and vanishes when it does not."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise ReportError(f"the report's folder must be writable, but {place.parent} is not ({error}); name another with --out") from error
    draft, old = scratch / "new", scratch / "old"
    try:
        draft.mkdir()
        try:
            yield draft
            if place.exists():
                place.rename(old)
            draft.rename(place)
        except OSError as error:
            if old.exists() and not place.exists():
                old.rename(place)
            if isinstance(error, SweepError):
                raise
            raise ReportError(
                f"the report must be written whole, but {error}; the earlier one is as it was; mend that or use --out"
            ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


HomeOption = Annotated[Path, typer.Option("--home", envvar="SWEEP_HOME", help="Folder that holds sweeps/ and, by default, mlflow.db.")]
StoreOption = Annotated[
    str, typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow store; default: mlflow.db in the home folder.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="The report's folder, made anew; default: report/ in the home folder.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="A table or figure, as beyond_cnns_1; may be repeated.")]
TablesOption = Annotated[Path | None, typer.Option("--tables", help="Folder of table files; default: the package's own.")]


@app.command()
def command(
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    out: OutOption = None,
    only: OnlyOption = None,
    tables: TablesOption = None,
) -> None:
    """Build the report: published tables beside what the runs in the store say, and a page for every sweep."""
    built = build(Home(home, store), out, only or [], tables)
    for name, (measured, cells) in built.measured.items():
        typer.echo(f"{name}: {measured} of {cells} cells measured")
    for name, words in (built.layers | built.curves).items():
        typer.echo(f"{name}: {words}")
    typer.echo(f"{built.sweeps} sweep{'' if built.sweeps == 1 else 's'}")
    typer.echo(f"report: {built.folder / 'index.md'}")


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
