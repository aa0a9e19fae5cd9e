"""What a measured value says beside the published one: better, within tolerance, worse, or not comparable, and why.

The rule, in this order:

1. Without a published or a measured value there is no verdict.
2. What hinders a comparison is named, and the verdict is "not comparable": what the table's file says (`reports.table.Hindrances`, stand-in
   images), and a sweep that has not finished. What the numbers would say if nothing were in the way stands beside it.
3. A measured value that differs from the published one by at most the tolerance, relative to the published value, is "within tolerance".
   Of a metric that is best at 1 the distances from 1 are compared, their difference likewise relative to the published value.
4. Else the metric's direction in the glossary decides between "better" and "worse".

Where the value is a mean over several runs, the reason gives the mean's 95 % confidence interval.
"""

from dataclasses import dataclass
from typing import Literal

from reports.glossary import glossary
from reports.selection import FINISHED, Cell
from reports.table import Table
from sweeper.separation import estimate

Word = Literal["better", "within tolerance", "worse", "not comparable"]
ROUNDING = 1e-9
HEADS = {"data": "other data", "budget": "other budget", "unit": "unit inferred", "hole": "other holes", "measure": "measured otherwise"}


@dataclass(frozen=True)
class Verdict:
    """A verdict on one cell.

    Attributes:
        word: the verdict.
        reason: why, in words.
        ratio: measured / published; None where the published value is 0 or the two differ in sign.
    """

    word: Word
    reason: str
    ratio: float | None

    @property
    def sentence(self) -> str:
        """Word and reason in one: "worse: 12 % above the published value"."""
        return f"{self.word}: {self.reason}"


def verdict(table: Table, cell: Cell) -> Verdict | None:
    """The verdict on a cell; None where it has no published or no measured value.

    Args:
        table: the cell's table.
        cell: as `reports.selection.fill` gives it, with the runs behind it.
    """
    if cell.value is None or cell.published is None:
        return None
    tolerance = table.tolerance if cell.column.tolerance is None else cell.column.tolerance
    word, reason = _compared(cell.value, cell.published, glossary()[cell.column.metric].mode, tolerance)
    reason += _interval(cell, table.decimals)
    ratio = cell.value / cell.published if cell.value * cell.published > 0 else None
    hindrances = _hindrances(table, cell)
    if hindrances:
        return Verdict("not comparable", f"{'; '.join(hindrances)}; taken as they are: {word}, {reason}", ratio)
    return Verdict(word, reason, ratio)


def _compared(value: float, published: float, mode: str, tolerance: float) -> tuple[Word, str]:
    """Word and reason for two numbers in the same unit."""
    gain = {"min": published - value, "max": value - published, "one": abs(published - 1) - abs(value - 1)}[mode]
    scale = abs(published)
    reason = "equal to the published value"
    if value != published:
        far = f"{100 * abs(value - published) / scale:.1f} %" if scale else f"{abs(value - published):.3g}"
        reason = f"{far} {'above' if value > published else 'below'} the published value"
    if abs(gain) <= tolerance * scale * (1 + ROUNDING):
        return "within tolerance", f"{reason}, tolerance {tolerance:.3g}"
    return ("better" if gain > 0 else "worse"), reason


def _interval(cell: Cell, decimals: int) -> str:
    """The mean's confidence interval, where there are several runs."""
    if len(cell.values) < 2:
        return ""
    found = estimate(cell.values)
    return f"; 95 % interval of the mean over {found.count} runs: {found.low:.{decimals}f} to {found.high:.{decimals}f}"


def _hindrances(table: Table, cell: Cell) -> list[str]:
    """What is in the way of a comparison, each with its kind."""
    found = [f"{HEADS[kind]} ({text})" for kind, text in table.hindrances(cell.row, cell.column) if text]
    unfinished = dict.fromkeys(run.sweep.name for run in cell.runs if run.sweep.tags.get("sweep.state") != FINISHED)
    return found + [f"{HEADS['budget']} (sweep {name} is not finished)" for name in unfinished]
