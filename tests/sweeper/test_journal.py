"""The sweep's own record: what survives a crash, who may write, and which step was best."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.budget import Spending
from sweeper.errors import SweepStateError
from sweeper.journal import ENDED, Journal, TrialRecord, read_events


def filled(folder: Path) -> None:
    """One finished trial and one that is running."""
    with Journal(folder) as journal:
        journal.start("search-0000", 0, "cnn_autoencoder", {"bottleneck": 256, "neck": "fc", "mirror": True}, 7)
        journal.result("search-0000", 1, {"l2_hole": 3.5, "loss": 0.1})
        journal.start("search-0001", 1, "cnn_autoencoder", {"bottleneck": 512}, 7)
        journal.clock(Spending(1.25))
        journal.result("search-0001", 1, {"l2_hole": 2.5})
        journal.result("search-0000", 2, {"l2_hole": 3.0, "loss": 0.05})
        journal.end("search-0000", "complete")
        journal.clock(Spending(2.5))


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        first, second = journal.trials.values()
        assert first == TrialRecord(
            "search-0000",
            0,
            "cnn_autoencoder",
            {"bottleneck": 256, "neck": "fc", "mirror": True},
            7,
            "complete",
            "",
            {1: {"l2_hole": 3.5, "loss": 0.1}, 2: {"l2_hole": 3.0, "loss": 0.05}},
        )
        assert (second.state, second.results, second.kind) == ("running", {1: {"l2_hole": 2.5}}, "search")
        assert journal.spent == Spending(2.5)


def test_changes_on_the_way_and_broken_limits_are_read_again(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in range(2):
            journal.start(f"search-000{number}", number, "toy", {"rate": 0.1 + number}, 7)
            journal.result(f"search-000{number}", 1, {"l2_hole": 3.5})
        journal.mutate("search-0000", 1, {"rate": 0.9}, "search-0001", "attempt-001/search-0001/checkpoint_000000")
        journal.mutate("search-0000", 2, {"rate": 0.8}, "search-0001", "attempt-001/search-0001/checkpoint_000001")
        journal.end("search-0001", "infeasible", "too large", {"parameters": 12.5})
        written = dict(journal.trials)
    with Journal(tmp_path) as journal:
        assert journal.trials == written
        changed, broken = journal.trials.values()
    assert changed.first_knobs == {"rate": 0.1}
    assert changed.knobs == {"rate": 0.8}
    assert [(change.step, change.before, change.after, change.donor) for change in changed.changes] == [
        (1, {"rate": 0.1}, {"rate": 0.9}, "search-0001"),
        (2, {"rate": 0.9}, {"rate": 0.8}, "search-0001"),
    ]
    assert broken.violations == {"parameters": 12.5}


def test_a_trial_that_starts_again_keeps_its_results(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(tmp_path) as journal:
        before = len(list(read_events(tmp_path / "journal.jsonl")))
        journal.start("search-0001", 1, "cnn_autoencoder", {"bottleneck": 512}, 7)
        assert journal.trials["search-0001"].results == {1: {"l2_hole": 2.5}}
        assert len(list(read_events(tmp_path / "journal.jsonl"))) == before


def test_every_line_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.start("final-0", 0, "cnn_autoencoder", {}, 1)
        journal.end("final-0", "failed", "out of memory")
        events = list(read_events(tmp_path / "journal.jsonl"))
    assert [event["event"] for event in events] == ["start", "end"]
    assert (events[1]["state"], events[1]["reason"]) == ("failed", "out of memory")
    assert all(event["time"] > 0 for event in events)


@pytest.mark.parametrize("kept", [1, 20, -1], ids=["one byte", "half", "all but the newline"])
def test_a_last_line_that_a_crash_cut_off_is_left_out_and_written_over(kept: int, tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    line = json.dumps({"event": "result", "trial": "search-0001", "step": 2, "metrics": {"l2_hole": 1.0}}).encode() + b"\n"
    path.write_bytes(whole + line[:kept])
    with Journal(tmp_path) as journal:
        assert journal.trials["search-0001"].results == {1: {"l2_hole": 2.5}}
        journal.result("search-0001", 2, {"l2_hole": 0.5})
    assert path.read_bytes().startswith(whole)
    with Journal(tmp_path) as journal:
        assert journal.trials["search-0001"].results[2] == {"l2_hole": 0.5}


def test_a_cut_inside_a_letter_of_two_bytes_is_left_out_too(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + '{"event": "end", "reason": "Ä'.encode()[:-1])
    with Journal(tmp_path) as journal:
        assert len(journal.trials) == 2
    assert path.read_bytes() == whole


def test_values_that_are_not_finite_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.start("search-0000", 0, "cnn_autoencoder", {}, 0)
        journal.result("search-0000", 1, {"ssim_hole": float("nan"), "loss": float("inf")})
    with Journal(tmp_path) as journal:
        metrics = journal.trials["search-0000"].results[1]
        assert metrics["ssim_hole"] != metrics["ssim_hole"]
        assert metrics["loss"] == float("inf")


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with Journal(tmp_path / "mine"):
        with pytest.raises(SweepStateError, match="one process at a time may run a sweep, but another one is running 'mine'; wait for it"):
            Journal(tmp_path / "mine")
        Journal(tmp_path / "other").close()
    Journal(tmp_path / "mine").close()


def test_another_process_is_refused(tmp_path: Path, driver_environment: dict[str, str]) -> None:
    code = f"from pathlib import Path; from sweeper.journal import Journal; Journal(Path({str(tmp_path)!r}))"

    def in_another_process() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], env=driver_environment, capture_output=True, text=True, timeout=60, check=False)

    with Journal(tmp_path):
        refused = in_another_process()
    assert refused.returncode != 0
    assert "SweepStateError: one process at a time may run a sweep" in refused.stderr
    allowed = in_another_process()
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([3.0, 1.0, 2.0], "min", (2, 1.0)),
        ([3.0, 1.0, 2.0], "max", (1, 3.0)),
        ([2.0, 1.0, 1.0], "min", (2, 1.0)),
        ([1.0, 2.0, 2.0], "max", (2, 2.0)),
        ([2.0], "max", (1, 2.0)),
        ([], "min", None),
    ],
)
def test_the_best_step_is_the_first_of_equals(values: list[float], mode: str, best: tuple[int, float] | None) -> None:
    results = {step: {"l2_hole": value} for step, value in enumerate(values, 1)}
    assert record(results).best("l2_hole", mode) == best


def test_steps_without_the_metric_do_not_count() -> None:
    results: dict[int, dict[str, float]] = {1: {"loss": 1.0}, 2: {"loss": 0.5, "l2_hole": 4.0}}
    assert record(results).best("l2_hole", "min") == (2, 4.0)
    assert record(results).best("psnr_hole", "max") is None


def test_further_objectives_are_taken_at_the_best_step() -> None:
    results = {1: {"l2_hole": 2.0, "psnr_hole": 20.0}, 2: {"l2_hole": 1.0, "psnr_hole": 15.0}}
    assert record(results).best_values("l2_hole", "min", ("psnr_hole",)) == [1.0, 15.0]
    assert record({}).best_values("l2_hole", "min", ("psnr_hole",)) is None


def record(results: dict[int, Any]) -> TrialRecord:
    return TrialRecord("search-0000", 0, "cnn_autoencoder", {}, 0, results=results)


def test_running_is_the_one_state_that_is_no_end() -> None:
    assert "running" not in ENDED
    assert {"complete", "stopped", "diverged", "failed"} <= set(ENDED)
