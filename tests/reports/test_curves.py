"""Figures over epochs: which trials draw a line, what the files say, and what is refused."""

import csv
from pathlib import Path

import pytest

from reports.build import build
from reports.curves import Curves, read_curves
from reports.curves_drawn import curves_csv, drawn, traces
from reports.errors import ReportError
from reports.selection import read_sweeps
from reports.table import read_tables
from sweeper.home import Home
from tests.reports.conftest import Filler

FIGURE = """
document: paper
number: figure_1
source: a source
caption: losses
place: Figure 1
fill: sweep run mine
where: {model: cnn_autoencoder}
panels:
  - title: losses
    unit: "1"
    lines:
      - {metric: loss, title: small, where: {knobs: {bottleneck: 256}}}
      - {metric: loss, title: large, where: {knobs: {bottleneck: 512}}}
      - {metric: fortune, title: fortune}
"""
TABLE = """
document: paper
number: 1
source: a source
caption: a table
place: Table 1
unit: dB
fill: sweep run mine
rows_title: model
columns: [{key: psnr, title: PSNR, metric: psnr_hole}]
rows: [{title: one, where: {runs: final, model: cnn_autoencoder}}]
"""


@pytest.fixture
def figure() -> Curves:
    import yaml

    return Curves(**yaml.safe_load(FIGURE))


def filled(filler: Filler) -> Filler:
    """Two seeds of one bottleneck, a trial of another one, one that was stopped, and an older sweep with other numbers."""
    for sweep, offset in (("older", 100.0), ("newer", 0.0)):
        parent = filler.sweep(sweep)
        for trial, bottleneck, state, values in (
            ("search-0000", 256, "complete", (4.0, 2.0, 1.0)),
            ("search-0001", 256, "complete", (5.0, 3.0, 2.0)),
            ("search-0002", 512, "stopped", (9.0,)),
            ("search-0003", 512, "complete", (8.0, 7.0)),
        ):
            run = filler.trial(sweep, parent, trial, {}, knobs={"bottleneck": bottleneck}, state=state)
            for step, value in enumerate(values, 1):
                filler.steps(run, step, {"epoch": step / 2, "loss": value + offset})
    filler.done()
    return filler


def test_every_finished_trial_of_the_newest_sweep_draws_its_line(filler: Filler, figure: Curves) -> None:
    store = filled(filler).store
    found = traces(figure, read_sweeps(store), store)
    shown = {(trace.line.title, trace.run.trial): [(epoch, value) for step, epoch, value in trace.points if step < 10] for trace in found}
    assert shown == {
        ("small", "search-0000"): [(0.5, 4.0), (1.0, 2.0), (1.5, 1.0)],
        ("small", "search-0001"): [(0.5, 5.0), (1.0, 3.0), (1.5, 2.0)],
        ("large", "search-0003"): [(0.5, 8.0), (1.0, 7.0)],
    }
    assert {trace.sweep.row.name for trace in found} == {"newer"}
    assert drawn(figure, found) == "2 of 3 lines drawn"


def test_the_points_are_a_csv_with_their_runs(filler: Filler, figure: Curves) -> None:
    store = filled(filler).store
    found = traces(figure, read_sweeps(store), store)
    rows = list(csv.DictReader(curves_csv(figure, found).splitlines()))
    assert len(rows) == 8
    first = rows[0]
    assert (first["figure"], first["line"], first["step"], first["epoch"], first["value"]) == ("figure_1", "small", "1", "0.5", "4")
    assert {row["run_id"] for row in rows} == {trace.run.run_id for trace in found}


def test_a_report_holds_picture_points_and_page(filler: Filler, home: Path, tmp_path: Path) -> None:
    filled(filler)
    tables = tmp_path / "tables"
    (tables / "curves").mkdir(parents=True)
    (tables / "paper_1.yaml").write_text(TABLE)
    (tables / "curves" / "figure.yaml").write_text(FIGURE)
    out = tmp_path / "report"
    reports = []
    for _ in range(2):
        built = build(Home(home), out, tables=tables)
        assert built.curves == {"paper_figure_1": "2 of 3 lines drawn"}
        reports.append({path.name: path.read_bytes() for path in (out / "tables").iterdir()})
    assert reports[0] == reports[1]  # the same bytes
    assert {"paper_figure_1.md", "paper_figure_1.csv", "paper_figure_1.png", "paper_figure_1.svg"} <= set(reports[0])
    page = (out / "tables" / "paper_figure_1.md").read_text()
    assert "fortune" not in page.split("## Runs")[1]
    assert "newer / search-0003" in page
    assert "[paper, figure 1](tables/paper_figure_1.md)" in (out / "index.md").read_text()


def test_a_figure_that_nothing_has_trained_says_so(filler: Filler, home: Path, tmp_path: Path) -> None:
    filler.done()
    tables = tmp_path / "tables"
    (tables / "curves").mkdir(parents=True)
    (tables / "paper_1.yaml").write_text(TABLE)
    (tables / "curves" / "figure.yaml").write_text(FIGURE)
    built = build(Home(home), tmp_path / "report", only=["paper_figure_1"], tables=tables)
    assert (built.measured, built.curves) == ({}, {"paper_figure_1": "0 of 3 lines drawn"})
    assert "To train it: `sweep run mine`" in (tmp_path / "report" / "tables" / "paper_figure_1.md").read_text()


def test_bad_files_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "a.yaml").write_text(FIGURE.replace("panels:", "panel:"))
    (tmp_path / "curves" / "b.yaml").write_text(FIGURE)
    (tmp_path / "curves" / "c.yaml").write_text(FIGURE)
    with pytest.raises(ReportError) as caught:
        read_curves(tmp_path)
    assert "curves/a.yaml" in str(caught.value)
    assert "curves/c.yaml, number: must be another one, since paper_figure_1 stands in a second file too" in str(caught.value)


def test_a_figure_may_not_have_a_tables_name(home: Path, filler: Filler, tmp_path: Path) -> None:
    filler.done()
    tables = tmp_path / "tables"
    (tables / "curves").mkdir(parents=True)
    (tables / "paper_1.yaml").write_text(TABLE)
    (tables / "curves" / "figure.yaml").write_text(FIGURE.replace("figure_1", '"1"'))
    with pytest.raises(ReportError, match="paper_1 is both; change a number"):
        build(Home(home), tmp_path / "report", tables=tables)


def test_the_shipped_figures_are_sound_and_their_models_report_what_they_draw() -> None:
    from trainables.metrics import METRICS
    from trainables.registry import load_model

    shipped = read_curves()
    assert len(shipped) >= 14
    assert not {figure.name for figure in shipped} & {table.name for table in read_tables()}
    for figure in shipped:
        for panel in figure.panels:
            for line in panel.lines:
                model = figure.where.joined(line.where).model
                assert model is not None
                reported = {"loss", "train_l2_hole"} | set(METRICS) | set(load_model(model).extra_metrics)
                assert line.metric in reported, (figure.name, line.metric)
