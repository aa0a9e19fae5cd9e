import sys
from pathlib import Path

import pytest
import yaml

import reports.build
from reports.build import build
from reports.curves import read_curves
from reports.errors import ReportError
from reports.freshness import Today
from reports.layers import read_layer_tables
from reports.selection import read_sweeps
from reports.table import Filled, Where, read_tables
from reports.wanted import Lack, can_meet, lacks, spec_of
from sweeper.errors import SpecError
from sweeper.home import Home
from sweeper.spec_file import read_spec, shipped
from tests.reports.conftest import Filler

PARTS: list[Filled] = [*read_tables(), *read_layer_tables(), *read_curves()]


def table(name: str) -> Filled:
    return next(part for part in PARTS if part.name == name)


def of(name: str, filler: Filler) -> list[Lack]:
    filler.done()
    return lacks(table(name), read_sweeps(filler.store), Today())


@pytest.mark.parametrize("part", PARTS, ids=[part.name for part in PARTS])
def test_every_cell_of_a_shipped_table_has_a_shipped_sweep_that_fills_it(part: Filled) -> None:
    assert set(part.sweeps) <= shipped().keys()
    found = lacks(part, [], Today())
    assert {lack.sweep for lack in found} <= set(part.sweeps)
    assert [lack for lack in found if not lack.sweep and part.sweeps] == []
    assert [lack.cell for lack in found if not part.sweeps] in ([], [""])  # a layer table that any sweep of its model fills


def test_both_ways_of_decoding_are_filled_by_the_sweep_that_measures_both() -> None:
    found = {lack.cell: lack.sweep for lack in lacks(table("beyond_cnns_2"), [], Today())}
    assert found["Pixel CNN / L2 (test)"] == "beyond_cnns_pixel_cnn"
    assert found["Pixel CNN, mean of the distribution / L2 (test)"] == "beyond_cnns_pixel_cnn"
    assert found["CNN autoencoder / L2 (test)"] == "beyond_cnns_table1"


def test_a_sweep_that_surely_measures_a_value_goes_before_one_whose_best_trial_may_have_another(tmp_path: Path) -> None:
    both = read_spec("beyond_cnns_pixel_cnn") | {"name": "both", "finals": "best"}
    greedy = both | {"name": "greedy", "knobs": {**both["knobs"], "decoding": "argmax"}}
    paths = [tmp_path / "both.yaml", tmp_path / "greedy.yaml"]
    for path, fields in zip(paths, (both, greedy), strict=True):
        path.write_text(yaml.safe_dump(fields))
    part = table("beyond_cnns_2").model_copy(update={"sweeps": list(map(str, paths))})
    found = {lack.cell: lack.sweep for lack in lacks(part, [], Today())}
    assert found["Pixel CNN / L2 (test)"] == str(paths[1])
    assert found["Pixel CNN, mean of the distribution / L2 (test)"] == str(paths[0])


@pytest.mark.parametrize(
    ("where", "able"),
    [
        ({}, True),
        ({"model": "cnn_autoencoder", "data": "cifar10", "image_px": 32, "mask": "centre 8 px", "train_images": 45000}, True),
        ({"model": "wgan"}, False),
        ({"data": "cifar10_cars"}, False),
        ({"image_px": 64}, False),
        ({"mask": "centre 10 px"}, False),
        ({"runs": "final"}, True),
        ({"model": "cnn_autoencoder", "knobs": {"bottleneck": 512}}, True),  # one of a list
        ({"model": "cnn_autoencoder", "knobs": {"dropout": 0.0}}, True),  # fixed
        ({"model": "cnn_autoencoder", "knobs": {"dropout": 0.5}}, False),
        ({"model": "cnn_autoencoder", "knobs": {"kernel_px": 3}}, True),  # the paper's value
        ({"model": "cnn_autoencoder", "knobs": {"kernel_px": 5}}, False),
    ],
)
def test_what_a_spec_can_meet(where: dict[str, object], able: bool) -> None:
    assert can_meet(spec_of("beyond_cnns_table1"), Where.model_validate(where)) is able


