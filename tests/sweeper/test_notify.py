"""Who is told of what, with a real web server and a real command; and that nothing of it ends a sweep."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper import notify
from sweeper.notify import Notifier
from sweeper.spec import Notify
from tests.sweeper.conftest import SECRET, SilentProgress


class Listener:
    """A web server on this machine that keeps the JSON bodies that it gets; answers with `answers` first, then 200."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.answers: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = outer.answers.pop(0) if outer.answers else 200
                if code == 200:
                    outer.bodies.append(json.loads(body))
                self.send_response(code)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook?token={SECRET}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def told(progress: SilentProgress, spec: Notify, happens: Callable[[Notifier], None], **options: Any) -> list[str]:
    """The notes on the screen after something has happened to a sweep."""
    with Notifier(progress, spec, "mine", "l2_hole", "min", **options) as notifier:
        happens(notifier)
    return [event[1] for event in progress.events if event[0] == "note"]


def a_whole_sweep(notifier: Notifier) -> None:
    notifier.stage("search", 4, 0)
    for trial, value in (("search-0000", 3.0), ("search-0001", 4.0), ("search-0002", 2.0)):
        notifier.started(trial)
        notifier.advanced(trial, 1, value)
        notifier.ended(trial, "complete", "", value)
    notifier.ended("search-0003", "failed", "no memory", None)
    notifier.ended("search-0004", "failed", "no memory", None)
    notifier.ended("final-0", "complete", "", 1.0)
    notifier.over(("search-0002", 2.0))


def test_a_webhook_hears_of_the_new_best_the_first_failure_and_the_end(listener: Listener) -> None:
    progress = SilentProgress()
    assert told(progress, Notify(webhook=listener.address, on=["end", "failure", "best"]), a_whole_sweep) == []
    events = [(body["event"], body["trial"], body["value"]) for body in listener.bodies]
    assert events == [("best", "search-0002", 2.0), ("failure", "search-0003", None), ("end", "search-0002", 2.0)]
    assert listener.bodies[2]["message"] == "mine is over; best: search-0002 with l2_hole 2"
    assert ("advanced", "search-0001", 1, 4.0) in progress.events  # the screen hears of everything


def test_only_what_is_wanted_is_told(listener: Listener) -> None:
    told(SilentProgress(), Notify(webhook=listener.address, on=["end"]), a_whole_sweep)
    assert [body["event"] for body in listener.bodies] == ["end"]


def test_a_resumed_sweep_knows_its_best(listener: Listener) -> None:
    told(SilentProgress(), Notify(webhook=listener.address, on=["best"]), a_whole_sweep, best=2.5)
    assert [(body["event"], body["value"]) for body in listener.bodies] == [("best", 2.0)]


def test_a_webhook_that_is_busy_is_asked_again(listener: Listener) -> None:
    listener.answers = [503, 502]
    assert told(SilentProgress(), Notify(webhook=listener.address), a_whole_sweep) == []
    assert [body["event"] for body in listener.bodies] == ["failure", "end"]


def test_a_webhook_that_refuses_is_a_note_without_its_address(listener: Listener) -> None:
    listener.answers = [403]
    assert told(SilentProgress(), Notify(webhook=listener.address, on=["end"]), a_whole_sweep) == [
        "the webhook was not told of end: HTTPError (403)"
    ]


def test_an_interrupted_and_a_broken_sweep_are_told(listener: Listener) -> None:
    def interrupted(notifier: Notifier) -> None:
        raise KeyboardInterrupt

    def broken(notifier: Notifier) -> None:
        raise RuntimeError("the disk is full")

    spec = Notify(webhook=listener.address)
    with pytest.raises(KeyboardInterrupt):
        told(SilentProgress(), spec, interrupted)
    with pytest.raises(RuntimeError):
        told(SilentProgress(), spec, broken)
    told(SilentProgress(), spec, lambda notifier: notifier.over(None))
    assert [(body["event"], body["message"]) for body in listener.bodies] == [
        ("end", "mine was interrupted; go on with: sweep resume mine"),
        ("failure", "mine ended by an error: the disk is full"),
        ("failure", "mine is over and no trial of it has a value"),
    ]


def test_a_command_gets_its_message_in_the_environment_and_no_shell(tmp_path: Path) -> None:
    script, heard = tmp_path / "hear.sh", tmp_path / "heard.txt"
    script.write_text('echo "$SWEEP_EVENT|$SWEEP_NAME|$SWEEP_TRIAL|$SWEEP_VALUE|$*" >> "$0.txt"\n')
    spec = Notify(command=f"sh {script} '$HOME; rm x' two", on=["end", "best"])
    assert told(SilentProgress(), spec, a_whole_sweep) == []
    heard = tmp_path / "hear.sh.txt"
    assert heard.read_text().splitlines() == [
        "best|mine|search-0002|2.0|$HOME; rm x two",
        "end|mine|search-0002|2.0|$HOME; rm x two",
    ]


@pytest.mark.parametrize(
    ("command", "note"),
    [
        ("/nowhere/command", "the notify command was not run for end: FileNotFoundError"),
        ("sh 'unclosed", "the notify command was not run for end: ValueError"),
        ("false", "the notify command for end ended with code 1"),
        ("sleep 60", "the notify command for end took over 0.2 s and was ended"),
    ],
)
def test_a_command_that_fails_is_a_note(command: str, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.2)
    assert told(SilentProgress(), Notify(command=command, on=["end"]), a_whole_sweep) == [note]
