import os
import threading
from pathlib import Path

import pytest
import torch

from trainables.errors import DataError
from trainables.stage_cache import DRAFT_S, Stage, StageCache

CPU = torch.device("cpu")


def stage(value: float = 1.0, size: int = 4) -> Stage:
    return {"weights": torch.full((size,), value), "figures": {"loss": value}}


def never() -> Stage:
    raise AssertionError("the stage is there")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_trained_is_not_trained_again(tmp_path: Path) -> None:
    first, reused = StageCache(tmp_path / "stages").get("a", lambda: stage(3.0), CPU)
    assert first is not None
    assert (first["figures"], reused) == ({"loss": 3.0}, False)
    again, reused = StageCache(tmp_path / "stages").get("a", never, CPU)
    assert again is not None
    assert (again["weights"].tolist(), again["figures"], reused) == ([3.0] * 4, {"loss": 3.0}, True)
    assert names(tmp_path / "stages") == ["a.lock", "a.pt"]


def test_names_are_kept_apart(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    cache.get("a", lambda: stage(1.0), CPU)
    other, reused = cache.get("b", lambda: stage(2.0), CPU)
    assert other is not None
    assert (other["figures"]["loss"], reused) == (2.0, False)


def test_nothing_is_kept_of_a_stage_that_is_not_worth_it(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    assert cache.get("a", lambda: None, CPU) == (None, False)
    assert names(tmp_path) == []
    assert cache.get("a", stage, CPU)[1] is False
    assert cache.get("a", never, CPU)[1] is True


def test_an_error_in_training_leaves_nothing_but_a_free_lock(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with pytest.raises(OSError, match="no such camera"):  # not one of the folder's
        cache.get("a", lambda: (_ for _ in ()).throw(OSError("no such camera")), CPU)
    assert names(tmp_path) == ["a.lock"]
    assert cache.get("a", stage, CPU)[1] is False


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_damaged_stage_is_trained_again(content: bytes, tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    cache.get("a", stage, CPU)
    (tmp_path / "a.pt").write_bytes(content)
    assert cache.get("a", lambda: stage(2.0), CPU)[1] is False
    mended, reused = cache.get("a", never, CPU)
    assert mended is not None
    assert (mended["figures"]["loss"], reused) == (2.0, True)


def test_a_second_caller_waits_for_the_first(tmp_path: Path) -> None:
    """The first one's training begins the second one and is not ended by it."""
    trained, results, over = [], [], threading.Event()

    def second() -> None:
        results.append(StageCache(tmp_path).get("a", lambda: trained.append("second") or stage(2.0), CPU))
        over.set()

    thread = threading.Thread(target=second)

    def first() -> Stage:
        trained.append("first")
        thread.start()
        assert not over.wait(0.3)
        return stage(1.0)

    StageCache(tmp_path).get("a", first, CPU)
    thread.join()
    ((waited, reused),) = results
    assert (trained, reused, waited["figures"]["loss"]) == (["first"], True, 1.0)


def test_who_waited_for_a_training_that_was_not_kept_trains_itself(tmp_path: Path) -> None:
    trained, over = [], threading.Event()

    def second() -> None:
        StageCache(tmp_path).get("a", lambda: trained.append("second") or stage(), CPU)
        over.set()

    thread = threading.Thread(target=second)

    def first() -> None:
        thread.start()
        assert not over.wait(0.3)

    StageCache(tmp_path).get("a", first, CPU)
    thread.join()
    assert trained == ["second"]
    assert StageCache(tmp_path).get("a", never, CPU)[1] is True


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """Three stages of 40 kB fit into 130 kB; the one that was just read stays."""
    cache = StageCache(tmp_path, kept_gib=130e3 / 2**30)
    for age, name in ((300, "a"), (200, "b"), (100, "c")):
        cache.get(name, lambda: stage(size=10_000), CPU)
        moment = (tmp_path / f"{name}.pt").stat().st_mtime - age
        os.utime(tmp_path / f"{name}.pt", (moment, moment))
    cache.get("a", never, CPU)
    cache.get("d", lambda: stage(size=10_000), CPU)
    assert names(tmp_path) == ["a.lock", "a.pt", "c.lock", "c.pt", "d.lock", "d.pt"]


def test_a_stage_larger_than_the_limit_is_kept_until_the_next(tmp_path: Path) -> None:
    cache = StageCache(tmp_path, kept_gib=1e-6)
    for name in ("a", "b"):
        cache.get(name, lambda: stage(size=10_000), CPU)
        assert cache.get(name, never, CPU)[1] is True
        assert names(tmp_path) == [f"{name}.lock", f"{name}.pt"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name, age in ((".draft-old", 2 * DRAFT_S), (".draft-new", 0.0)):
        (tmp_path / name).write_bytes(b"half")
        moment = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (moment, moment))
    StageCache(tmp_path).get("a", stage, CPU)
    assert names(tmp_path) == [".draft-new", "a.lock", "a.pt"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file")
    with pytest.raises(DataError, match=r"the folder of trained stages must be writable, but .* with --data-dir"):
        StageCache(tmp_path / "stages").get("a", stage, CPU)
