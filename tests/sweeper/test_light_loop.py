"""Ray Tune's loop forgets trials that have ended, and goes on as it would."""

from pathlib import Path
from typing import Any

import pytest
import ray.tune
from ray.tune import tune

from sweeper.light_loop import ended_trials_forgotten

pytestmark = pytest.mark.usefixtures("local_ray")


class Counting(ray.tune.Callback):  # type: ignore[misc]
    """Notes how many trials the loop holds as each begins, and which have ended with what."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.values: list[int] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.held.append(len(trials))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.values.append(trial.last_result["value"])


def test_the_loop_holds_no_more_than_what_runs_and_the_newest(tmp_path: Path) -> None:
    def once(config: dict[str, Any]) -> None:
        ray.tune.report({"value": config["number"]})

    counting = Counting()
    with ended_trials_forgotten():
        found = ray.tune.Tuner(
            once,
            param_space={"number": ray.tune.grid_search(list(range(6)))},
            tune_config=ray.tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=ray.tune.RunConfig(name="light", storage_path=str(tmp_path), callbacks=[counting], verbose=0),
        ).fit()
    assert found.errors == []
    assert counting.values == list(range(6))
    assert max(counting.held) <= 2


def test_rays_own_loop_is_as_it_was_afterwards() -> None:
    before = tune.TuneController
    with ended_trials_forgotten():
        assert issubclass(tune.TuneController, before)
        assert tune.TuneController is not before
    assert tune.TuneController is before
