from typing import Any

import pytest

from reports.selection import Cell, fill, ranking, read_sweeps, same
from reports.table import Table
from tests.reports.conftest import Filler

KNOBS = {"bottleneck": 256, "dropout": 0.0}


def table(**fields: Any) -> Table:
    defaults: dict[str, Any] = {
        "document": "paper",
        "number": 1,
        "source": "",
        "caption": "",
        "place": "",
        "unit": "",
        "fill": "",
        "where": {"runs": "search", "model": "cnn_autoencoder", "knobs": {"bottleneck": 256}},
        "rows_title": "",
        "columns": [{"key": "l2", "title": "", "metric": "l2_hole"}],
        "rows": [{"title": "only", "published": {"l2": 4.0}}],
    }
    return Table.model_validate(defaults | fields)


def only_cell(filler: Filler, **fields: Any) -> Cell:
    filler.done()
    (cell,) = fill(table(**fields), read_sweeps(filler.store))
    return cell


def test_a_cell_takes_the_value_at_the_best_step_and_compares_it_with_the_published_one(filler: Filler) -> None:
    parent = filler.sweep("a")
    run_id = filler.trial("a", parent, "search-0000", {"l2_hole": 9.0, "best_l2_hole": 2.5}, knobs=KNOBS)
    cell = only_cell(filler)
    assert (cell.value, cell.spread, cell.difference) == (2.5, None, -1.5)
    assert [run.run_id for run in cell.runs] == [run_id]


@pytest.mark.parametrize("state", ["stopped", "diverged", "failed", "interrupted", "running"])
def test_only_complete_trials_fill_a_cell(filler: Filler, state: str) -> None:
    parent = filler.sweep("a")
    run_id = filler.store.begin("a", "search", "search-0000", parent, {"sweep.seed": "0"}, KNOBS)
    filler.store.client.log_metric(run_id, "best_l2_hole", 1.0)
    filler.store.client.set_tag(run_id, "sweep.state", state)
    cell = only_cell(filler)
    assert (cell.value, cell.runs, cell.difference) == (None, (), None)


