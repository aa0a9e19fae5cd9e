"""A sweep's folder that is full or gone, told before anything is written. Real full disks are in test_faults.py."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper import storage
from sweeper.errors import StorageError
from sweeper.journal import Journal, read_trials


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes every disk report so many free bytes."""
    return lambda size: monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=size))


def test_a_full_folder_is_told_with_what_is_free_and_what_to_do(free: Callable[[int], None], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    free(2**20)
    storage.require_room(tmp_path / "mine", 2**20 - 1)
    with pytest.raises(StorageError) as caught:
        storage.require_room(tmp_path / "mine", 2**20)
    assert f"{tmp_path / 'mine'} has 1.0 MiB free" in str(caught.value)
    assert str(caught.value).endswith("free space, then type 'sweep resume mine'")


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"but .*mine is gone; put it or its disk back, then type 'sweep resume mine'"):
        storage.require_room(tmp_path / "mine", 0)


def test_whatever_goes_wrong_on_a_full_disk_is_told_as_that(free: Callable[[int], None], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.guarded(tmp_path):
        raise ZeroDivisionError
    free(0)
    with pytest.raises(StorageError), storage.guarded(tmp_path):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("text", "shortage"),
    [
        ("OSError: [Errno 28] No space left on device", True),
        ("sweeper.errors.StorageError: a sweep's folder must have room", True),
        ("OSError: [Errno 122] Disk quota exceeded", True),
        ("RuntimeError: a bug in the model", False),
    ],
)
def test_a_full_disk_is_known_by_its_text(text: str, shortage: bool) -> None:
    assert storage.is_shortage(text) == shortage


def test_a_journal_takes_no_line_into_a_full_folder(free: Callable[[int], None], tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.start("search-0000", 0, "m", {}, 0)
        free(storage.RESERVE_BYTES)
        with pytest.raises(StorageError, match="must have room"):
            journal.end("search-0000", "complete")
        assert journal.trials["search-0000"].state == "running"
        journal.end_sweep("interrupted")  # the last of the room is for this
    assert read_trials(tmp_path)["search-0000"].state == "running"
    assert (tmp_path / "journal.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_journal_whose_folder_is_taken_away_says_so(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with Journal(folder) as journal:
        journal.start("search-0000", 0, "m", {}, 0)
        folder.rename(tmp_path / "elsewhere")
        if how == "replaced":
            folder.mkdir()
            (folder / "journal.jsonl").write_text("")
        with pytest.raises(StorageError, match=r"mine is gone"):
            journal.end("search-0000", "complete")
    assert list(read_trials(tmp_path / "elsewhere")) == ["search-0000"]
