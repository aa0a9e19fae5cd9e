import pytest

from reports.selection import Cell, Run
from reports.table import Column, Hindrances, Row, Table, read_tables
from reports.verdict import Verdict, verdict
from sweeper.rows import SweepRow


def judged(
    measured: float | list[float] | None, published: float | None, metric: str = "l2_hole", state: str = "finished", **fields: object
) -> Verdict | None:
    """The verdict on the only cell of a table; more than one value is a mean over runs."""
    row, column = Row(title="a", published={} if published is None else {"x": published}), Column(key="x", title="X", metric=metric)
    table = Table.model_validate(
        {"document": "d", "number": 1, "source": "s", "caption": "c", "place": "p", "unit": "u", "fill": "f", "rows_title": "r"}
        | {"columns": [column], "rows": [row]}
        | fields
    )
    values = measured if isinstance(measured, list) else ([] if measured is None else [measured])
    sweep = SweepRow("s", "mine", {"sweep.state": state}, {}, 0.0)
    runs = tuple(Run(f"r{i}", "final", f"final-{i}", "complete", i, {}, {f"test_{metric}": value}, sweep) for i, value in enumerate(values))
    value = sum(values) / len(values) if values else None
    return verdict(table, Cell(table.rows[0], table.columns[0], published, value, None, runs))


@pytest.mark.parametrize(
    ("metric", "published", "measured", "word"),
    [
        ("l2_hole", 8.0, 7.0, "better"),  # less is better: 12.5 % less
        ("l2_hole", 8.0, 9.0, "worse"),
        ("l2_hole", 8.0, 8.4, "within tolerance"),  # exactly 5 %
        ("l2_hole", 8.0, 7.6, "within tolerance"),
        ("l2_hole", 8.0, 8.41, "worse"),
        ("psnr_hole", 20.0, 21.5, "better"),  # more is better: 7.5 % more
        ("psnr_hole", 20.0, 18.5, "worse"),
        ("psnr_hole", -2.0, -2.05, "within tolerance"),
        ("sharpness_hole", 0.5, 0.9, "better"),  # best at 1: from 0.5 off to 0.1 off
        ("sharpness_hole", 0.9, 1.5, "worse"),  # from 0.1 off to 0.5 off
        ("sharpness_hole", 0.8, 1.2, "within tolerance"),  # 0.2 off on either side
    ],
)
def test_direction_and_tolerance_decide(metric: str, published: float, measured: float, word: str) -> None:
    found = judged(measured, published, metric)
    assert found is not None
    assert found.word == word


def test_the_reason_and_the_ratio_say_by_how_much() -> None:
    worse = judged(9.0, 8.0)
    assert worse == Verdict("worse", "12.5 % above the published value", 1.125)
    assert worse.sentence == "worse: 12.5 % above the published value"
    assert judged(8.0, 8.0) == Verdict("within tolerance", "equal to the published value, tolerance 0.05", 1.0)
    assert judged(0.5, 0.0) == Verdict("worse", "0.5 above the published value", None)
    assert judged(-1.0, 2.0, "psnr_hole") == Verdict("worse", "150.0 % below the published value", None)


def test_a_wider_tolerance_is_the_tables_or_the_columns() -> None:
    assert judged(9.0, 8.0, tolerance=0.2) == Verdict("within tolerance", "12.5 % above the published value, tolerance 0.2", 1.125)
    columns = [{"key": "x", "title": "X", "metric": "l2_hole", "tolerance": 0.01}]
    narrow = judged(8.2, 8.0, tolerance=0.2, columns=columns)
    assert narrow is not None
    assert narrow.word == "worse"


def test_several_runs_give_the_mean_its_interval() -> None:
    found = judged([6.0, 7.0, 8.0], 8.0)
    assert found is not None
    # Student's t with 2 degrees of freedom: 7 +- 4.3027 * 1 / sqrt(3)
    assert found.sentence == "better: 12.5 % below the published value; 95 % interval of the mean over 3 runs: 4.52 to 9.48"


def test_a_cell_without_one_of_the_two_values_has_no_verdict() -> None:
    assert judged(None, 8.0) is None
    assert judged(7.0, None) is None


def test_what_hinders_is_named_with_what_the_numbers_would_say() -> None:
    found = judged(7.0, 8.0, stand_in="wild cats, for AFHQ's wild", not_comparable={"unit": "the source names none"})
    assert found == Verdict(
        "not comparable",
        "other data (wild cats, for AFHQ's wild); unit inferred (the source names none); taken as they are: better, 12.5 % below the "
        "published value",
        0.875,
    )
    unfinished = judged(7.0, 8.0, state="interrupted")
    assert unfinished is not None
    assert unfinished.sentence.startswith("not comparable: other budget (sweep mine is not finished); ")


def test_what_is_narrower_speaks_last_and_an_empty_text_lifts_a_hindrance() -> None:
    fields = {
        "not_comparable": {"budget": "of the table", "unit": "of the table"},
        "rows": [{"title": "a", "published": {"x": 8.0}, "not_comparable": {"budget": "of the row"}}],
        "columns": [{"key": "x", "title": "X", "metric": "l2_hole", "not_comparable": {"unit": ""}}],
    }
    found = judged(7.0, 8.0, **fields)
    assert found is not None
    assert found.reason.startswith("other budget (of the row); taken as they are: better")
    assert judged(7.0, 8.0, **fields | {"not_comparable": {}, "rows": [{"title": "a", "published": {"x": 8.0}}]}) == Verdict(
        "better", "12.5 % below the published value", 0.875
    )
    assert Hindrances(data="a", hole="b").joined(Hindrances(hole="c")) == Hindrances(data="a", hole="c")


def test_every_shipped_published_value_that_cannot_be_compared_says_why() -> None:
    """The notes of the tables and the documents themselves: no printed value has unit, images, holes and training time all given."""
    for table in read_tables():
        for row in table.rows:
            for column in table.columns:
                if column.key in row.published:
                    reasons = {kind for kind, text in table.hindrances(row, column) if text}
                    expected = {
                        "beyond_cnns": {"unit", "budget"},
                        "lsgan": {"data", "budget", "hole"},
                        "animal_faces": {"data", "unit", "budget"},
                    }
                    assert reasons >= expected[table.document], (table.name, row.title)