def test_a_trial_with_another_knob_value_does_not_fill_the_cell(filler: Filler) -> None:
    parent = filler.sweep("a")
    filler.trial("a", parent, "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS | {"bottleneck": 512})
    assert only_cell(filler).value is None


@pytest.mark.parametrize(
    "condition",
    [
        {"spec": "another"},
        {"model": "wgan"},
        {"data": "faces"},
        {"image_px": 64},
        {"mask": "centre 16 px"},
        {"train_images": 1000},
        {"validation_images": 1},
        {"test_images": 1},
    ],
)
def test_a_sweep_that_misses_one_condition_does_not_fill_the_cell(filler: Filler, condition: dict[str, Any]) -> None:
    parent = filler.sweep("a")
    filler.trial("a", parent, "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS)
    assert only_cell(filler, where={"runs": "search"} | condition).value is None


def test_all_conditions_met_fill_the_cell(filler: Filler) -> None:
    parent = filler.sweep("a")
    filler.trial("a", parent, "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS)
    where = {"runs": "search", "spec": "beyond_cnns_table1", "model": "cnn_autoencoder", "data": "cifar10", "image_px": 32}
    where |= {"mask": "centre 8 px", "train_images": 45000, "validation_images": 5000, "test_images": 10000, "knobs": {"dropout": 0}}
    assert only_cell(filler, where=where).value == 1.0


def test_of_two_finished_sweeps_the_newer_fills_the_cell(filler: Filler) -> None:
    for name, value in (("older", 1.0), ("newer", 2.0)):
        filler.trial(name, filler.sweep(name), "search-0000", {"best_l2_hole": value}, knobs=KNOBS)
    assert only_cell(filler).value == 2.0


def test_of_two_finished_sweeps_the_better_on_validation_fills_the_cell_where_the_table_says_so(filler: Filler) -> None:
    for name, validation, test in (("older", 1.0, 8.0), ("newer", 2.0, 7.0)):
        filler.trial(name, filler.sweep(name), "final-0", {"best_l2_hole": validation, "test_l2_hole": test}, knobs=KNOBS)
    cell = only_cell(filler, where={"runs": "final"}, choose="best_validation")
    assert cell.value == 8.0  # the test split, where the newer one is better, decides nothing


def test_a_finished_sweep_goes_before_a_newer_unfinished_one(filler: Filler) -> None:
    for name, value, state in (("older", 1.0, "finished"), ("newer", 2.0, "interrupted")):
        filler.trial(name, filler.sweep(name, state=state), "search-0000", {"best_l2_hole": value}, knobs=KNOBS)
    assert only_cell(filler).value == 1.0


def test_an_unfinished_sweep_fills_in_where_no_finished_one_has_a_candidate(filler: Filler) -> None:
    filler.trial("a", filler.sweep("a"), "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS | {"bottleneck": 512})
    filler.trial("b", filler.sweep("b", state="interrupted"), "search-0000", {"best_l2_hole": 2.0}, knobs=KNOBS)
    assert only_cell(filler).value == 2.0


@pytest.mark.parametrize(("mode", "metric", "expected"), [("min", "l2_hole", 2.0), ("max", "psnr_hole", 3.0)])
def test_within_a_sweep_the_trial_with_the_best_objective_fills_the_cell(filler: Filler, mode: str, metric: str, expected: float) -> None:
    parent = filler.sweep("a", mode=mode, objective=metric)
    for number, value in enumerate((2.5, 2.0, 3.0)):
        filler.trial("a", parent, f"search-{number:04d}", {f"best_{metric}": value}, knobs=KNOBS)
    cell = only_cell(filler, columns=[{"key": "l2", "title": "", "metric": metric}])
    assert cell.value == expected


def test_columns_of_one_row_come_from_the_same_run(filler: Filler) -> None:
    parent = filler.sweep("a")
    filler.trial("a", parent, "search-0000", {"best_l2_hole": 2.0, "best_train_l2_hole": 1.9}, knobs=KNOBS)
    filler.trial("a", parent, "search-0001", {"best_l2_hole": 2.1, "best_train_l2_hole": 1.0}, knobs=KNOBS)
    filler.done()
    columns = [{"key": "l2", "title": "", "metric": "l2_hole"}, {"key": "train", "title": "", "metric": "train_l2_hole"}]
    validation, training = fill(table(columns=columns), read_sweeps(filler.store))
    assert (validation.value, training.value) == (2.0, 1.9)
    assert validation.runs == training.runs


def test_final_runs_give_their_mean_and_sample_deviation_over_seeds(filler: Filler) -> None:
    parent = filler.sweep("a")
    for seed, value in enumerate((2.0, 3.0, 7.0)):
        filler.trial("a", parent, f"final-{seed}", {"test_l2_hole": value}, knobs=KNOBS, seed=seed)
    filler.trial("a", parent, "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS)
    cell = only_cell(filler, where={"runs": "final"})
    assert cell.value == 4.0
    assert cell.spread == pytest.approx(7**0.5)  # ((2-4)^2 + (3-4)^2 + (7-4)^2) / 2
    assert [run.seed for run in cell.runs] == [0, 1, 2]


def test_the_baseline_is_the_ring_mean_on_the_test_split(filler: Filler) -> None:
    run_id = filler.sweep("a", baseline={"ring_mean_test_l2_hole": 6.25, "ring_mean_validation_l2_hole": 6.0})
    cell = only_cell(filler, where={"runs": "baseline"})
    assert (cell.value, [run.run_id for run in cell.runs]) == (6.25, [run_id])


def test_a_row_marked_unfilled_stays_so(filler: Filler) -> None:
    filler.trial("a", filler.sweep("a"), "search-0000", {"best_l2_hole": 1.0}, knobs=KNOBS)
    assert only_cell(filler, rows=[{"title": "only", "unfilled": "no such model"}]).value is None


def test_a_number_that_is_not_finite_is_not_measured(filler: Filler) -> None:
    filler.trial("a", filler.sweep("a"), "final-0", {"test_l2_hole": float("inf")}, knobs=KNOBS)
    assert only_cell(filler, where={"runs": "final"}).value is None


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("256", 256, True),
        ("0.50", 0.5, True),
        ("0", 0.0, True),
        ("1e-3", 0.001, True),
        ("True", True, True),
        ("1", True, False),
        ("True", 1, False),
        ("relu", "relu", True),
        ("relu", "elu", False),
        (None, 1, False),
    ],
)
def test_stored_text_and_value(text: str | None, value: Any, expected: bool) -> None:
    assert same(text, value) is expected


@pytest.mark.parametrize(("metric", "order"), [("l2_hole", ["low", "high", "none"]), ("psnr_hole", ["high", "low", "none"])])
def test_a_ranked_table_begins_with_the_best_row_and_ends_with_those_that_are_not_measured(
    filler: Filler, metric: str, order: list[str]
) -> None:
    parent = filler.sweep("a")
    for place, (dropout, value) in enumerate([(0.1, 9.0), (0.2, 2.0)]):
        filler.trial(
            "a", parent, f"search-{place:04d}", {f"best_{metric}": value, "best_l2_hole": value}, knobs=KNOBS | {"dropout": dropout}
        )
    filler.done()
    rows = [{"title": title, "where": {"knobs": {"dropout": dropout}}} for title, dropout in (("none", 0.5), ("high", 0.1), ("low", 0.2))]
    unranked = table(rows=rows, columns=[{"key": "value", "title": "", "metric": metric}])
    ranked = unranked.model_copy(update={"ranked_by": "value"})
    cells = fill(ranked, read_sweeps(filler.store))
    ordered, ordered_cells = ranking(ranked, cells)
    assert [row.title for row in ordered.rows] == [cell.row.title for cell in ordered_cells] == order
    assert ranking(unranked, cells) == (unranked, cells)
