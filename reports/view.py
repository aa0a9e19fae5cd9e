"""A table as a page shows it: every cell's numbers and words as text, once for HTML and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.glossary import Term, glossary
from reports.lineage import Lineage
from reports.markdown import NOT_GIVEN, NOT_MEASURED, number
from reports.selection import Cell
from reports.table import Column, Table
from reports.verdict import verdict


@dataclass(frozen=True)
class Shown:
    """A cell.

    Attributes:
        published: as the source prints it, or that it does not.
        published_value: to sort by; None where there is none.
        measured: the mean over the runs, or that there is none.
        value: to sort by; None where there is none.
        spread: sample standard deviation over the runs; empty where there are fewer than two.
        count: how many runs; empty where there are none.
        difference: measured minus published, signed; empty where one of them is missing.
        runs: their places in the table's lineage, from 1.
        verdict: what the difference says, in a word; empty where there is none.
        reason: of the verdict.
        stale: why the number is stale; empty where it is not.
    """

    published: str
    published_value: float | None
    measured: str
    value: float | None
    spread: str
    count: str
    difference: str
    runs: tuple[int, ...]
    verdict: str
    reason: str
    stale: str


@dataclass(frozen=True)
class Heading:
    """A column.

    Attributes:
        column: of the table.
        term: what its metric means.
        given: whether the source gives any value in it.
        judged: whether any of its cells has a verdict.
        counted: whether any of its cells is a mean over several runs.
    """

    column: Column
    term: Term
    given: bool
    judged: bool
    counted: bool

    @property
    def span(self) -> int:
        """How many columns a page needs for it."""
        return 1 + 2 * self.given + self.judged + self.counted


@dataclass(frozen=True)
class Line:
    """A row: its place in a ranking (empty where there is none), its title, and its cells."""

    rank: str
    title: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True)
class View:
    """A whole table.

    Attributes:
        table: the table.
        lineage: the runs behind it.
        headings: its columns.
        lines: its rows.
        measured: how many of its cells are measured.
        stale: how many of those are stale.
    """

    table: Table
    lineage: Lineage
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]

    @property
    def shown(self) -> list[Shown]:
        """All cells."""
        return [cell for line in self.lines for cell in line.cells]

    @property
    def measured(self) -> int:
        """How many cells are measured."""
        return sum(cell.value is not None for cell in self.shown)

    @property
    def stale(self) -> int:
        """How many cells are stale."""
        return sum(bool(cell.stale) for cell in self.shown)


def view(table: Table, cells: Sequence[Cell], lineage: Lineage) -> View:
    """What a page shows of a table.

    Args:
        table: the table, its rows in the order in which they are shown.
        cells: of the table.
        lineage: of the cells.
    """
    by_place = {(cell.row.title, cell.column.key): _shown(table, cell, lineage) for cell in cells}
    lines = []
    for place, row in enumerate(table.rows, start=1):
        mine = tuple(by_place[row.title, column.key] for column in table.columns)
        ranked = bool(table.ranked_by) and by_place[row.title, table.ranked_by].value is not None
        lines.append(Line(str(place) if ranked else "", str(row.title), mine))
    headings = []
    for column, shown in zip(table.columns, zip(*(line.cells for line in lines), strict=True), strict=True):
        given = any(cell.published_value is not None for cell in shown)
        judged, counted = any(cell.verdict for cell in shown), any(cell.spread for cell in shown)
        headings.append(Heading(column, glossary()[column.metric], given, judged, counted))
    return View(table, lineage, tuple(headings), tuple(lines))


def _shown(table: Table, cell: Cell, lineage: Lineage) -> Shown:
    judged = verdict(table, cell)
    return Shown(
        published=number(cell.published, table.decimals, NOT_GIVEN),
        published_value=cell.published,
        measured=number(cell.value, table.decimals, NOT_MEASURED),
        value=cell.value,
        spread="" if cell.spread is None else f"{cell.spread:.{table.decimals}f}",
        count=str(len(cell.runs)) if cell.runs else "",
        difference="" if cell.difference is None else f"{cell.difference:+.{table.decimals}f}",
        runs=tuple(lineage.runs.index(run) + 1 for run in cell.runs),
        verdict="" if judged is None else judged.word,
        reason="" if judged is None else judged.reason,
        stale=lineage.stale(cell),
    )
