"""`sweep run table:NAME`: what is missing or stale is computed, the rest is left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.cli.filling import _Deadline
from sweeper.home import Home
from sweeper.journal import Journal
from sweeper.tracking import Store
from tests.sweeper.conftest import Said

Fields = Callable[..., dict[str, Any]]


@pytest.fixture
def tables(tiny: Fields, tmp_path: Path) -> Path:
    """A folder with one table of two cells, each filled by a sweep of its own."""
    names = ("filled-a", "filled-b")
    for number, name in enumerate(names):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(tiny(name, knobs={"bottleneck": 256 * (number + 1)}, budget={"epochs": 1})))
    fields = {
        **{"document": "mine", "number": 1, "source": "s", "caption": "c", "place": "p", "unit": "u", "rows_title": "bottleneck"},
        "sweeps": [str(tmp_path / f"{name}.yaml") for name in names],
        "where": {"runs": "search", "model": "cnn_autoencoder"},
        "columns": [{"key": "x", "title": "L2", "metric": "l2_hole"}],
        "rows": [{"title": name, "where": {"spec": name}} for name in names],
    }
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(fields))
    return folder


def test_a_table_is_filled_once_and_again_where_it_is_stale(
    local_ray: None, sweep: Callable[..., Said], home: Home, store: Store, tables: Path
) -> None:
    def table(*more: str) -> Said:
        said = sweep("run", "table:mine_1", "--tables", str(tables), "--home", str(home.root), *more)
        assert said.code == 0, said
        return said

    def sweeps() -> list[str]:
        return sorted(row.name for row in store.sweeps() if row.name.startswith("filled-"))

    planned = table("--dry-run").out
    assert "sweeps to run, in this order" in planned
    assert "in all about" in planned
    assert "not begun: " in table("--budget-s", "0").out
    assert sweeps() == []

    ran = table().out
    assert sweeps() == ["filled-a", "filled-b"]
    assert "missing or stale now: 0" in ran
    assert f"-m reports.build --only mine_1 --tables {tables} --home {home.root}" in ran
    trial = store.trials("filled-a").to_dict("records")[0]
    assert len(trial["code"].split(", torch ")[0]) == 16
    assert table().out.strip() == "nothing is missing or stale that a sweep could compute"

    store.tag(trial["run_id"], "sweep.code", "0123456789abcdef, torch 1")
    again = table().out
    assert sweeps() == ["filled-a", "filled-a-2", "filled-b"]
    assert "missing or stale now: 0" in again
    assert store.sweep("filled-a") is not None

    unfinished = store.sweep("filled-b")
    assert unfinished is not None
    store.tag(unfinished.run_id, "sweep.state", "interrupted")
    assert "goes on: filled-b" in table("--dry-run").out
    table()
    assert sweeps() == ["filled-a", "filled-a-2", "filled-b"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("table:beyond_cnns_9",), "table: must be followed by one of animal_faces_discriminator, "),
        (("tables", "--tables", "nowhere"), "the tables must lie in a folder, but nowhere is none"),
        (("quickstart", "--budget-s", "5"), "--budget-s and --tables go with table:NAME and tables, but got 'quickstart'"),
        (("table:lsgan_lambda", "--set", "budget.trials=0"), "budget.trials"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    arguments: tuple[str, ...], words: str, sweep: Callable[..., Said], tmp_path: Path
) -> None:
    said = sweep("run", *arguments, "--home", str(tmp_path))
    assert said.code == 2, said
    assert words in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_runs_when_the_budget_is_spent_is_asked_to_stop_once(tmp_path: Path) -> None:
    early = _Deadline(None, tmp_path)
    early.look()
    late = _Deadline(0.0, tmp_path)
    late.look()
    assert not early.asked
    assert not late.asked  # nothing runs there yet
    with Journal(tmp_path) as journal:
        late.look()
        assert late.asked
        assert (tmp_path / "stop").read_text() == journal.driver
        (tmp_path / "stop").unlink()
        late.look()
        assert not (tmp_path / "stop").exists()
