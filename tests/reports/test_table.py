import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.errors import ReportError
from reports.table import Where, read_tables

GOOD: dict[str, Any] = {
    "document": "some_paper",
    "number": 3,
    "source": "A. Author. Some paper. 2024",
    "caption": "L2 by bottleneck",
    "place": "Table 3",
    "unit": "sum of squares",
    "fill": "sweep run some_paper_table3",
    "where": {"runs": "search", "spec": "some_paper_table3", "model": "cnn_autoencoder"},
    "rows_title": "bottleneck",
    "columns": [{"key": "validation", "title": "L2", "metric": "l2_hole"}],
    "rows": [
        {"title": 256, "where": {"knobs": {"bottleneck": 256}}, "published": {"validation": 1.5}},
        {"title": 512, "where": {"knobs": {"bottleneck": 512}}},
    ],
}


def written(folder: Path, fields: dict[str, Any], name: str = "some_paper_3.yaml") -> Path:
    (folder / name).write_text(yaml.safe_dump(fields))
    return folder


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(GOOD) | fields


def complaint(folder: Path) -> str:
    with pytest.raises(ReportError) as caught:
        read_tables(folder)
    return str(caught.value)


def test_the_shipped_tables_hold_what_the_source_prints() -> None:
    first, second = (table for table in read_tables() if table.name in ("beyond_cnns_1", "beyond_cnns_2"))
    assert (first.name, second.name) == ("beyond_cnns_1", "beyond_cnns_2")
    assert [(row.title, row.published) for row in first.rows] == [
        (256, {"training": 7.02, "validation": 7.96}),
        (512, {"training": 6.36, "validation": 7.41}),
        (1024, {"training": 4.89, "validation": 7.48}),
        (2048, {"training": 4.23, "validation": 8.14}),
    ]
    published = {row.title: row.published["test"] for row in second.rows if row.published}
    assert published == {"Pixel CNN": 6.98, "Flattened Row LSTM": 7.63}


def test_a_good_table_is_read_with_its_defaults(tmp_path: Path) -> None:
    (table,) = read_tables(written(tmp_path, GOOD))
    assert (table.name, table.choose, table.decimals, table.figure.kind) == ("some_paper_3", "newest", 2, "bars")


def test_conditions_of_table_row_and_column_are_joined() -> None:
    table = Where(runs="search", model="wgan", knobs={"dropout": 0.5})
    row = Where(knobs={"bottleneck": 256}, data="cifar10")
    assert table.joined(row) == Where(runs="search", model="wgan", data="cifar10", knobs={"dropout": 0.5, "bottleneck": 256})
    assert table.joined(Where(runs="final")).runs == "final"
    assert table.joined(row).words == "runs = search, model = wgan, data = cifar10, dropout = 0.5, bottleneck = 256"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (changed(colour="red"), "some_paper_3.yaml, colour: is no key of a table file"),
        (changed(rows=[{"title": 1, "publishd": {}}]), "some_paper_3.yaml, rows.0.publishd: is no key of a table file"),
        (changed(number="two words"), "some_paper_3.yaml, number: must be a whole number from 1 on, or a word of letters"),
        ({key: value for key, value in GOOD.items() if key != "unit"}, "some_paper_3.yaml, unit: field required"),
        (changed(where=GOOD["where"] | {"model": "vgan"}), "where.model: must be one of cnn_autoencoder, "),
        (
            changed(columns=[{"key": "a", "title": "A", "metric": "l3_hole"}], rows=[{"title": 1}]),
            "columns.0.metric: must be one of l2_hole, ",
        ),
        (changed(also=["l3_hole"]), "also.0: must be one of l2_hole, "),
        (
            changed(rows=[{"title": 1, "published": {"test": 1.0}}]),
            "rows.0.published.test: must be one of validation, but is no column's key",
        ),
        (changed(rows=[{"title": 1, "where": {"knobs": {"width": 1}}}]), "rows.0.where.knobs.width: must be one of bottleneck, "),
        (
            changed(rows=[{"title": 1, "where": {"knobs": {"bottleneck": 300}}}]),
            "rows.0.where.knobs.bottleneck: must be one of 256, 512, 1024, 2048, but got 300",
        ),
        (changed(rows=[{"title": 1}, {"title": 1}]), "rows: titles must differ, but got 1, 1"),
        (
            changed(figure={"kind": "curves"}, rows=[{"title": "wide"}]),
            "rows.0.title: must be a positive number in a table drawn as curves",
        ),
        (
            changed(where={"model": "cnn_autoencoder"}),
            "rows.0.where.runs: must be search, every, final or baseline where runs can fill the row",
        ),
        (
            changed(where={"runs": "final"}, columns=[{"key": "a", "title": "A", "metric": "train_l2_hole"}], rows=[{"title": 1}]),
            "rows.0.where.runs: must be search or every for train_l2_hole, which no test split has, but got 'final'",
        ),
        (changed(where={"runs": "search"}), "rows.0.where.model: must be given with knobs, but is not"),
    ],
)
def test_a_bad_field_is_named_with_its_file_and_key(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    assert words in complaint(written(tmp_path, fields))


def test_all_problems_of_all_files_come_in_one_message(tmp_path: Path) -> None:
    written(tmp_path, changed(colour="red", number=0), "a.yaml")
    written(tmp_path, changed(also=["l3_hole"]), "b.yaml")
    (tmp_path / "c.yaml").write_text("document: x\n  number: 1\n")
    (tmp_path / "d.yaml").write_text("- a list\n")
    message = complaint(tmp_path)
    assert message.startswith("the table files have 5 problems; nothing was written\n")
    for words in (
        "a.yaml, colour:",
        "a.yaml, number:",
        "b.yaml, also.0:",
        "c.yaml, line 2: must be valid YAML",
        "d.yaml: must be a mapping",
    ):
        assert f"\n  - {words}" in message


def test_two_files_may_not_hold_the_same_table(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "a.yaml")
    written(tmp_path, GOOD, "b.yaml")
    assert "b.yaml, number: must be another one, since some_paper_3 stands in a second file too" in complaint(tmp_path)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    assert "must hold at least one .yaml file" in complaint(tmp_path)
    assert "must lie in a folder" in complaint(tmp_path / "nowhere")


def test_a_row_that_no_run_can_fill_needs_no_conditions(tmp_path: Path) -> None:
    fields = changed(where={}, rows=[{"title": 1, "unfilled": "no such model here", "published": {"validation": 2.0}}])
    (table,) = read_tables(written(tmp_path, fields))
    assert table.rows[0].unfilled == "no such model here"
