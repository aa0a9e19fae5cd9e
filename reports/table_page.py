"""The page of one table: published beside measured, the same runs in other units, and where each number comes from."""

from collections.abc import Sequence

from reports.glossary import glossary
from reports.lineage import HEADINGS, Lineage
from reports.markdown import NOT_GIVEN, also_as, markdown_table, number
from reports.selection import Cell
from reports.separation import separation
from reports.table import Column, Row, Table
from reports.verdict import verdict

NO_RUNS = "No run in the store fills a cell of this table yet."


def table_page(table: Table, cells: Sequence[Cell], lineage: Lineage, endings: Sequence[str] = ("csv", "svg")) -> str:
    """The page in Markdown; its figure lies beside it where "svg" is among the endings.

    Args:
        table: the table.
        cells: of the table.
        lineage: of the cells.
        endings: of the files beside it that say the same.
    """
    modes = {glossary()[column.metric].better for column in table.columns}
    parts = [
        f"# {table.document}, {table.label}\n",
        f"{table.caption}.\n",
        f"Source: {table.source}; {table.place}.\n",
        f"{_capital(table.unit)}; {', '.join(sorted(modes))}." + (f" {_capital(table.unit_reason)}." if table.unit_reason else "") + "\n",
        _cells(table, cells, lineage),
        _verdicts(table, cells),
        _stale(cells, lineage),
        separation(table, cells),
        _places(table),
        f"![{table.caption}]({table.name}.png)\n" if "svg" in endings else "",
        also_as(table.name, endings),
        "## What to know\n",
        "\n".join(f"- {note}" for note in [*table.notes, *_unfilled(table)]) + "\n" if table.notes or _unfilled(table) else "",
        "## The same runs in other units\n" if table.also else "",
        _also(table, lineage) if table.also else "",
        "## Settings that are not the source's\n",
        _differences(table, lineage),
        "## Runs\n",
        _stand_in(table) if lineage.runs else "",
        markdown_table(HEADINGS, lineage.rows()) if lineage.runs else f"{NO_RUNS}\n",
        "## Configurations\n" if lineage.configurations() else "",
        markdown_table(["runs", "model", "knobs"], lineage.configurations()) if lineage.configurations() else "",
        "## Which runs fill a cell\n",
        _conditions(table),
    ]
    return "\n".join(part for part in parts if part)


def _cells(table: Table, cells: Sequence[Cell], lineage: Lineage) -> str:
    """Published and measured value, difference, ratio and verdict of every cell, one row a row; measured alone where the source gives
    nothing in the column. A rank belongs to a measured value; a stale one says so.
    """
    given = {column.key: any(column.key in row.published for row in table.rows) for column in table.columns}
    headings = ["rank"] if table.ranked_by else []
    headings.append(table.rows_title)
    for column in table.columns:
        titles = [f"{column.title}: published", "measured", "difference", "ratio", "verdict"]
        headings += titles if given[column.key] else [column.title]
    by_place = {(cell.row.title, cell.column.key): cell for cell in cells}
    rows = []
    for place, row in enumerate(table.rows, start=1):
        entries = [str(row.title)]
        if table.ranked_by:
            entries.insert(0, str(place) if by_place[row.title, table.ranked_by].value is not None else "")
        for column in table.columns:
            cell = by_place[row.title, column.key]
            measured = number(cell.value, table.decimals)
            if cell.spread is not None:
                measured += f" ± {cell.spread:.{table.decimals}f}, n = {len(cell.runs)}"
            if cell.runs:
                measured += f" ({lineage.numbers(cell)})" + (", stale" if lineage.stale(cell) else "")
            difference = "" if cell.difference is None else f"{cell.difference:+.{table.decimals}f}"
            found = verdict(table, cell)
            judged = ["" if found is None or found.ratio is None else f"{found.ratio:.2f}", "" if found is None else found.word]
            entries += (
                [number(cell.published, table.decimals, NOT_GIVEN), measured, difference, *judged] if given[column.key] else [measured]
            )
        rows.append(entries)
    return markdown_table(headings, rows)


