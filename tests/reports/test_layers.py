"""Layer tables: reading the files, putting them beside a run's layers, and the eight tables of the thesis against the code itself."""

import copy
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.build import build
from reports.errors import ReportError
from reports.layers import LayerTable, command, read_layer_tables
from reports.layers_built import Comparison, compare
from reports.layers_page import layers_csv, layers_page
from reports.selection import read_sweeps
from sweeper.cli.rooms import installed_rooms
from sweeper.home import Home
from sweeper.spec_file import shipped
from tests.reports.conftest import Filler

GOOD: dict[str, Any] = {
    "document": "paper",
    "number": "1",
    "source": "A. Author. Some paper. 2024",
    "caption": "The network",
    "place": "Table 1",
    "model": "cnn_autoencoder",
    "knobs": {"bottleneck": 256},
    "image_px": 32,
    "network": "network",
    "part": "encoder",
    "rows": [
        {"title": "CONV1 + RELU1 + BatchNorm1", "filter": "3x3", "stride": 1, "padding": "Same", "output": "32x32x8"},
        {"title": "CONV2 + RELU2", "filter": "3x3", "stride": 2, "padding": "Zero", "output": "15x15x16"},
        {"title": "Dense + Sigmoid", "output": 10},
    ],
    "padding_means": {"Zero": "valid"},
}
KNOBS = {"bottleneck": 256, "dropout": 0.0}


def layer(name: str, kind: str = "Conv2d", **fields: Any) -> dict[str, Any]:
    defaults = {"network": "network", "follows": [], "filter": "", "stride": None, "padding": "", "output": [], "parameters": 0}
    return defaults | {"name": name, "kind": kind} | fields


BUILT = [
    layer("encoder.0", follows=["ReLU", "BatchNorm2d"], filter="3x3", stride=1, padding="same", output=[32, 32, 8], parameters=240),
    layer("encoder.3", follows=["ReLU"], filter="3x3", stride=2, padding="valid", output=[15, 15, 16], parameters=1168),
    layer("encoder.5", "Linear", follows=["Sigmoid"], output=[10], parameters=70),
    layer("decoder.0", "Linear", output=[5], parameters=55),
    layer("encoder.0", network="discriminator", output=[1], parameters=7),
]


def table(**fields: Any) -> LayerTable:
    return LayerTable.model_validate(copy.deepcopy(GOOD) | fields)


def run_with(filler: Filler, layers: Any, *, sweep: str = "a", state: str = "finished", knobs: dict[str, Any] | None = None) -> str:
    """A sweep with one trial that has kept its layers; gives the trial's run id."""
    parent = filler.sweep(sweep, state=state)
    run_id = filler.trial(sweep, parent, "search-0000", {"best_l2_hole": 1.0}, knobs=knobs or KNOBS)
    if layers is not None:
        filler.store.client.log_text(run_id, layers if isinstance(layers, str) else json.dumps(layers), "layers.json")
    return run_id


def compared(filler: Filler, layers: Any = None, **fields: Any) -> Comparison:
    if layers is not None:
        run_with(filler, layers)
    filler.done()
    return compare(table(**fields), read_sweeps(filler.store), filler.store)


def changed(place: int, **fields: Any) -> list[dict[str, Any]]:
    """The built layers with some fields of one set to others."""
    return [entry | fields if number == place else entry for number, entry in enumerate(BUILT)]


# --- the files --------------------------------------------------------------------------------------------------------------------


def written(folder: Path, fields: dict[str, Any], name: str = "paper_1.yaml") -> Path:
    (folder / "layers").mkdir(exist_ok=True)
    (folder / "layers" / name).write_text(yaml.safe_dump(fields))
    return folder


