"""Plots of studies as a sweep leaves them, without training."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.journal import TrialRecord
from sweeper.keepsakes import plot
from sweeper.rooms import Rooms
from sweeper.search import Proposals
from sweeper.search.plots import Drawn
from sweeper.space import in_words, resolve
from sweeper.spec import Spec

ALSO = {"psnr_hole": "max"}
KNOBS = {"bottleneck": [256, 512, 1024], "learning_rate": {"low": 1e-4, "high": 1e-2}, "dropout": {"low": 0.0, "high": 0.5}}


@pytest.fixture
def drawn(tmp_path: Path, rooms: Rooms, tiny_spec: Callable[..., Spec]) -> Callable[..., Drawn]:
    """What is drawn of a sweep of so many trials, every fourth of them stopped, whose loss is known."""

    def make(trials: int, *, several: bool = False, **changes: object) -> Drawn:
        objective = {"metric": "l2_hole", "also": list(ALSO) if several else []}
        spec = tiny_spec("plotted", **({"knobs": KNOBS} | changes), objective=objective, budget={"trials": trials, "epochs": 3})
        proposals = Proposals(spec, resolve(spec, rooms), "min", tmp_path, ALSO if several else {})
        records = []
        while assignment := proposals.ask():
            record = TrialRecord(assignment.trial, assignment.number, assignment.model, assignment.knobs, assignment.seed)
            stopped = assignment.number % 4 == 3
            for step in (1,) if stopped else (1, 2, 3):
                rate = assignment.knobs["learning_rate"]
                record.results[step] = {"l2_hole": 10 - 100 * rate - step, "psnr_hole": 20 + 50 * rate}
                proposals.report(record.trial, step, record.results[step]["l2_hole"])
            record.state = "stopped" if stopped else "complete"
            proposals.tell(record.trial, record.state, record.best_values("l2_hole", "min", ALSO if several else ()))
            records.append(record)
        return plot(spec, rooms, tmp_path, records)

    return make


def test_every_plot_of_a_search_is_drawn_with_its_knobs_in_words(drawn: Callable[..., Drawn], tmp_path: Path) -> None:
    result = drawn(12)
    assert result.left_out == {}
    assert set(result.titles) == {
        "history",
        "parallel",
        "slice",
        "contour",
        "importance-ped_anova",
        "importance-fanova",
        "learning",
    }
    for stem in ("slice", "contour", "importance-ped_anova", "importance-fanova"):
        assert "learning rate (per step)" in (tmp_path / "plots" / f"{stem}.html").read_text()
    index = result.index.read_text()
    assert all(f'href="{stem}.html"' in index for stem in result.titles)
    assert "3 trials were stopped early" in index
    stills = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(stills) == {"parallel", "importance-ped_anova"}
    assert all(b"<svg" in content and b"<dc:date>" not in content for content in stills.values())


def test_the_plots_open_without_a_network_and_share_one_script(drawn: Callable[..., Drawn], tmp_path: Path) -> None:
    drawn(4)
    pages = list((tmp_path / "plots").glob("*.html"))
    assert (tmp_path / "plots" / "plotly.min.js").stat().st_size > 1_000_000
    for page in pages:
        assert "http" not in page.read_text().replace("http://www.w3.org", "").replace("https://plot.ly", "")
        assert page.stat().st_size < 100_000


def test_several_objectives_have_a_front_and_a_hypervolume(drawn: Callable[..., Drawn], tmp_path: Path) -> None:
    result = drawn(8, several=True, search={"algorithm": "nsga2"})
    assert result.left_out == {}
    assert {"pareto", "hypervolume", "history-l2_hole", "history-psnr_hole", "learning-psnr_hole"} <= set(result.titles)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} >= {"pareto", "parallel-l2_hole", "parallel-psnr_hole"}


def test_the_knob_that_decides_is_the_most_important(tmp_path: Path, drawn: Callable[..., Drawn]) -> None:
    drawn(24)
    page = (tmp_path / "plots" / "contour.html").read_text()
    assert '"text":"learning rate (per step)"' in page  # an axis: the loss hangs on it alone


def test_too_few_trials_are_a_reason_and_no_error(drawn: Callable[..., Drawn]) -> None:
    result = drawn(1)
    assert list(result.titles) == ["learning"]
    assert result.left_out["Slices of l2_hole"] == "it takes 2 finished trials or more, and there are 1"
    assert "it takes 4 finished trials or more" in result.index.read_text()


def test_a_plot_that_breaks_is_left_out_with_its_reason(drawn: Callable[..., Drawn], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug <in> plotly")

    monkeypatch.setattr("sweeper.search.plots.plot_slice", broken)
    result = drawn(8)
    assert result.left_out == {"Slices of l2_hole": "RuntimeError: a bug <in> plotly"}
    assert "a bug &lt;in&gt; plotly" in result.index.read_text()


def test_older_plots_are_replaced(drawn: Callable[..., Drawn], tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.html").write_text("old")
    drawn(1)
    assert not (tmp_path / "plots" / "old.html").exists()


@pytest.mark.parametrize(
    ("knob", "unit", "words"),
    [
        ("learning_rate", "per step", "learning rate (per step)"),
        ("kernel_px", "px", "kernel (px)"),
        ("base_filters", "filters", "base filters"),
        ("neck", "", "neck"),
    ],
)
def test_a_knob_is_named_in_words(knob: str, unit: str, words: str) -> None:
    assert in_words(knob, unit) == words
