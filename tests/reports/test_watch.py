import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import reports.watch
from reports.build import build
from reports.watch import state_of, watch
from sweeper.errors import TrackingError
from sweeper.home import Home
from tests.reports.conftest import Filler, small_store

ROOT = Path(__file__).resolve().parents[2]
ONE = ["--only", "beyond_cnns_1", "--format", "csv"]


@contextmanager
def watching(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    environment = {key: value for key, value in os.environ.items() if key not in ("SWEEP_HOME", "MLFLOW_TRACKING_URI")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "reports.build", "--home", str(home), "--watch", "--every", "0.1", *options]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are born deaf to Ctrl-C
    with subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_report_is_built_again_when_the_store_has_changed_until_ctrl_c(filler: Filler, home: Path) -> None:
    small_store(filler)
    place = (home / "report" / "tables").resolve()
    with watching(home, *ONE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"2 of 8 cells measured, 1 sweep: {place}\n"
        parent = Filler(home)
        parent.sweep("second")
        parent.done()
        line = process.stdout.readline()
        while line == f"2 of 8 cells measured, 1 sweep: {place}\n":  # the store may be seen before all of the sweep is in it
            line = process.stdout.readline()
        assert line == f"2 of 8 cells measured, 2 sweeps: {place}\n"
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=120)
    assert rest.splitlines()[-1] == "no longer watching; the report is the one built last"
    assert (process.returncode, told) == (0, "")
    assert sorted(path.name for path in home.iterdir() if path.name.startswith(".report")) == []


def test_the_first_failure_ends_it_and_a_later_one_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    looks = iter(["one", "one", "two", "two"])

    def next_look(_: Home) -> str:
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        return look

    outcomes = iter(["built first", TrackingError("the store is away"), "built again"])

    def rebuild() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(reports.watch, "state_of", next_look)
    watch(Home(home), 0.0, rebuild, said.append)
    assert said == ["built first", "not built: the store is away", "built again", "no longer watching; the report is the one built last"]

    def away() -> str:
        raise TrackingError("the store is away")

    looks = iter(["one"])
    with pytest.raises(TrackingError):
        watch(Home(home), 0.0, away, said.append)


def test_a_stores_state_changes_with_the_store_alone(filler: Filler, home: Path) -> None:
    before = state_of(Home(home))
    build(Home(home), only=["beyond_cnns_1"], formats=["csv"])
    assert state_of(Home(home)) == before
    small_store(filler)
    assert state_of(Home(home)) != before