def test_a_title_says_the_layer_and_what_follows_it(tmp_path: Path) -> None:
    (read,) = read_layer_tables(written(tmp_path, GOOD))
    assert [(row.layer, row.after) for row in read.rows] == [
        ("Conv2d", ("ReLU", "BatchNorm")),
        ("Conv2d", ("ReLU",)),
        ("Linear", ("Sigmoid",)),
    ]
    assert (read.name, read.label, read.rows[2].shape) == ("paper_1", "Table 1", (10,))
    assert [read.padding(row) for row in read.rows] == ["same", "valid", ""]
    assert command(read) == "sweep layers cnn_autoencoder --set bottleneck=256 --image-px 32"


def test_the_hole_is_part_of_the_command() -> None:
    assert command(table(mask="centre 12 px", knobs={})) == "sweep layers cnn_autoencoder --image-px 32 --mask centre --hole-px 12"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "red"}, "layers/paper_1.yaml, colour: is no key of a table file"),
        ({"number": 3.1}, "layers/paper_1.yaml, number: input should be a valid string, but got 3.1"),
        ({"model": "unet"}, "layers/paper_1.yaml, model: must be one of cnn_autoencoder, "),
        ({"knobs": {"width": 3}}, "knobs.width: must be one of bottleneck, "),
        ({"knobs": {"bottleneck": 300}}, "knobs.bottleneck: must be one of 256, 512, 1024, 2048, but got 300"),
        ({"rows": []}, "layers/paper_1.yaml, rows: "),
        ({"rows": [{"title": "CONV1", "output": "32 by 32"}]}, "layers/paper_1.yaml, rows.0.output: "),
        ({"rows": [{"title": "CONV1", "padding": "Mirror", "output": "3x3x1"}]}, "rows.0.padding: must be same, valid or a word of"),
        ({"padding_means": {"Zero": "zeros"}}, "padding_means.Zero: must be one of same, valid, but got 'zeros'"),
        ({"rows": [{"title": "Lambda layer1 + Magic2", "output": 5}]}, "rows.0.title: says no layer with 'lambda layer', 'magic'"),
    ],
)
def test_a_bad_field_is_named_with_its_file_and_key(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError) as caught:
        read_layer_tables(written(tmp_path, GOOD | fields))
    assert words in str(caught.value)


def test_kind_and_follows_say_what_a_title_does_not(tmp_path: Path) -> None:
    rows = [{"title": "Lambda layer1 + Magic2", "kind": "Reparameterise", "follows": ["Magic"], "output": 5}]
    (read,) = read_layer_tables(written(tmp_path, GOOD | {"rows": rows}))
    assert (read.rows[0].layer, read.rows[0].after) == ("Reparameterise", ("Magic",))


def test_two_files_may_not_hold_the_same_table(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "a.yaml")
    with pytest.raises(ReportError, match=r"b\.yaml, number: must be another one, since paper_1 stands in a second file too"):
        read_layer_tables(written(tmp_path, GOOD, "b.yaml"))


def test_a_folder_of_tables_without_layer_tables_has_none(tmp_path: Path) -> None:
    assert read_layer_tables(tmp_path) == []


# --- beside what was built --------------------------------------------------------------------------------------------------------


def test_rows_that_agree_are_counted(filler: Filler) -> None:
    run_id = run_with(filler, BUILT)
    found = compared(filler)
    assert (found.agreeing, found.words) == (3, "3 of 3 rows agree")
    assert found.run is not None
    assert found.run.run_id == run_id
    assert [pair.layer.name for pair in found.pairs if pair.layer] == ["encoder.0", "encoder.3", "encoder.5"]


