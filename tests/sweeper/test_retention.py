"""Which checkpoints stay: on folders made by hand. What a real sweep leaves is in test_runner.py."""

import zipfile
from pathlib import Path

import pytest

from sweeper.checkpoints import FolderPlace, at, checkpoints_of, size_of
from sweeper.journal import State, TrialRecord
from sweeper.retention import GIB, Keeper
from sweeper.spec import Checkpoints

SIZE = 1000
ALL = ["1/0", "1/1", "1/2", "2/0", "2/1"]


def checkpoint(folder: Path, trial: str, number: int, *, attempt: int = 1, whole: bool = True) -> Path:
    """A checkpoint of about SIZE bytes."""
    path = folder / f"attempt-{attempt:03d}" / trial / f"checkpoint_{number:06d}"
    path.mkdir(parents=True)
    with zipfile.ZipFile(path / "checkpoint.pt", "w") as file:
        file.writestr("data", bytes(SIZE))
    if not whole:
        (path / "checkpoint.pt").write_bytes((path / "checkpoint.pt").read_bytes()[: SIZE // 2])
    return path


def record(trial: str, value: float | None, state: State = "complete") -> TrialRecord:
    results = {} if value is None else {1: {"l2_hole": value}}
    return TrialRecord(trial, int(trial.split("-")[1]), "cnn_autoencoder", {}, 0, state, results=results)


def keeper(folder: Path, *, keep: int = 2, checkpoints: float | None = None, best: int | None = None) -> Keeper:
    one = max(size_of(path) for path in folder.glob("*/*/checkpoint_*"))
    quota = None if checkpoints is None else (checkpoints + 0.5) * one / GIB
    return Keeper(FolderPlace(folder), Checkpoints(keep=keep, quota_gib=quota, best=best), "l2_hole", "min")


def left(folder: Path) -> list[str]:
    return sorted("/".join(path.parts[-3:]).replace("checkpoint_00000", "") for path in folder.glob("*/*/checkpoint_*"))


def test_checkpoints_are_found_over_all_attempts_the_newest_first(tmp_path: Path) -> None:
    made = [checkpoint(tmp_path, "search-0001", number, attempt=attempt) for attempt, number in ((1, 0), (1, 1), (2, 0))]
    checkpoint(tmp_path, "search-0010", 0)
    found = checkpoints_of(FolderPlace(tmp_path), "search-0001")
    assert [Path(checkpoint.address) for checkpoint in found] == [made[2], made[1], made[0]]


def test_a_truncated_checkpoint_is_not_whole(tmp_path: Path) -> None:
    assert at(str(checkpoint(tmp_path, "search-0000", 0))).is_whole()
    assert not at(str(checkpoint(tmp_path, "search-0000", 1, whole=False))).is_whole()
    assert not at(str(tmp_path / "nowhere")).is_whole()


@pytest.mark.parametrize(
    ("keep", "stay"), [(1, ["2/1"]), (2, ["2/0", "2/1"]), (3, ["1/2", "2/0", "2/1"]), (9, ["1/0", "1/1", "1/2", "2/0", "2/1"])]
)
def test_each_trial_keeps_its_newest_over_all_attempts(keep: int, stay: list[str], tmp_path: Path) -> None:
    for attempt, number in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1)):
        checkpoint(tmp_path, "search-0000", number, attempt=attempt)
    keeper(tmp_path, keep=keep).trim("search-0000", {"search-0000": record("search-0000", 1.0, "running")})
    assert left(tmp_path) == [f"attempt-00{place.split('/')[0]}/search-0000/{place.split('/')[1]}" for place in stay]


def test_a_checkpoint_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    for number in range(3):
        checkpoint(tmp_path, "search-0000", number, whole=number < 2)
    keeper(tmp_path, keep=1).trim("search-0000", {"search-0000": record("search-0000", 1.0, "running")})
    assert left(tmp_path) == ["attempt-001/search-0000/1", "attempt-001/search-0000/2"]


def test_over_the_quota_the_worst_go_first_and_of_each_the_oldest(tmp_path: Path) -> None:
    records = {
        entry.trial: entry
        for entry in (
            record("search-0000", 3.0),
            record("search-0001", 1.0),
            record("search-0002", None, "failed"),
            record("search-0003", 2.0, "running"),
            record("final-0", 0.5),
        )
    }
    for trial in records:
        for number in range(2):
            checkpoint(tmp_path, trial, number)
    order = [
        "search-0002/0",
        "search-0002/1",
        "search-0000/0",
        "search-0000/1",
        "final-0/0",
        "final-0/1",
        "search-0001/0",
        "search-0003/0",
    ]
    everything = {f"{trial}/{number}" for trial in records for number in range(2)}
    for removed in range(len(order) + 1):
        keeper(tmp_path, checkpoints=len(everything) - removed).trim("search-0003", records)
        assert {place.removeprefix("attempt-001/") for place in left(tmp_path)} == everything - set(order[:removed])
    keeper(tmp_path, checkpoints=0).trim("search-0003", records)
    assert left(tmp_path) == ["attempt-001/search-0001/1", "attempt-001/search-0003/1"]  # neither may go, whatever the quota


def test_the_bests_newest_whole_checkpoint_stays_where_a_newer_one_is_truncated(tmp_path: Path) -> None:
    checkpoint(tmp_path, "search-0000", 0)
    checkpoint(tmp_path, "search-0000", 1)
    checkpoint(tmp_path, "search-0000", 2, whole=False)
    keeper(tmp_path, keep=9, checkpoints=0).trim("search-0000", {"search-0000": record("search-0000", 1.0)})
    assert left(tmp_path) == ["attempt-001/search-0000/1", "attempt-001/search-0000/2"]


def test_when_a_sweep_is_over_the_best_and_the_finals_stay(tmp_path: Path) -> None:
    values = {"search-0000": 3.0, "search-0001": 1.0, "search-0002": 2.0, "search-0003": None, "final-0": 9.0}
    records = {trial: record(trial, value) for trial, value in values.items()}
    for trial in records:
        checkpoint(tmp_path, trial, 0)
    keeper(tmp_path).finish(records)
    assert len(left(tmp_path)) == 5
    keeper(tmp_path, best=2).finish(records)
    assert left(tmp_path) == ["attempt-001/final-0/0", "attempt-001/search-0001/0", "attempt-001/search-0002/0"]
