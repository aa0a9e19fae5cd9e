"""What the screen is told of trials that take over training."""

from pathlib import Path
from typing import Any, cast

import pytest

from sweeper.budget import Meter
from sweeper.interrupt import Interrupt
from sweeper.journal import Journal
from sweeper.layers import LayerTables
from sweeper.recorder import SweepRun
from sweeper.spec import Budget, Objective
from sweeper.stage import Stage, StageListener
from sweeper.tracking import Store
from sweeper.writer import Writer
from tests.sweeper.conftest import SilentProgress


class NoWriter:
    """Takes metrics and keeps none."""

    def metrics(self, run: str, step: int, values: dict[str, float], time_s: float | None = None) -> None:
        """Nothing."""


@pytest.mark.parametrize(("reused", "notes"), [([0, 0, 0], []), ([1, 1, 0], ["a"]), ([0, 1, 1], ["a"]), ([None, None, None], [])])
def test_a_trial_that_takes_over_training_is_told_once(reused: list[float | None], notes: list[str], tmp_path: Path) -> None:
    progress = SilentProgress()
    with Journal(tmp_path) as journal:
        missing: Any = None  # neither the store nor the layer tables are asked
        run = SweepRun(
            "mine",
            Objective(),
            {"l2_hole": "min"},
            journal,
            cast(Store, missing),
            cast(Writer, NoWriter()),
            "parent",
            progress,
            cast(LayerTables, missing),
        )
        run.interrupt = Interrupt()
        journal.start("a", 0, "cnn_autoencoder", {}, 0)
        listener = StageListener(
            Stage(run, Meter(Budget(trials=1, epochs=1), 0, list), (), lambda assignment: "", lambda wanted: None, lambda model: "code-7")
        )
        for step, value in enumerate(reused, 1):
            listener.on_result("a", {"step": step, "metrics": {"l2_hole": 1.0} | ({} if value is None else {"reused": float(value)})})
    told = [event[1] for event in progress.events if event[0] == "note"]
    assert told == [f"{trial} takes over training that an earlier trial has done" for trial in notes]