@pytest.mark.parametrize(
    ("place", "fields", "words"),
    [
        (0, {"filter": "5x5"}, "filter: 3x3 in the source, 5x5 built"),
        (0, {"stride": 2}, "stride: 1 in the source, 2 built"),
        (0, {"padding": "valid"}, "padding: Same in the source, valid built"),
        (1, {"padding": "same"}, "padding: Zero (valid) in the source, same built"),
        (0, {"output": [32, 32, 16]}, "output: 32x32x8 in the source, 32x32x16 built"),
        (0, {"follows": ["BatchNorm2d", "ReLU"]}, "what follows: ReLU + BatchNorm in the source, BatchNorm + ReLU built"),
        (1, {"follows": []}, "what follows: ReLU in the source, nothing built"),
        (1, {"kind": "ConvTranspose2d"}, "layer: Conv2d in the source, ConvTranspose2d built"),
    ],
)
def test_each_difference_is_said_in_words(place: int, fields: dict[str, Any], words: str, filler: Filler) -> None:
    found = compared(filler, changed(place, **fields))
    assert found.pairs[place].differences == (words,)
    assert found.agreeing == 2


def test_what_the_source_leaves_out_is_not_compared(filler: Filler) -> None:
    found = compared(filler, changed(2, filter="1x1", stride=1, padding="same"))
    assert found.agreeing == 3


def test_a_vector_may_be_written_as_n_by_1(filler: Filler) -> None:
    rows = [*GOOD["rows"][:2], {"title": "Dense + Sigmoid", "output": "10x1"}]
    assert compared(filler, BUILT, rows=rows).agreeing == 3


def test_a_row_that_is_not_built_has_no_counterpart(filler: Filler) -> None:
    found = compared(filler, [BUILT[0], BUILT[2]])
    assert [(pair.row is None, pair.layer is None, pair.differences) for pair in found.pairs] == [
        (False, False, ()),
        (False, True, ("nothing is built for this row",)),
        (False, False, ()),
    ]
    assert found.words == "2 of 3 rows agree"


def test_a_layer_that_the_source_does_not_list_has_no_counterpart(filler: Filler) -> None:
    found = compared(filler, [BUILT[0], layer("encoder.1", "Pool", output=[16, 16, 8]), *BUILT[1:]])
    assert [pair.differences for pair in found.pairs] == [(), ("not in the source",), (), ()]
    assert found.words == "3 of 3 rows agree; 1 built layer not in the source"


def test_kinds_that_the_source_leaves_out_are_skipped(filler: Filler) -> None:
    found = compared(filler, [BUILT[0], layer("encoder.1", "Pool", output=[16, 16, 8]), *BUILT[1:]], skip=["Pool"])
    assert found.words == "3 of 3 rows agree"
    assert "Pool - encoder.1 (Pool)." in layers_page(found)


# --- which run --------------------------------------------------------------------------------------------------------------------


def test_without_a_run_nothing_is_built_and_the_page_says_how(filler: Filler) -> None:
    found = compared(filler)
    assert (found.run, found.words) == (None, "0 of 3 rows agree; not built yet")
    page = layers_page(found)
    assert "| CONV2 + RELU2 | 3x3 |  | 2 |  | Zero |  | 15x15x16 |  |  |  | not built yet |\n" in page
    assert "run any sweep of cnn_autoencoder that meets these conditions" in page
    assert "`sweep layers cnn_autoencoder --set bottleneck=256 --image-px 32`" in page
    assert "To build it: `sweep run mine`." in layers_page(compare(table(fill="sweep run mine"), [], filler.store))


@pytest.mark.parametrize(
    ("options", "fields"),
    [({"state": "interrupted"}, {}), ({"knobs": {"bottleneck": 512}}, {}), ({}, {"image_px": 64}), ({}, {"mask": "centre 12 px"})],
)
def test_a_run_that_does_not_meet_the_conditions_is_not_taken(options: dict[str, Any], fields: dict[str, Any], filler: Filler) -> None:
    run_with(filler, BUILT, **options)
    assert compared(filler, **fields).run is None


def test_the_newest_sweep_that_has_kept_its_layers_is_taken(filler: Filler) -> None:
    run_with(filler, changed(0, filter="7x7"), sweep="old")
    middle = run_with(filler, BUILT, sweep="middle")
    run_with(filler, None, sweep="new")
    found = compared(filler)
    assert found.run is not None
    assert (found.run.run_id, found.agreeing) == (middle, 3)


