"""Loads computed by hand, and the sentence that follows from them."""

from dataclasses import replace

import pytest

from sweeper.planning import Capacity, Work, breaks, plan, verdict

MIB = 2**20
# 100 nodes of 4 trials: 400 at once, 200 results and 20 ends a second
WORK = Work(step_s=2, steps=10, values=20, checkpoint_bytes=10 * MIB, keep=2, data_bytes=100 * MIB, trials=50)
CAN = Capacity(
    tune_result_s=0.001,
    journal_result_s=0.0005,
    journal_trial_s=0.002,
    study_trial_s=0.010,
    study_growth_s=0.00001,
    study_result_s=0.0015,
    store_trial_s=0.1,
    store_call_s=0.005,
    store_value_s=0.00001,
    head_calls_s=1000,
    storage_bytes_s=1000 * MIB,
    free_bytes=2**40,
)
BY_HAND = {
    "driver's loop": 0.2 + 0.14 + 0.58,
    "  Ray Tune's loop": 200 * 0.001,
    "  journal": 200 * 0.0005 + 20 * 0.002,
    "  study": 200 * 0.0015 + 20 * (0.010 + 400 * 0.00001),
    "MLflow": 20 * 0.1 + 4000 * (0.00001 + 0.005 / 1000),
    "  a call a result": 20 * 0.1 + 200 * 0.005 + 4000 * 0.00001,
    "checkpoints written": 2000 / 1000,
    "checkpoints kept": 400 * 2 * 10 / 2**20,
    "data to every node": 100 * 100 / 1000 / 600,
    "Ray's head": 100 / 3 / 1000,
    "  nodes tested by Ray": 100 / 250,
}


def test_loads_are_what_they_are_by_hand() -> None:
    column = plan(WORK, CAN, 100, 4)
    assert (column.at_once, column.results_s, column.trials_s) == (400, 200, 20)
    assert {load.part: load.share for load in column.loads} == pytest.approx(BY_HAND)
    amounts = {load.part: (load.amount, load.unit) for load in column.loads}
    assert amounts["MLflow"] == (4000, "values/s")
    assert amounts["checkpoints written"] == (pytest.approx(2000), "MiB/s")
    assert amounts["checkpoints kept"] == (pytest.approx(8000 / 1024), "GiB")
    assert amounts["data to every node"] == (pytest.approx(10), "s of 600 s")


def test_the_first_part_that_breaks_is_named_with_the_nodes_and_the_remedy() -> None:
    found = [(each.load.part, each.nodes) for each in breaks(WORK, CAN, 4)]
    # 100 / 2.06 = 48.5; 100 / 2 = 50, which is just full; 100 / 0.033 = 3000, just full; 600 s / 0.1 s a node, just full
    assert [each for each in found if each[0] != "driver's loop"] == [
        ("MLflow", 49),
        ("checkpoints written", 51),
        ("Ray's head", 3001),
        ("data to every node", 6001),
        ("checkpoints kept", 13108),  # 80 MiB a node in 2 ** 20 MiB
    ]
    # n nodes: 0.002 n Tune, 0.0014 n journal, (0.003 + 0.002) n study and 8e-6 n ** 2 for its growth: 1 at n = 107.95
    assert ("driver's loop", 108) in found
    told = verdict(100, breaks(WORK, CAN, 4))
    assert told.startswith("100 nodes: MLflow breaks first, at 49 nodes, then checkpoints written at 51; remedy: an MLflow server")


def test_what_holds_says_what_would_break() -> None:
    assert verdict(1, breaks(WORK, CAN, 4)).startswith("1 node: holds; MLflow is the first to break, at 49 nodes; then: an MLflow server")
    idle = replace(CAN, head_calls_s=1e9, storage_bytes_s=1e18, free_bytes=2**80)
    assert verdict(9, breaks(replace(WORK, step_s=1e12), idle, 1)) == "9 nodes: holds; nothing breaks below 1,048,576 nodes"


@pytest.mark.parametrize(
    ("slow", "part", "remedy"),
    [
        ({"tune_result_s": 0.1}, "driver's loop", "a larger budget.step_images"),
        ({"journal_result_s": 0.1}, "driver's loop", "a faster disk"),
        ({"study_result_s": 0.1}, "driver's loop", "random or sobol"),
        ({"store_value_s": 0.1}, "MLflow", "PostgreSQL"),
        ({"storage_bytes_s": MIB}, "checkpoints written", "more bandwidth"),
        ({"free_bytes": MIB}, "checkpoints kept", "keep: 1"),
        ({"free_bytes": 0}, "checkpoints kept", "keep: 1"),
        ({"head_calls_s": 1}, "Ray's head", "RAY_health_check_period_ms"),
    ],
)
def test_each_part_can_be_the_first_and_has_a_remedy_of_its_own(slow: dict[str, float], part: str, remedy: str) -> None:
    first = breaks(WORK, replace(CAN, **slow), 4)[0].load  # type: ignore[arg-type]
    assert first.part == part
    assert remedy in first.remedy


def test_data_that_is_large_comes_first_where_trials_are_slow() -> None:
    slow = replace(WORK, step_s=36000, data_bytes=100 * 2**30)
    first = breaks(slow, CAN, 1)[0]
    assert (first.load.part, first.nodes) == ("data to every node", 6)  # 102.4 s a node, 600 s in all: 5.9 nodes


def test_a_slow_call_delays_metrics_and_breaks_nothing() -> None:
    column = plan(WORK, replace(CAN, store_call_s=0.1, store_trial_s=0.001, storage_bytes_s=2**50), 100, 4)
    shares = {load.part: load.share for load in column.loads}
    assert shares["  a call a result"] > 1 > shares["MLflow"]
    assert all(load.share < 1 for load in column.loads if load.breaks)
