"""A search with two objectives: killed, resumed, and its Pareto front printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml

from sweeper.cli.tables import pareto_front
from sweeper.home import Home
from sweeper.journal import read_events
from sweeper.tracking import Store
from tests.sweeper.drivers import PATIENCE_S, start_driver, wait_for

NAME, TRIALS = "two", 5


def points(*values: tuple[float, float]) -> pd.DataFrame:
    rows = [
        {"trial": f"search-{i:04d}", "role": "search", "metric.best_l2_hole": l2, "metric.best_psnr_hole": psnr}
        for i, (l2, psnr) in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_front_holds_what_nothing_beats() -> None:
    front = pareto_front(points((1, 10), (2, 20), (2, 15), (3, 20), (0.5, 5), (1, 10)), {"l2_hole": "min", "psnr_hole": "max"})
    assert front["trial"].tolist() == ["search-0000", "search-0001", "search-0004", "search-0005"]


def test_a_trial_without_a_value_is_on_no_front() -> None:
    front = pareto_front(points((1, 10), (0.1, float("nan"))), {"l2_hole": "min", "psnr_hole": "max"})
    assert front["trial"].tolist() == ["search-0000"]


@pytest.fixture(scope="module")
def finished(
    tiny: Callable[..., dict[str, Any]], driver_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The home of a sweep that was killed after its first trial's end and resumed, and what the resumed driver printed."""
    root = tmp_path_factory.mktemp("two")
    fields = tiny(
        NAME,
        knobs={"learning_rate": {"low": 1e-4, "high": 1e-2}},
        search={"algorithm": "nsga2"},
        objective={"metric": "l2_hole", "also": ["realism_gap"]},
        budget={"trials": TRIALS, "epochs": 2},
    )
    (root / "two.yaml").write_text(yaml.safe_dump(fields))
    journal = Home(root).folder(NAME) / "journal.jsonl"
    first = start_driver(["run", str(root / "two.yaml")], root, root / "first.txt", driver_environment)
    try:
        assert wait_for(lambda: any(event["event"] == "end" for event in read_events(journal)) or first.process.poll() is not None)
        assert first.process.poll() is None, first.text
        first.process.kill()
        first.process.wait()
        first.end()
    finally:
        first.end()
    second = start_driver(["resume", NAME], root, root / "second.txt", driver_environment)
    try:
        assert second.process.wait(PATIENCE_S) == 0, second.text
        return root, second.text
    finally:
        second.end()


@pytest.mark.conformance
def test_every_trial_is_in_the_study_and_in_the_store_once(finished: tuple[Path, str]) -> None:
    root, _ = finished
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{Home(root).folder(NAME) / 'study.db'}")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{Home(root).folder(NAME) / 'study.db'}")
    assert len(study.directions) == 2
    complete = {trial.number: trial.values for trial in study.trials}
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
    rows = Store(Home(root).store_uri, create=False).trials(NAME)
    assert sorted(rows["trial"]) == [f"search-{number:04d}" for number in range(TRIALS)]
    for row in rows.to_dict("records"):
        values = [row["metric.best_l2_hole"], row["metric.best_realism_gap"]]
        assert complete[int(row["trial"].split("-")[1])] == pytest.approx(values)


@pytest.mark.conformance
def test_the_front_is_printed(finished: tuple[Path, str]) -> None:
    root, text = finished
    rows = Store(Home(root).store_uri, create=False).trials(NAME).to_dict("records")
    values = {row["trial"]: (row["metric.best_l2_hole"], row["metric.best_realism_gap"]) for row in rows}
    unbeaten = {
        name for name, (l2, gap) in values.items() if not any(a <= l2 and b <= gap and (a, b) != (l2, gap) for a, b in values.values())
    }
    printed = text[text.index("Pareto front") :]
    assert {name for name in values if name in printed.split("best:")[0]} == unbeaten
