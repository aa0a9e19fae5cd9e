"""Whether a table's rows can be told apart, in words."""

from collections.abc import Sequence

import pytest

from reports.selection import Cell, Run
from reports.separation import HEAD, separation
from reports.table import Table
from sweeper.tracking import SweepRow

SWEEP = SweepRow("parent", "sweep", {}, {}, 0.0)


def table(metric: str = "l2_hole") -> Table:
    return Table.model_validate(
        {
            "document": "paper",
            "number": 1,
            "source": "somebody",
            "caption": "two rows",
            "place": "page 1",
            "unit": "1",
            "fill": "sweep run it",
            "rows_title": "model",
            "columns": [{"key": "test", "title": "L2", "metric": metric}],
            "rows": [{"title": title, "where": {"runs": "final"}} for title in ("first", "second")],
        }
    )


def cells(of: Table, first: Sequence[float], second: Sequence[float]) -> list[Cell]:
    metric = of.columns[0].metric
    found = []
    for row, values in zip(of.rows, (first, second), strict=True):
        runs = tuple(
            Run(f"{row.title}-{place}", "final", f"final-{place}", "complete", place, {}, {f"test_{metric}": value}, SWEEP)
            for place, value in enumerate(values)
        )
        found.append(Cell(row, of.columns[0], None, sum(values) / len(values), None, runs))
    return found


@pytest.mark.parametrize(
    ("metric", "first", "second", "said"),
    [
        ("l2_hole", [1.0, 1.1, 0.9], [5.0, 5.1, 4.9], "first is separated from the others."),
        ("psnr_hole", [1.0, 1.1, 0.9], [5.0, 5.1, 4.9], "second is separated from the others."),
        ("l2_hole", [1.0, 2.0, 3.0], [1.5, 2.5, 3.5], "not separated: first, second."),
    ],
)
def test_each_column_says_whether_its_best_row_stands_alone(metric: str, first: list[float], second: list[float], said: str) -> None:
    page = table(metric)
    assert separation(page, cells(page, first, second)) == f"{HEAD}\n\n- L2: {said}\n"


def test_rows_of_single_runs_are_not_judged() -> None:
    page = table()
    assert separation(page, cells(page, [1.0], [5.0, 5.1])) == ""
