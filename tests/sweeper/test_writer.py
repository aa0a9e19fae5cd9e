"""The writer: everything is sent in order and in few calls, what the store refuses is sent again, and nobody waits."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from sweeper import writer as writer_module
from sweeper.errors import TrackingError
from sweeper.tracking import Point, Store
from sweeper.writer import Writer


class Shelf:
    """Stands for a store: notes the calls, refuses the first `refusals` of them, and those of the runs `bad`."""

    def __init__(self, refusals: float = 0, bad: Sequence[str] = ()) -> None:
        self.refusals = refusals
        self.bad = bad
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, name: str, role: str, trial: str, *arguments: Any) -> str:
        self._note("begin", trial)
        return f"id of {trial}"

    def log(self, run_id: str, points: Sequence[Point], tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
        self._note("log", run_id, [point[:3] for point in points], dict(tags))

    def log_file(self, run_id: str, path: Path, folder: str | None) -> None:
        self._note("file", run_id, path.read_text(), folder)

    def log_text(self, run_id: str, name: str, text: str) -> None:
        self._note("text", run_id, name, text)

    def end(self, run_id: str, state: str, ended_s: float | None) -> None:
        self._note("end", run_id, state)

    def _note(self, *call: Any) -> None:
        if self.refusals > 0 or call[1] in self.bad:
            self.refusals -= 1
            raise TrackingError("the server is away\nand some detail")
        self.calls.append(call)

    @property
    def points(self) -> list[tuple[str, str, float, int]]:
        return [(call[1], *point) for call in self.calls if call[0] == "log" for point in call[2]]


def writer_to(shelf: Shelf) -> Writer:
    return Writer(cast(Store, shelf))


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.005)


@contextmanager
def held(shelf: Shelf) -> Iterator[None]:
    """The store answers nothing for the length of a `with`."""
    gate, note = threading.Event(), shelf._note

    def waiting(*call: Any) -> None:
        gate.wait(60)
        note(*call)

    shelf._note = waiting  # type: ignore[method-assign]
    yield
    gate.set()


def test_everything_of_a_run_is_sent_in_few_calls_and_its_end_last() -> None:
    shelf = Shelf()
    writer = writer_to(shelf)
    with held(shelf):
        writer.begin("a", "mine", "search", "parent", {}, {})
        for step in range(1, 501):
            writer.metrics("a", step, {"l2_hole": 1 / step, "loss": float(step)})
        writer.file("a", "layers.json", "{}")
        writer.end("a", "complete", "why")
    assert writer.close() is None
    expected = [entry for step in range(1, 501) for entry in (("l2_hole", 1 / step, step), ("loss", float(step), step))]
    assert [point[1:] for point in shelf.points] == expected
    assert {point[0] for point in shelf.points} == {"id of a"}
    assert shelf.calls[0] == ("begin", "a")
    assert shelf.calls[-1] == ("end", "id of a", "complete")
    assert ("text", "id of a", "layers.json", "{}") in shelf.calls
    assert [call[3] for call in shelf.calls if call[0] == "log" and call[3]] == [{"sweep.state": "complete", "sweep.reason": "why"}]
    assert len(shelf.calls) <= 6
    assert writer.sent == 1000


def test_nobody_waits_for_a_store_that_does_not_answer() -> None:
    shelf = Shelf()
    writer = writer_to(shelf)
    with held(shelf):
        writer.begin("a", "mine", "search", "parent", {}, {})
        writer.metrics("a", 1, {"l2_hole": 3.0})
        writer.end("a", "complete")
        assert shelf.calls == []
    assert writer.close() is None
    assert len(shelf.calls) == 3


def test_a_new_run_is_looked_for_once_a_call_that_was_to_make_it_has_failed() -> None:
    looked_for: list[tuple[str, bool]] = []
    configured: dict[str, Any] = {}

    class Noting(Shelf):
        def begin(self, name: str, role: str, trial: str, *arguments: Any) -> str:
            looked_for.append((trial, not arguments[-1]))
            return super().begin(name, role, trial, *arguments)

        def log(self, run_id: str, points: Sequence[Point], tags: Mapping[str, str], params: Mapping[str, Any]) -> None:
            super().log(run_id, points, tags, params)
            configured[run_id] = dict(params)

    writer = writer_to(Noting(refusals=1))
    writer.begin("a", "mine", "search", "parent", {}, {"rate": 0.5}, new=True)
    writer.begin("b", "mine", "search", "parent", {}, {"rate": 0.5})
    assert writer.close() is None
    assert [look for run, look in looked_for if run == "a"] == [False, True]
    assert {look for run, look in looked_for if run == "b"} == {True}
    assert configured == {"id of a": {"rate": 0.5}}  # of a run that is looked for, `begin` takes care of it


def test_what_the_store_refuses_is_sent_later_in_its_order() -> None:
    shelf = Shelf(refusals=7)
    writer = writer_to(shelf)
    for run in ("a", "b", "c"):
        writer.begin(run, "mine", "search", "parent", {}, {})
        for step in (1, 2):
            writer.metrics(run, step, {"l2_hole": float(step)})
        writer.end(run, "complete")
    assert writer.close() is None
    for run in ("a", "b", "c"):
        assert [point for point in shelf.points if point[0] == f"id of {run}"] == [
            (f"id of {run}", "l2_hole", 1.0, 1),
            (f"id of {run}", "l2_hole", 2.0, 2),
        ]
        assert shelf.calls.count(("begin", run)) == 1
        assert [call[0] for call in shelf.calls if run in call[1]][-1] == "end"


def test_what_stays_unsent_is_counted() -> None:
    writer = writer_to(Shelf(refusals=float("inf")))
    for run in ("a", "b", "c"):
        writer.metrics(run, 1, {"l2_hole": 3.0, "loss": 1.0})
    unsent = writer.close()
    assert unsent is not None
    assert (unsent.values, unsent.runs, unsent.reason) == (6, 3, "the server is away")


def test_a_store_that_answers_no_call_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PATIENCE_S", 0.05)
    shelf = Shelf()
    with held(shelf):
        writer = writer_to(shelf)
        writer.metrics("a", 1, {"l2_hole": 3.0})
        unsent = writer.close()
    assert unsent is not None
    assert (unsent.values, unsent.runs) == (1, 1)


@pytest.mark.parametrize("bad", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_a_store_that_refuses_some_runs_still_gets_the_others(bad: tuple[str, ...]) -> None:
    shelf = Shelf(bad=bad)
    writer = writer_to(shelf)
    for run in ("a", "b", "c", "d", "good"):
        writer.metrics(run, 1, {"l2_hole": 4.0})
    unsent = writer.close()
    assert unsent is not None
    assert unsent.runs == len(bad)
    assert {point[0] for point in shelf.points} == {"a", "b", "c", "d", "good"} - set(bad)


def test_an_error_that_nobody_expected_is_told_too() -> None:
    class Broken(Shelf):
        def _note(self, *call: Any) -> None:
            raise TypeError("a bug in the client")

    writer = writer_to(Broken())
    writer.metrics("a", 1, {"l2_hole": 3.0})
    unsent = writer.close()
    assert unsent is not None
    assert unsent.reason == "a bug in the client"


def test_a_file_is_read_when_it_is_sent_and_one_that_is_gone_is_told(tmp_path: Path) -> None:
    shelf = Shelf()
    writer = writer_to(shelf)
    (tmp_path / "there.txt").write_text("kept")
    writer.artifact("a", tmp_path / "gone.txt", "best")
    writer.artifact("a", tmp_path / "there.txt", "best")
    writer.end("a", "finished")
    assert writer.close() is None
    assert ("file", "a", "kept", "best") in shelf.calls
    assert shelf.calls[-1] == ("end", "a", "finished")
    assert writer.gone == [tmp_path / "gone.txt"]


def test_a_run_that_the_store_has_is_known_by_its_trial() -> None:
    shelf = Shelf()
    writer = writer_to(shelf)
    writer.adopt("a", "4711")
    writer.metrics("a", 1, {"l2_hole": 3.0})
    assert writer.close() is None
    assert shelf.points == [("4711", "l2_hole", 3.0, 1)]
