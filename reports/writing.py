"""Writing a report's files, format by format."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reports.contents import Contents
from reports.curves_drawn import curves_csv, curves_page, draw_curves
from reports.errors import ReportError
from reports.figures import draw, draw_side_by_side
from reports.html_page import html_page
from reports.index_page import index_page
from reports.keepsakes import Keepsakes
from reports.latex import latex_layers, latex_report, latex_table
from reports.layers_page import layers_csv, layers_page
from reports.lineage import to_csv
from reports.selection import Sweep
from reports.sweep_page import sweep_page
from reports.table import NAME
from reports.table_page import table_page
from reports.view import view

FORMATS = ("md", "csv", "latex", "html")
DRAWN = ("md", "latex", "html")
PICTURED = ("md", "html")


def formats_of(given: Sequence[str]) -> tuple[str, ...]:
    """The formats that a user names, in the order of `FORMATS`; all where none is named.

    Args:
        given: names, several in one text divided by commas.

    Raises:
        ReportError: a name that is no format's.
    """
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or (given and not names):
        raise ReportError(f"--format must be of {', '.join(FORMATS)}, but got {', '.join(unknown) or 'none'}; name some of these")
    return tuple(name for name in FORMATS if name in names) or FORMATS


def write(folder: Path, contents: Contents, formats: Sequence[str], keepsakes: Keepsakes) -> list[str]:
    """Writes all files of a report.

    Args:
        folder: is there, and empty but for the files of `contents.pictures`.
        contents: what the report shows.
        formats: of `FORMATS`.
        keepsakes: pictures and plots of the sweeps.

    Returns:
        The name of every sweep's page, without ending.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / "tables").mkdir()
    stems = _stems(contents.sweeps)
    if any(name in DRAWN for name in formats):
        _write_figures(folder / "tables", contents)
    if "csv" in formats:
        _write_csv(folder / "tables", contents)
    if "md" in formats:
        _write_markdown(folder, contents, stems, formats, keepsakes)
    if not {"latex", "html"} & set(formats):
        return stems
    views = [view(table, cells, contents.lineage(cells)) for table, cells in contents.filled.values()]
    if "latex" in formats:
        for each in views:
            _put(folder / "tables" / f"{each.table.name}.tex", latex_table(each))
        for name, comparison in contents.layers.items():
            _put(folder / "tables" / f"{name}.tex", latex_layers(comparison))
        _put(folder / "report.tex", latex_report(contents))
    if "html" in formats:
        _put(folder / "index.html", html_page(contents, views, folder, keepsakes))
    return stems


def _write_figures(folder: Path, contents: Contents) -> None:
    jobs = [partial(draw, table, cells, folder) for name, (table, cells) in contents.filled.items() if name in contents.drawn]
    jobs += [partial(draw_curves, curves, found, folder) for curves, found in contents.curves if curves.name in contents.drawn]
    draw_side_by_side(jobs)


def _write_csv(folder: Path, contents: Contents) -> None:
    for name, (table, cells) in contents.filled.items():
        _put(folder / f"{name}.csv", to_csv(table, cells, contents.lineage(cells)))
    for name, comparison in contents.layers.items():
        _put(folder / f"{name}.csv", layers_csv(comparison))
    for curves, found in contents.curves:
        _put(folder / f"{curves.name}.csv", curves_csv(curves, found))


def _write_markdown(folder: Path, contents: Contents, stems: Sequence[str], formats: Sequence[str], keepsakes: Keepsakes) -> None:
    """The index and the pages of tables, figures and sweeps; they link CSV files where there are some."""
    tables, sweeps, also = folder / "tables", folder / "sweeps", ("csv",) if "csv" in formats else ()
    for name, (table, cells) in contents.filled.items():
        _put(tables / f"{name}.md", table_page(table, cells, contents.lineage(cells), (*also, *_figure(name, contents))))
    for name, comparison in contents.layers.items():
        _put(tables / f"{name}.md", layers_page(comparison, contents.today, also))
    for curves, found in contents.curves:
        _put(tables / f"{curves.name}.md", curves_page(curves, found, contents.today, (*_figure(curves.name, contents), *also)))
    sweeps.mkdir()
    for sweep, stem in zip(contents.sweeps, stems, strict=True):
        picture, stills = keepsakes.picture(sweep), keepsakes.stills(sweep)
        if picture is not None:
            (sweeps / f"{stem}.png").write_bytes(picture)
        for still in stills:
            (sweeps / f"{stem}-{still.file}").write_bytes(still.content)
        plots = [(still.title, f"{stem}-{still.file}") for still in stills]
        _put(sweeps / f"{stem}.md", sweep_page(sweep, None if picture is None else f"{stem}.png", plots))
    _put(folder / "index.md", index_page(contents, stems, formats))


def _figure(name: str, contents: Contents) -> tuple[str, ...]:
    """The ending of a table's figure beside its page, where it has one."""
    return ("svg",) if name in contents.drawn else ()


def _stems(sweeps: Sequence[Sweep]) -> list[str]:
    """A file name for every sweep: its own, or its run id where that is no file's name or taken."""
    stems: list[str] = []
    for sweep in sweeps:
        name = sweep.row.name
        stems.append(name if re.match(NAME, name) and name not in stems else sweep.row.run_id)
    return stems


def _put(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
