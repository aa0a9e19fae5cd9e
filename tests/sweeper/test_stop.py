"""Stopping a sweep from elsewhere, and removing one: what is asked, who heeds it, what is left."""

import json
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweeper import runner, stop
from sweeper.home import Home
from sweeper.interrupt import Interrupt
from sweeper.journal import Journal, driver_of, read_events, read_trials
from sweeper.pulse import Pulse
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from sweeper.stop import STOP_TAG, Wishes, ask_here
from sweeper.tracking import Store
from tests.sweeper.conftest import Said, SilentProgress

Sweep = Callable[..., Said]


def test_a_wish_from_another_thread_is_ctrl_c() -> None:
    interrupt = Interrupt()

    def wait_to_be_asked() -> None:
        with interrupt:
            threading.Thread(target=interrupt.ask).start()
            threading.Event().wait(30)  # the signal wakes it

    with pytest.raises(KeyboardInterrupt):
        wait_to_be_asked()
    interrupt.ask()  # after the end nobody is interrupted


def test_a_pulse_beats_until_its_end() -> None:
    beats: list[int] = []
    enough = threading.Event()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()

    with Pulse(beat, 0.001, "test"):
        assert enough.wait(30)
    counted = len(beats)
    assert threading.active_count() == len([thread for thread in threading.enumerate() if thread.name != "test"])
    assert len(beats) == counted


@pytest.mark.parametrize(("to", "heeded"), [("this", True), ("another", False)])
def test_only_the_driver_that_is_named_heeds_a_wish(to: str, heeded: bool, tmp_path: Path) -> None:
    for by_tag in (False, True):
        interrupt = Interrupt()
        wishes = Wishes(interrupt, tmp_path, "this")
        if by_tag:
            wishes.heed({STOP_TAG: to})
        else:
            ask_here(tmp_path, to)
            wishes.look_here()
        assert interrupt.asked is heeded


def test_a_wish_for_an_earlier_driver_is_removed(tmp_path: Path) -> None:
    ask_here(tmp_path, "earlier")
    Wishes(Interrupt(), tmp_path, "later")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_names_the_driver_that_runs(tmp_path: Path) -> None:
    assert driver_of(tmp_path) is None
    with Journal(tmp_path) as journal:
        assert driver_of(tmp_path) == journal.driver
    assert driver_of(tmp_path) is None
    with Journal(tmp_path) as again:
        assert driver_of(tmp_path) == again.driver != journal.driver


class StopsItself(SilentProgress):
    """Asks the sweep to stop at its first value, as another terminal or machine would."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask

    def advanced(self, trial: str, step: int, value: float) -> None:
        super().advanced(trial, step, value)
        if sum(event[0] == "advanced" for event in self.events) == 1:
            self._ask()


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("local_ray")
def test_a_running_sweep_stops_when_asked_and_its_resume_does_not(
    rooms: Rooms, home: Home, store: Store, sweep: Sweep, tiny_spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its own folder, then from a machine that has the store alone, then by SIGTERM, then to its end."""
    monkeypatch.setattr(stop, "TAG_EVERY_S", 0.05)
    monkeypatch.setattr(stop, "FILE_EVERY_S", 0.05)
    spec = tiny_spec("asked", budget={"trials": 1, "epochs": 50})
    folder = home.folder("asked")

    def ask_by_file() -> None:
        ask_here(folder, driver_of(folder) or "")

    def ask_by_tag() -> None:
        row = store.sweep("asked")
        assert row is not None
        stop.ask_there(store, row.run_id, row.tags[stop.DRIVER_TAG])

    for ask in (ask_by_file, ask_by_tag, lambda: signal.raise_signal(signal.SIGTERM)):
        with pytest.raises(KeyboardInterrupt):
            runner.run(spec, rooms, home, StopsItself(ask), spec_name="asked")
        row = store.sweep("asked")
        assert row is not None
        assert row.tags["sweep.state"] == "interrupted"
        assert store.client.get_run(row.run_id).info.status == "KILLED"
        assert set(store.trials("asked")["status"]) == {"KILLED"}
        assert not (folder / stop.FILE).exists()
        assert [event["state"] for event in read_events(folder / "journal.jsonl") if event["event"] == "over"][-1] == "interrupted"
        assert read_trials(folder)["search-0000"].state == "running"
        status = json.loads(sweep("status", "asked", "--json", "--home", str(home.root)).out)
        assert status["state"] == "interrupted"
    spec = spec.model_copy(update={"budget": spec.budget.model_copy(update={"epochs": 1})})  # of which it has had more
    outcome = runner.run(spec, rooms, home, SilentProgress(), spec_name="asked")
    assert [record.state for record in outcome.records] == ["complete"]