def _verdicts(table: Table, cells: Sequence[Cell]) -> str:
    """Why each verdict is what it is; cells with the same reason for not being comparable stand together."""
    lines: dict[str, list[str]] = {}
    for cell in cells:
        if (found := verdict(table, cell)) is not None:
            lines.setdefault(found.sentence, []).append(f"{cell.row.title} / {cell.column.title}")
    if not lines:
        return ""
    head = f"Ratio: measured / published. Verdicts, with a tolerance of {100 * table.tolerance:g} % of the published value:"
    return f"{head}\n\n" + "".join(f"- {', '.join(places)}: {sentence}.\n" for sentence, places in lines.items())


def _stale(cells: Sequence[Cell], lineage: Lineage) -> str:
    """Which measured values are stale, and why."""
    lines = [f"- {cell.row.title} / {cell.column.title}: {why}.\n" for cell in cells if (why := lineage.stale(cell))]
    return "Stale, since code or images have changed after they were measured:\n\n" + "".join(lines) if lines else ""


def _stand_in(table: Table) -> str:
    return f"The images stand in for the source's: {table.stand_in}.\n" if table.stand_in else ""


def _places(table: Table) -> str:
    """Where published values stand that are not in the table itself."""
    return "".join(f"Published value of {row.title}: {row.place}.\n" for row in table.rows if row.place)


def _unfilled(table: Table) -> list[str]:
    return [f"{row.title}: {row.unfilled}." for row in table.rows if row.unfilled]


def _also(table: Table, lineage: Lineage) -> str:
    """Further metrics of every run, and of the plain fill on the same images."""
    metrics = list(dict.fromkeys([column.metric for column in table.columns] + list(table.also)))
    rows = []
    for place, run in enumerate(lineage.runs, start=1):
        rows.append([f"run {place}", run.split, *(number(run.value(metric)) for metric in metrics)])
    fills = {(run.sweep.run_id, run.split): run.sweep for run in lineage.runs if run.kind != "baseline"}
    for (_, split), sweep in fills.items():
        values = [sweep.metrics.get(f"ring_mean_{split}_{metric}") for metric in metrics]
        rows.append([f"ring mean, sweep {sweep.name}", split, *(number(value, missing="") for value in values)])
    if not rows:
        return f"{NO_RUNS}\n"
    text = markdown_table(["", "split", *metrics], rows)
    return text + "\n" + "\n".join(f"- {name}: {glossary()[name].meaning} ({glossary()[name].better})" for name in metrics) + "\n"


def _differences(table: Table, lineage: Lineage) -> str:
    if not lineage.runs:
        return f"{NO_RUNS}\n"
    rows = lineage.differences(table)
    if not rows:
        return "None: every knob has the source's value, or the default where the source gives none.\n"
    return markdown_table(["model", "knob", "used here", "source", "where the source gives it"], rows)


def _conditions(table: Table) -> str:
    """The table's rule in words."""
    which = {
        "newest": "the one begun last",
        "best_validation": "the one that is best on the validation split",
    }[table.choose]
    sweeps = f", which runs {', '.join(f'`{name}`' for name in table.sweeps)}." if table.sweeps else "."
    lines = [
        "To compute the cells that are missing or stale: "
        + (f"`{table.fill}`" if table.fill.startswith("sweep run") else table.fill)
        + sweeps,
        "Only complete trials count. Where several runs claim one cell, all that it gets are from one sweep: a finished one before an "
        f"unfinished one, and of several {which}. The test split decides nothing.",
        f"Every cell: {table.where.words or 'no condition'}.",
    ]
    parts: list[Row | Column] = [*table.rows, *table.columns]
    lines += [f"{part.title}: {part.where.words}." for part in parts if part.where.words]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
