"""Whether the rows of a table can be told apart: said for every column in which rows have a mean over several runs."""

from collections.abc import Sequence

from reports.glossary import glossary
from reports.selection import Cell
from reports.table import Table
from sweeper.separation import estimate, unseparated

HEAD = "Told apart by the 95 % confidence intervals of the means (Student's t), where a row has several runs:"


def separation(table: Table, cells: Sequence[Cell]) -> str:
    """One line a column; empty where no column has two rows with several runs each."""
    lines = []
    for column in table.columns:
        values = {str(cell.row.title): cell.values for cell in cells if cell.column.key == column.key and len(cell.values) > 1}
        mode = glossary()[column.metric].mode
        if len(values) < 2 or mode == "one" or len({value for own in values.values() for value in own}) == 1:
            continue
        near = unseparated(values, mode)
        best = (min if mode == "min" else max)(values, key=lambda title: estimate(values[title]).mean)
        lines.append(f"- {column.title}: " + (f"not separated: {', '.join(near)}." if near else f"{best} is separated from the others."))
    return f"{HEAD}\n\n" + "\n".join(lines) + "\n" if lines else ""