def test_a_sweep_that_does_not_run_cannot_be_stopped(sweep: Sweep, home: Home, store: Store, tmp_path: Path) -> None:
    home.folder("still").mkdir(parents=True)
    Journal(home.folder("still")).close()
    said = sweep("stop", "still", "--home", str(home.root))
    assert (said.code, said.out) == (2, "")
    assert "no driver is running 'still'" in " ".join(said.err.split())
    store.client.set_tag(store.begin("over", "sweep", None, None, {"sweep.driver": "x"}, {}), "sweep.state", "finished")
    said = sweep("stop", "over", "--home", str(tmp_path), "--store", home.store_uri)
    assert said.code == 2
    assert "'over' is finished" in " ".join(said.err.split())


def test_asking_without_waiting_says_so(sweep: Sweep, home: Home) -> None:
    with Journal(home.folder("deaf")) as journal:
        said = sweep("stop", "deaf", "--wait", "0", "--json", "--home", str(home.root))
        assert json.loads(said.out) == {"name": "deaf", "asked": True, "ended": False}
        assert (home.folder("deaf") / stop.FILE).read_text() == journal.driver


# --- removing ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def removable(home: Home, store: Store, tiny_spec: Callable[..., Spec]) -> str:
    """A sweep with a folder, two runs and an artifact."""
    name = f"rm-{uuid.uuid4().hex[:8]}"
    folder = home.folder(name)
    folder.mkdir(parents=True)
    tiny_spec(name).write(folder / "spec.yaml")
    parent = store.begin(name, "sweep", None, None, {"sweep.objective": "l2_hole", "sweep.mode": "min"}, {})
    store.begin(name, "search", "search-0000", parent, {}, {})
    store.log_file(parent, folder / "spec.yaml")
    store.tag(parent, "sweep.state", "finished")
    return name


def test_a_removed_sweep_leaves_nothing_but_the_others(removable: str, sweep: Sweep, home: Home, store: Store) -> None:
    row = store.sweep(removable)
    assert row is not None
    artifacts = home.root / "mlartifacts" / row.run_id / "artifacts" / "spec.yaml"
    assert artifacts.exists()
    others = [each.name for each in store.sweeps() if each.name != removable]
    said = sweep("rm", removable, "--yes", "--home", str(home.root))
    assert said.code == 0, said
    assert f"folder {home.folder(removable).resolve()} (0.0 MiB); 2 MLflow runs and their artifacts" in said.out
    assert not home.folder(removable).exists()
    assert not artifacts.exists()
    assert [each.name for each in store.sweeps()] == others
    assert store.trials(removable).empty
    assert sweep("rm", removable, "--yes", "--home", str(home.root)).code == 2


def test_nothing_is_removed_without_a_yes(removable: str, sweep: Sweep, home: Home, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.confirm", lambda *arguments, **options: False)
    said = sweep("rm", removable, "--home", str(home.root))
    assert said.code == 1
    assert "nothing was removed" in said.err
    assert home.folder(removable).exists()
    assert store.sweep(removable) is not None


def test_a_running_sweep_is_not_removed(removable: str, sweep: Sweep, home: Home, store: Store, tmp_path: Path) -> None:
    with Journal(home.folder(removable)):
        said = sweep("rm", removable, "--yes", "--home", str(home.root))
        assert said.code == 2
        assert f"a driver here is running '{removable}'" in " ".join(said.err.split())
    row = store.sweep(removable)
    assert row is not None
    store.tag(row.run_id, "sweep.state", "running")
    said = sweep("rm", removable, "--yes", "--home", str(tmp_path), "--store", home.store_uri)
    assert said.code == 2
    assert "runs elsewhere by the store" in " ".join(said.err.split())
    assert home.folder(removable).exists()


def test_a_study_elsewhere_is_removed_too(removable: str, sweep: Sweep, home: Home, tmp_path: Path) -> None:
    import optuna

    address = f"sqlite:///{tmp_path}/studies.db"
    for name in (removable, "kept"):
        optuna.create_study(storage=address, study_name=name)
    file = home.folder(removable) / "spec.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"study": address}))
    said = sweep("rm", removable, "--yes", "--json", "--home", str(home.root))
    assert json.loads(said.out)["removed"]["study_elsewhere"] is True
    assert [each.study_name for each in optuna.get_all_study_summaries(address)] == ["kept"]


def test_artifacts_at_a_place_that_mlflow_did_not_choose_stay(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("mine")
    experiment = store.client.create_experiment("elsewhere", artifact_location=tmp_path.as_uri())
    monkeypatch.setattr(store, "experiment", experiment)
    run_id = store.begin("placed", "sweep", None, None, {}, {})
    monkeypatch.setattr(type(store.client.get_run(run_id).info), "artifact_uri", tmp_path.as_uri())
    notes: list[str] = []
    store.delete("placed", notes.append)
    assert (tmp_path / "precious").read_text() == "mine"
    assert len(notes) == 1
    assert "they stay" in notes[0]