@pytest.mark.parametrize("content", ["[{]", '[{"name": "encoder.0"}]', "{}"])
def test_layers_that_cannot_be_read_are_told(content: str, filler: Filler) -> None:
    run_id = run_with(filler, content)
    with pytest.raises(ReportError, match=f"layers.json of run {run_id} must hold the layers of its model, but does not"):
        compared(filler)


# --- what a reader sees -----------------------------------------------------------------------------------------------------------


def test_the_page_shows_published_beside_built_and_the_run(filler: Filler) -> None:
    run_id = run_with(filler, changed(1, filter="5x5"))
    page = layers_page(compared(filler, notes=["A contradiction."]))
    assert "2 of 3 rows agree.\n" in page
    assert (
        "| CONV1 + RELU1 + BatchNorm1 | 3x3 | 3x3 | 1 | 1 | Same | same | 32x32x8 | 32x32x8 | Conv2d + ReLU + BatchNorm2d (encoder.0) "
        "| 240 | agrees |\n"
    ) in page
    assert "| 15x15x16 | 15x15x16 | Conv2d + ReLU (encoder.3) | 1168 | filter: 3x3 in the source, 5x5 built |\n" in page
    assert "Parameters of these rows: 1,478; of the whole model: 1,540.\n" in page
    assert f"| {run_id} | a / search-0000 | cnn_autoencoder | 32 px | centre 8 px | 0123456789ab |\n" in page
    assert "- Padding 'Same': the output's side is" in page
    assert "- Padding 'Zero' is read as 'valid': nothing is padded" in page
    assert "- A contradiction.\n" in page


def test_csv_has_one_line_a_row(filler: Filler) -> None:
    run_id = run_with(filler, BUILT)
    lines = list(csv.DictReader(io.StringIO(layers_csv(compared(filler)))))
    assert len(lines) == 3
    assert lines[1] == {
        "document": "paper",
        "table": "1",
        "row": "CONV2 + RELU2",
        "filter_published": "3x3",
        "filter_built": "3x3",
        "stride_published": "2",
        "stride_built": "2",
        "padding_published": "Zero",
        "padding_built": "valid",
        "output_published": "15x15x16",
        "output_built": "15x15x16",
        "module": "encoder.3",
        "kind": "Conv2d",
        "follows": "ReLU",
        "parameters": "1168",
        "difference": "agrees",
        "run_id": run_id,
        "sweep": "a",
        "trial": "search-0000",
        "model": "cnn_autoencoder",
        "image_px": "32",
        "mask": "centre 8 px",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "uncommitted_changes": "false",
    }


def test_a_build_writes_and_lists_the_tables(filler: Filler, home: Path) -> None:
    run_with(filler, BUILT)
    filler.done()
    built = build(Home(home), only=["thesis_3.1"])
    assert built.layers == {"thesis_3.1": "0 of 5 rows agree; not built yet"}
    assert sorted(path.name for path in (built.folder / "tables").iterdir()) == ["thesis_3.1.csv", "thesis_3.1.md", "thesis_3.1.tex"]
    index = (built.folder / "index.md").read_text()
    assert "| [thesis, Table 3.1](tables/thesis_3.1.md) |" in index
    assert "| direct_cnn | 0 of 5 rows agree; not built yet |" in index
    assert json.loads((built.folder / "report.json").read_text())["tables"] == ["thesis_3.1"]


def test_only_names_tables_of_both_kinds(home: Path) -> None:
    built = build(Home(home), only=["beyond_cnns_2", "thesis_3.8"])
    assert (list(built.measured), list(built.layers)) == (["beyond_cnns_2"], ["thesis_3.8"])
    with pytest.raises(ReportError, match=r"--only must name one of .*beyond_cnns_2, .*thesis_3.1, .*, but got thesis_4.1"):
        build(Home(home), only=["thesis_4.1"])