def test_counts_final_runs_and_lists_of_configurations_matter_too() -> None:
    ablation = spec_of("beyond_cnns_dropout")
    assert can_meet(ablation, Where(train_images=10000))
    assert not can_meet(ablation, Where(train_images=45000))
    assert not can_meet(ablation, Where(runs="final"))  # no seeds: nothing is measured on the test split
    gan = spec_of("thesis_completion_gan")
    assert can_meet(gan, Where(model="completion_gan", knobs={"hole_weight": 1.0}))
    assert not can_meet(gan, Where(model="completion_gan", knobs={"hole_weight": 0.5}))


def test_a_sweep_that_is_no_spec_or_a_bad_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a spec must be one of animal_faces_16, .* but got 'nowhere'"):
        spec_of("nowhere")
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nmodel: wgan\ndata: {name: photos}\nbudget: {trials: 0, epochs: 1}\n")
    with pytest.raises(ReportError, match=r"bad.yaml cannot \(budget.trials: Input should be greater than or equal to 1\); mend it"):
        spec_of(str(bad))


def test_what_is_measured_with_todays_code_lacks_nothing(filler: Filler) -> None:
    parent = filler.sweep("one")
    code = f"{Today().code('cnn_autoencoder')}, torch 2"
    filler.trial("one", parent, "search-0000", {"best_l2_hole": 3.0, "best_train_l2_hole": 2.8}, knobs={"bottleneck": 256}, code=code)
    filler.trial("one", parent, "search-0001", {"best_l2_hole": 3.0}, knobs={"bottleneck": 512}, code="0123456789abcdef, torch 2")
    found = of("beyond_cnns_1", filler)
    assert [lack.cell.split(" / ")[0] for lack in found] == ["512", "512", "1024", "1024", "2048", "2048"]
    assert [lack.stale for lack in found] == [False, True, False, False, False, False]
    assert found[1].line == (
        "beyond_cnns_1, 512 / L2 (validation): stale, the code of cnn_autoencoder has changed since (0123456789abcdef then, "
        f"{Today().code('cnn_autoencoder')} now); sweep run beyond_cnns_table1"
    )
    assert found[0].line == "beyond_cnns_1, 512 / L2 (training): not measured; sweep run beyond_cnns_table1"


def test_a_number_of_a_sweep_that_has_not_finished_is_still_wanted(filler: Filler) -> None:
    parent = filler.sweep("half", state="interrupted")
    filler.trial("half", parent, "search-0000", {"best_l2_hole": 3.0}, knobs={"bottleneck": 256})
    found = of("beyond_cnns_1", filler)[1]
    assert (found.cell, found.stale) == ("256 / L2 (validation)", False)
    assert found.reason == "not measured to the end, sweep half is not finished"


def test_strict_lists_what_is_missing_or_stale_and_ends_with_code_1(
    filler: Filler, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = filler.sweep("one")
    filler.trial(
        "one", parent, "search-0000", {"best_l2_hole": 3.0, "best_train_l2_hole": 2.8}, knobs={"bottleneck": 256}, code="0123, torch 2"
    )
    filler.done()
    monkeypatch.setattr(sys, "argv", ["reports.build", "--home", str(home), "--only", "beyond_cnns_1", "--strict"])
    with pytest.raises(SystemExit) as ended:
        reports.build.main()
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, lines[0], len(lines)) == (1, "--strict: 6 missing, 2 stale", 9)
    assert all(line.endswith("; sweep run beyond_cnns_table1") for line in lines[1:])
    page = (home / "report" / "tables" / "beyond_cnns_1.md").read_text()  # the report is there all the same
    assert "| 256 | 7.02 | 2.80 (run 1), stale |" in page
    assert "| 2 of 8 cells, 2 stale |" in (home / "report" / "index.md").read_text()
    assert "- 256 / L2 (training): the code of cnn_autoencoder has changed since (0123 then, " in page
    assert "the code of cnn_autoencoder has changed since (0123 then, " in (home / "report" / "tables" / "beyond_cnns_1.csv").read_text()


def test_nothing_lacking_passes_strictly(filler: Filler, home: Path) -> None:
    parent = filler.sweep("one")
    for place, bottleneck in enumerate((256, 512, 1024, 2048)):
        metrics = {"best_l2_hole": 3.0, "best_train_l2_hole": 2.8}
        filler.trial("one", parent, f"search-{place:04d}", metrics, knobs={"bottleneck": bottleneck})
    filler.done()
    assert build(Home(home), only=["beyond_cnns_1"]).lacks == ()
