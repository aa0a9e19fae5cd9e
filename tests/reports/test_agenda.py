import json
from typing import Any

import pytest

from reports.agenda import PIXEL_NS, UNKNOWN_IMAGES, agenda, cost
from reports.errors import ReportError
from reports.freshness import Today
from reports.selection import Run, Sweep
from reports.table import Table, read_tables
from reports.wanted import spec_of
from sweeper.rows import SweepRow
from sweeper.spec_file import shipped


def sweep(
    spec: str, model: str, *, spent_s: float = 0.0, state: str = "finished", px: int = 32, seen: float = 0.0, took_s: float = 0.0
) -> Sweep:
    """A sweep of a shipped spec with one trial."""
    tags = {"sweep.spec": spec, "sweep.state": state, "sweep.budget": spec_of(spec).budget.model_dump_json(), "sweep.image_px": str(px)}
    tags |= {"sweep.data": spec_of(spec).data.name, "sweep.data_counts": json.dumps({"train": 45000}), "sweep.model": model}
    row = SweepRow(f"id-{spec}", f"my-{spec}", tags, {"spent_wall_s": spent_s}, 0.0)
    return Sweep(row, (Run("r", "search", "search-0000", "complete", 0, {}, {"images_seen": seen, "wall_s": took_s}, row, model),))


def table(**fields: Any) -> Table:
    base = {"document": "d", "number": 1, "source": "s", "caption": "c", "place": "p", "unit": "u", "rows_title": "r"}
    base |= {"where": {"runs": "search"}, "columns": [{"key": "x", "title": "X", "metric": "l2_hole"}]}
    return Table.model_validate(base | fields)


def test_an_earlier_sweep_of_the_same_spec_and_budget_says_what_it_takes() -> None:
    earlier = sweep("beyond_cnns_table1", "cnn_autoencoder", spent_s=321.0)
    found = cost("beyond_cnns_table1", spec_of("beyond_cnns_table1"), [earlier])
    assert (found.wall_s, found.basis) == (321.0, "as my-beyond_cnns_table1 took")
    larger = spec_of("beyond_cnns_table1").model_copy(update={"budget": spec_of("quickstart").budget})
    assert cost("beyond_cnns_table1", larger, [earlier]).wall_s != 321.0
    unfinished = sweep("beyond_cnns_table1", "cnn_autoencoder", spent_s=321.0, state="interrupted")
    assert cost("beyond_cnns_table1", spec_of("beyond_cnns_table1"), [unfinished]).wall_s != 321.0


def images_of(name: str) -> float:
    """Training images of a shipped spec's sweep that measures its trials as they are, or makes no final run."""
    spec = spec_of(name)
    assert spec.seeds == 0 or not spec.retrain
    return spec.budget.trials * spec.budget.epochs * (spec.data.train or 45_000)


def test_else_the_pace_of_the_model_counts_by_images_and_pixels() -> None:
    """0.01 s an image at 64 px is 0.0025 s at 32 px."""
    paced = sweep("beyond_cnns_dropout", "cnn_autoencoder", px=64, seen=1000.0, took_s=10.0)
    found = cost("beyond_cnns_table1", spec_of("beyond_cnns_table1"), [paced])
    assert found.wall_s == pytest.approx(images_of("beyond_cnns_table1") * 0.0025)
    assert found.basis == f"{images_of('beyond_cnns_table1'):,.0f} images at the pace of cnn_autoencoder so far"


def test_a_long_run_counts_for_more_and_one_of_a_few_images_for_nothing() -> None:
    long = sweep("beyond_cnns_dropout", "cnn_autoencoder", seen=9000.0, took_s=9.0)
    short = sweep("beyond_cnns_kernel", "cnn_autoencoder", seen=1000.0, took_s=11.0)
    moment = sweep("beyond_cnns_overlap", "cnn_autoencoder", seen=32.0, took_s=60.0)
    found = cost("beyond_cnns_table1", spec_of("beyond_cnns_table1"), [moment, short, long])
    assert found.wall_s == pytest.approx(images_of("beyond_cnns_table1") * 20 / 10_000)


@pytest.mark.parametrize("name", ["beyond_cnns_dropout", "beyond_cnns_row_lstm"])
def test_else_a_measured_figure_gives_a_rough_idea(name: str) -> None:
    found = cost(name, spec_of(name), [])
    images = images_of(name) if spec_of(name).data.train else spec_of(name).budget.epochs * UNKNOWN_IMAGES
    assert found.wall_s == pytest.approx(images * 32 * 32 * PIXEL_NS[spec_of(name).models[0]] / 1e9)
    assert found.basis == f"{images:,.0f} images, roughly"


def test_every_trained_model_of_the_shipped_specs_has_a_measured_figure() -> None:
    trained = {model for name in shipped() for model in spec_of(name).models} - {"classical_fill"}
    assert trained <= PIXEL_NS.keys()


def test_the_cheapest_comes_first_and_what_takes_training_over_after_it() -> None:
    (lsgan,) = [table for table in read_tables() if table.name == "lsgan_3.2"]
    cheap = sweep("lsgan_autoencoder", "lsgan_autoencoder", spent_s=0.001)
    tasks, left = agenda([lsgan], [cheap], Today())
    order = [task.sweep for task in tasks]
    assert left == []
    assert order == [
        "lsgan_classical",
        "lsgan_context_encoder",
        "lsgan_pluralistic",
        "lsgan_progressive",
        "lsgan_search",
        "lsgan_autoencoder",
    ]
    assert [task.missing for task in tasks] == [16, 4, 4, 4, 4, 4]


def test_a_sweep_that_fills_two_tables_runs_once() -> None:
    both = [table for table in read_tables() if table.name in ("beyond_cnns_1", "beyond_cnns_2")]
    (task,) = [task for task in agenda(both, [], Today())[0] if task.sweep == "beyond_cnns_table1"]
    assert task.tables == ["beyond_cnns_1", "beyond_cnns_2"]
    assert len(task.lacks) == 8 + 1


def test_what_no_sweep_computes_is_told_apart() -> None:
    own = table(fill="by hand", rows=[{"title": "a"}, {"title": "b", "unfilled": "the source lost it"}])
    tasks, (lack,) = agenda([own], [], Today())
    assert (tasks, lack.command, lack.cell) == ([], "by hand", "a / X")


def test_sweeps_that_wait_for_each_other_are_refused() -> None:
    names = ["beyond_cnns_table1", "beyond_cnns_dropout"]
    rows = [{"title": name, "where": {"spec": name}} for name in names]
    round_about = table(sweeps=names, rows=rows, after={names[0]: [names[1]], names[1]: [names[0]]})
    with pytest.raises(ReportError, match="'after' must not go round, but got beyond_cnns_"):
        agenda([round_about], [], Today())