def test_a_layer_table_may_not_have_the_name_of_a_table(home: Path, tmp_path: Path) -> None:
    own = Path(__file__).resolve().parents[2] / "reports" / "tables" / "beyond_cnns_1.yaml"
    (tmp_path / "one.yaml").write_text(own.read_text())
    written(tmp_path, GOOD | {"document": "beyond_cnns"})
    with pytest.raises(ReportError, match="tables must have different names, but beyond_cnns_1 is a table and a layer table"):
        build(Home(home), tables=tmp_path)


# --- the thesis -------------------------------------------------------------------------------------------------------------------

ROWS = {"3.1": 5, "3.2": 4, "3.3": 4, "3.4": 4, "3.5": 6, "3.6": 5, "3.7": 7, "3.8": 7}


def test_the_shipped_tables_hold_what_the_source_prints() -> None:
    thesis = {read.number: read for read in read_layer_tables() if read.document == "thesis"}
    assert {number: len(read.rows) for number, read in thesis.items()} == ROWS
    assert [row.output for row in thesis["3.2"].rows] == ["32x32x32", "16x16x64", "8x8x128", "4x4x256"]
    assert [(row.stride, row.output) for row in thesis["3.8"].rows] == [
        (1, "30x30x64"),
        (2, "15x15x64"),
        (2, "8x8x64"),
        (2, "4x4x64"),
        (2, "2x2x64"),
        (None, "256"),
        (None, "1"),
    ]


def test_the_sweeps_of_a_shipped_table_build_it() -> None:
    for read in read_layer_tables():
        assert read.fill == f"sweep run table:{read.name}"
        assert read.sweeps
        for name in read.sweeps:
            fields = yaml.safe_load(shipped()[name].read_text())
            assert fields["model"] == read.model
            assert fields["data"].get("image_px", 32) == (read.image_px or 32)


def test_the_code_builds_the_networks_of_the_thesis(filler: Filler) -> None:
    """Every row of the eight tables agrees with the modules that the models have now, at the tables' knobs."""
    rooms, thesis = installed_rooms(), [read for read in read_layer_tables() if read.document == "thesis"]
    for model in dict.fromkeys(read.model for read in thesis):
        knobs = {knob: value for read in thesis if read.model == model for knob, value in read.knobs.items()}
        rows = rooms.layers(model, knobs, {"image_px": 32}, {"kind": "centre", "hole_px": 12})
        run_id = filler.trial(model, filler.sweep(model, model=model), "search-0000", {}, knobs=knobs)
        filler.store.client.log_text(run_id, json.dumps(rows), "layers.json")
    filler.done()
    sweeps = read_sweeps(filler.store)
    found = {read.number: compare(read, sweeps, filler.store) for read in thesis}
    assert {number: comparison.words for number, comparison in found.items()} == {
        number: f"{rows} of {rows} rows agree" for number, rows in ROWS.items()
    }
    totals = {number: sum(layer.parameters for layer in comparison.layers) for number, comparison in found.items()}
    assert (totals["3.1"], totals["3.2"]) == (318_659, 1_349_795)


def test_the_code_builds_the_generator_of_lsgan(filler: Filler) -> None:
    """The four rows of Table 2.1 agree; the layer that makes the image is in the text alone."""
    (table,) = [read for read in read_layer_tables() if read.document == "lsgan"]
    assert [row.output for row in table.rows] == ["4x4x1024", "8x8x512", "16x16x256", "32x32x128"]
    rows = installed_rooms().layers(table.model, table.knobs, {"image_px": 64}, {"kind": "centre", "hole_px": 24})
    run_id = filler.trial("faces", filler.sweep("faces", model=table.model), "search-0000", {}, knobs=table.knobs)
    filler.store.client.log_text(run_id, json.dumps(rows), "layers.json")
    filler.done()
    of_any_size = table.model_copy(update={"image_px": None})  # the fixture's sweeps have 32 px images
    assert compare(of_any_size, read_sweeps(filler.store), filler.store).words == "4 of 4 rows agree; 1 built layer not in the source"
