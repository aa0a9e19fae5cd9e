"""Real sweeps in one real Ray: what is recorded, what goes wrong, and that it can be done again with the same result."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from mlflow import MlflowClient
from PIL import Image

from sweeper.checkpoints import FolderPlace, size_of
from sweeper.driver import session_request
from sweeper.errors import StorageError, SweepStateError, TrackingError
from sweeper.home import Home
from sweeper.journal import Journal, TrialRecord
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from sweeper.sync import sync
from sweeper.tracking import Store
from sweeper.validation import validate
from tests.sweeper.conftest import Done, SilentProgress
from tests.sweeper.user_models import FatefulConfig
from trainables.data import ImageSource, open_images

TinySpec = Callable[..., Spec]
TRIALS, EPOCHS, SEEDS = 6, 3, 2
SEED = 6
FIRST = [2e-3, 3e-3, 5e-3, 1.5e-5, 1.2e-5]  # after the paper's 1e-3; the last two are of no use in three epochs
RATES = {"low": 1e-5, "high": 1e-2}


@pytest.fixture(scope="module")
def searched(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> Done:
    """A search with TPE and ASHA over one knob, the best trained again under two seeds."""
    return run_spec(
        tiny_spec(
            "searched",
            model="user_models:Fateful",
            knobs={"fate": "well", "learning_rate": RATES | {"log": True}, "dropout": 0.1},
            search={"algorithm": "tpe", "seed": SEED},
            warm_start={"configurations": [{"learning_rate": rate} for rate in FIRST]},
            scheduler={"kind": "asha", "grace_steps": 1, "reduction": 2},
            budget={"trials": TRIALS, "epochs": EPOCHS},
            seeds=SEEDS,
            pictures=2,
        )
    )


def test_every_trial_ends_and_the_best_is_the_least(searched: Done) -> None:
    outcome = searched.outcome
    search = [record for record in outcome.records if record.kind == "search"]
    assert sorted(record.trial for record in search) == [f"search-{number:04d}" for number in range(TRIALS)]
    for record in search:
        assert record.state in ("complete", "stopped")
        assert list(record.results) == list(range(1, len(record.results) + 1))
        assert (len(record.results) == EPOCHS) == (record.state == "complete")
        assert 1e-5 <= record.knobs["learning_rate"] <= 1e-2
    least = min(metrics["l2_hole"] for record in search for metrics in record.results.values())
    assert outcome.best is not None
    assert min(metrics["l2_hole"] for metrics in outcome.best.results.values()) == least
    assert outcome.facts.counts == {"train": 96, "validation": 32, "test": 32}


def test_what_is_far_behind_is_stopped_at_the_first_rung(searched: Done) -> None:
    for trial in ("search-0004", "search-0005"):
        record = searched.record(trial)
        assert record.knobs["learning_rate"] < 3e-5
        assert (record.state, record.reason, list(record.results)) == ("stopped", "the scheduler stopped it", [1])


def test_the_journal_tells_every_event_once(searched: Done) -> None:
    events = [(event["event"], event.get("trial"), event.get("step")) for event in searched.journal if event["event"] != "clock"]
    assert len(events) == len(set(events))
    assert sum(event == "start" for event, _, _ in events) == TRIALS + SEEDS
    assert sum(event == "end" for event, _, _ in events) == TRIALS + SEEDS


def test_the_screen_hears_of_every_stage_and_trial(searched: Done) -> None:
    stages = [event[1:] for event in searched.events if event[0] == "stage"]
    assert stages == [("search", TRIALS, 0), ("final", SEEDS, 0)]
    assert len([event for event in searched.events if event[0] == "started"]) == TRIALS + SEEDS
    ended = {event[1]: event[2] for event in searched.events if event[0] == "ended"}
    assert ended == {record.trial: record.state for record in searched.outcome.records}
    advanced = [event[1:] for event in searched.events if event[0] == "advanced"]
    assert sorted(advanced) == sorted(
        (record.trial, step, metrics["l2_hole"]) for record in searched.outcome.records for step, metrics in record.results.items()
    )


def test_each_trial_has_one_run_under_the_sweeps(searched: Done) -> None:
    children = searched.children
    assert set(children) == {record.trial for record in searched.outcome.records}
    for record in searched.outcome.records:
        child = children[record.trial]
        tags = child.data.tags
        assert child.info.status == "FINISHED"
        assert (tags["sweep.state"], tags["sweep.role"], tags["sweep.name"]) == (record.state, record.kind, "searched")
        assert tags["sweep.seed"] == str(record.seed)
        assert child.data.params == {name: str(value) for name, value in record.knobs.items()}
    assert [row.name for row in searched.store.sweeps()].count("searched") == 1


def test_every_metric_of_every_step_is_in_the_store(searched: Done) -> None:
    for record in searched.outcome.records:
        run_id = searched.children[record.trial].info.run_id
        for name in record.results[1]:
            expected = [(step, metrics[name]) for step, metrics in sorted(record.results.items())]
            assert searched.store.history(run_id, name) == expected
        best = record.best("l2_hole", "min")
        assert best is not None
        data = searched.children[record.trial].data.metrics
        assert (data["best_step"], data["best_l2_hole"]) == best
        assert data["best_psnr_hole"] == record.results[best[0]]["psnr_hole"]
        assert "pid" in data


def test_the_sweeps_run_says_what_its_numbers_were_made_with(searched: Done) -> None:
    parent, outcome = searched.parent, searched.outcome
    tags, metrics = parent.data.tags, parent.data.metrics
    assert parent.info.status == "FINISHED"
    assert outcome.best is not None
    expected = {
        "sweep.name": "searched",
        "sweep.role": "sweep",
        "sweep.state": "finished",
        "sweep.spec": "from_a_test",
        "sweep.model": "user_models:Fateful",
        "sweep.data": "photos",
        "sweep.data_fingerprint": outcome.facts.fingerprint,
        "sweep.image_px": "32",
        "sweep.mask": "centre 8 px",
        "sweep.objective": "l2_hole",
        "sweep.mode": "min",
        "sweep.epochs": "3",
        "sweep.best": outcome.best.trial,
    }
    assert {key: tags[key] for key in expected} == expected
    assert json.loads(tags["sweep.data_counts"]) == {"train": 96, "validation": 32, "test": 32}
    assert len(tags["git.commit"]) == 40 or tags["git.commit"] == "none"
    assert tags["git.dirty"] in ("true", "false")
    assert "2 CPUs, 0 GPUs" in tags["hardware.cluster"]
    assert "CPUs" in tags["hardware.driver"]
    assert all(tags[f"version.{name}"][:1].isdigit() for name in ("python", "torch", "ray", "optuna", "mlflow", "numpy"))
    best = outcome.best.best("l2_hole", "min")
    assert best is not None
    assert metrics["best_value"] == best[1]
    for split in ("validation", "test"):
        assert metrics[f"ring_mean_{split}_l2_hole"] == pytest.approx(outcome.facts.baseline[split]["l2_hole"])


def test_the_spec_the_best_checkpoint_and_the_pictures_are_kept(searched: Done, rooms: Rooms, tmp_path: Path) -> None:
    client, run_id, best = MlflowClient(searched.store.uri), searched.outcome.run_id, searched.outcome.best
    assert best is not None
    kept = {file.path for folder in (None, "best", "pictures") for file in client.list_artifacts(run_id, folder) if not file.is_dir}
    assert kept == {"spec.yaml", "layers.json", "best/checkpoint.pt", "pictures/best.png"}
    fields = yaml.safe_load(searched.store.fetch(run_id, "spec.yaml").read_text())
    assert validate(fields, rooms) == searched.spec
    checkpoint = searched.store.fetch(run_id, "best/checkpoint.pt")
    session = rooms.open_session(session_request(searched.spec, best.model, best.knobs, best.seed))
    session.load(checkpoint.parent)
    session.restore_best()
    assert session.evaluate("validation")["l2_hole"] == pytest.approx(searched.parent.data.metrics["best_value"], rel=1e-4)
    for picture in searched.outcome.pictures:
        child = searched.children[picture.stem].info.run_id
        assert [file.path for file in client.list_artifacts(child, "pictures")] == [f"pictures/{picture.name}"]


def test_every_run_carries_its_layer_table_and_the_sweeps_that_of_the_best(searched: Done) -> None:
    best = searched.outcome.best
    assert best is not None
    tables = {
        trial: json.loads(searched.store.fetch(run.info.run_id, "layers.json").read_text()) for trial, run in searched.children.items()
    }
    assert set(tables) == {f"search-{number:04d}" for number in range(TRIALS)} | {f"final-{index}" for index in range(SEEDS)}
    assert json.loads(searched.store.fetch(searched.outcome.run_id, "layers.json").read_text()) == tables[best.trial]
    for table in tables.values():
        assert [row["output"] for row in table][:2] == [[32, 32, 16], [16, 16, 16]]
        assert table[0] == {
            "network": "network",
            "name": "encoder.0",
            "kind": "Conv2d",
            "follows": ["BatchNorm2d", "ReLU", "Dropout"],
            "filter": "3x3",
            "stride": 1,
            "padding": "same",
            "output": [32, 32, 16],
            "parameters": 9 * 3 * 16 + 2 * 16,
        }


def test_the_picture_leaves_every_known_pixel_as_it_is(searched: Done) -> None:
    """Rows of 4 x 32 px tiles behind a header of 18 + 6 px, 6 px apart, a line of 18 px below each; columns 6 px apart."""
    assert len(searched.outcome.pictures) == 2
    folder = searched.folder / "pictures"
    assert searched.outcome.best is not None
    assert searched.outcome.pictures[0] == folder / f"{searched.outcome.best.trial}.png"
    assert (folder / "best.png").read_bytes() == searched.outcome.pictures[0].read_bytes()
    picture = np.asarray(Image.open(folder / "best.png").convert("RGB"))
    truths = open_images(ImageSource(**searched.spec.data.model_dump())).validation[:8]
    hole = np.zeros((32, 32), bool)
    hole[12:20, 12:20] = True

    def tile(row: int, column: int) -> np.ndarray:
        top, left = 24 + row * (128 + 18 + 6), 6 + column * (128 + 6)
        return picture[top : top + 128 : 4, left : left + 128 : 4]

    for row, truth in enumerate(truths):
        for column in range(4):  # input, ring mean, model, truth
            assert np.array_equal(tile(row, column)[~hole], truth[~hole]), (row, column)
        assert np.array_equal(tile(row, 3), truth)
        assert (tile(row, 0)[hole] == 128).all()
    filled = [not np.array_equal(tile(row, 2)[hole], truth[hole]) for row, truth in enumerate(truths)]
    assert all(filled)


def test_the_study_holds_the_same_trials(searched: Done) -> None:
    study = optuna.load_study(study_name="searched", storage=f"sqlite:///{searched.folder / 'study.db'}")
    states = {"complete": "COMPLETE", "stopped": "PRUNED"}
    assert len(study.trials) == TRIALS
    for trial in study.trials:
        record = searched.record(f"search-{trial.number:04d}")
        assert trial.state.name == states[record.state]
        assert trial.intermediate_values == {step: metrics["l2_hole"] for step, metrics in record.results.items()}
        assert trial.params == {"learning_rate": record.knobs["learning_rate"]}
        best = record.best("l2_hole", "min")
        if record.state == "complete":
            assert best is not None
            assert trial.value == best[1]


def test_the_best_is_trained_again_under_fresh_seeds_and_tested_once(searched: Done, rooms: Rooms) -> None:
    best = searched.outcome.best
    assert best is not None
    for index in range(SEEDS):
        record = searched.record(f"final-{index}")
        assert (record.state, record.knobs, record.seed) == ("complete", best.knobs, SEED + 1 + index)
        assert len(record.results) == EPOCHS
        tested = [step for step, metrics in record.results.items() if any(name.startswith("test_") for name in metrics)]
        assert tested == [EPOCHS]
        assert len(searched.store.history(searched.children[record.trial].info.run_id, "test_l2_hole")) == 1
    assert searched.record("final-0").results != searched.record("final-1").results
    for record in searched.outcome.records:
        if record.kind == "search":
            assert not any(name.startswith("test_") for metrics in record.results.values() for name in metrics)
    again = rooms.open_session(session_request(searched.spec, best.model, best.knobs, SEED + 1))
    for _ in range(EPOCHS):
        again.step()
    again.restore_best()
    tested_value = searched.record("final-0").results[EPOCHS]["test_l2_hole"]
    assert again.evaluate("test")["l2_hole"] == pytest.approx(tested_value, rel=1e-3)


def fills_of(done: Done, run_id: str, name: str) -> dict[str, np.ndarray]:
    """What the store has of a run's fills; the sweep's folder has the same."""
    file = done.store.fetch(run_id, f"fills/{name}.npz")
    assert file.read_bytes() == (done.folder / "fills" / f"{name}.npz").read_bytes()
    with np.load(file) as arrays:
        return dict(arrays)


def test_every_final_run_leaves_what_it_made_of_the_first_test_images(searched: Done) -> None:
    plain = fills_of(searched, searched.outcome.run_id, "ring_mean")
    truth = open_images(ImageSource(**searched.spec.data.model_dump())).test
    assert np.array_equal(plain["truth"], truth)
    assert plain["publishable"]
    assert plain["fingerprint"] == searched.outcome.facts.fingerprint
    hole = np.unpackbits(plain["known"], axis=1, count=32 * 32).reshape(-1, 32, 32) == 0
    for index in range(SEEDS):
        made = fills_of(searched, searched.children[f"final-{index}"].info.run_id, f"final-{index}")
        assert "truth" not in made
        assert made["fills"].shape == (hole.sum(), 3)
        assert np.array_equal(made["digest"], plain["digest"])
        wrong = (made["fills"] / 255 - truth[hole] / 255) ** 2
        assert wrong.reshape(len(truth), -1).sum(axis=1) == pytest.approx(made["l2"], rel=0.02)
        tested = searched.record(f"final-{index}").results[EPOCHS]
        assert float(made["l2"].mean()) == pytest.approx(tested["test_l2_hole"], rel=1e-5)  # all 32 are recorded
        assert float(made["psnr"].mean()) == pytest.approx(tested["test_psnr_hole"], rel=1e-5)
    assert float(plain["l2"].mean()) == pytest.approx(searched.parent.data.metrics["ring_mean_test_l2_hole"], rel=1e-5)
    kept = {path.stem for path in (searched.folder / "fills").iterdir()}
    assert kept == {"ring_mean", *(f"final-{index}" for index in range(SEEDS))}
    assert b"fills" not in b"".join(path.read_bytes() for path in searched.folder.glob("checkpoints/attempt-*/experiment_state*"))


@pytest.mark.conformance
def test_a_grid_of_which_every_point_is_wanted_on_the_test_split(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> None:
    rates = [1e-4, 1e-2]
    done = run_spec(
        tiny_spec(
            "compared",
            knobs={"learning_rate": rates},
            search={"algorithm": "grid", "seed": SEED},
            budget={"trials": 2, "epochs": 1},
            seeds=2,
            finals="every",
            pictures=0,
        )
    )
    search = {record.number: record.knobs for record in done.outcome.records if record.kind == "search"}
    assert sorted(knobs["learning_rate"] for knobs in search.values()) == rates
    finals = {record.trial: record for record in done.outcome.records if record.kind == "final"}
    assert set(finals) == {f"final-{number:04d}-{index}" for number in search for index in range(2)}
    for number, knobs in search.items():
        pair = [finals[f"final-{number:04d}-{index}"] for index in range(2)]
        assert [record.knobs for record in pair] == [knobs, knobs]
        assert [record.seed for record in pair] == [SEED + 1, SEED + 2]
        assert all("test_l2_hole" in record.results[1] for record in pair)
    assert [event[1:] for event in done.events if event[0] == "stage"] == [("search", 2, 0), ("final", 4, 0)]


def test_every_point_measured_as_the_search_has_trained_it(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> None:
    done = run_spec(
        tiny_spec(
            "once",
            knobs={"learning_rate": [1e-4, 1e-2]},
            search={"algorithm": "grid", "seed": SEED},
            budget={"trials": 2, "epochs": 1},
            seeds=1,
            finals="every",
            retrain=False,
            pictures=0,
        )
    )
    assert {record.trial for record in done.outcome.records} == {"search-0000", "search-0001", "final-0000-0", "final-0001-0"}
    for number in range(2):
        trained, final = done.record(f"search-{number:04d}"), done.record(f"final-{number:04d}-0")
        assert (final.knobs, final.seed, final.state) == (trained.knobs, trained.seed, "complete")
        assert final.results[1]["l2_hole"] == trained.results[1]["l2_hole"]
        assert final.results[1]["test_l2_hole"] != final.results[1]["l2_hole"]
        assert final.results[1]["epoch"] == 1
        assert "loss" not in final.results[1]  # nothing was trained
        made = fills_of(done, done.children[final.trial].info.run_id, final.trial)
        assert float(made["l2"].mean()) == pytest.approx(final.results[1]["test_l2_hole"], rel=1e-5)


def test_workers_are_used_again(searched: Done) -> None:
    workers = {metrics["pid"] for record in searched.outcome.records for metrics in record.results.values()}
    assert len(workers) <= 4  # two for the search, two for the final runs


def test_a_finished_sweep_that_is_run_again_does_nothing_again(searched: Done, run_spec: Callable[[Spec], Done]) -> None:
    journal, children = searched.journal, searched.children
    again = run_spec(searched.spec)
    kept = ("start", "result", "end")  # a further driver says that it came and went
    assert [event for event in again.journal if event["event"] in kept] == [event for event in journal if event["event"] in kept]
    assert again.outcome.run_id == searched.outcome.run_id
    assert again.outcome.records == searched.outcome.records
    assert [event for event in again.events if event[0] != "stage"] == []
    assert {trial: (run.info.run_id, run.info.status, run.data.metrics) for trial, run in again.children.items()} == {
        trial: (run.info.run_id, run.info.status, run.data.metrics) for trial, run in children.items()
    }
    assert again.parent.info.status == "FINISHED"


def test_a_truncated_checkpoint_of_the_best_gives_way_to_the_one_before(searched: Done, run_spec: Callable[[Spec], Done]) -> None:
    assert searched.outcome.best is not None
    place = FolderPlace(searched.folder / "checkpoints")
    newest, before = (place.folder / name for name in place.names(searched.outcome.best.trial))
    whole = (newest / "checkpoint.pt").read_bytes()
    (newest / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    try:
        again = run_spec(searched.spec)
    finally:
        (newest / "checkpoint.pt").write_bytes(whole)
    assert again.parent.info.status == "FINISHED"
    assert again.outcome.pictures == searched.outcome.pictures
    assert any("checkpoint" in event[1] for event in again.events if event[0] == "note")
    kept = again.store.fetch(again.outcome.run_id, "best/checkpoint.pt")
    assert kept.read_bytes() == (before / "checkpoint.pt").read_bytes()


def test_a_second_driver_is_refused_and_changes_nothing(searched: Done, run_spec: Callable[[Spec], Done]) -> None:
    with (
        Journal(searched.folder),
        pytest.raises(SweepStateError, match="one process at a time may run a sweep, but another one is running 'searched'"),
    ):
        run_spec(searched.spec)
    assert searched.parent.info.status == "FINISHED"


def test_a_name_that_is_taken_gets_a_number(searched: Done, home: Home, tmp_path: Path) -> None:
    assert home.free_name("searched") == "searched-2"
    assert home.free_name("never") == "never"
    for name in ("a", "a-2", "a-4"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "spec.yaml").write_text("")
    assert Home(tmp_path).free_name("a") == "a-3"


# --- what goes wrong --------------------------------------------------------------------------------------------------------------


def resolve_first(spec: Spec) -> dict[str, Any]:
    """The configuration of a sweep that searches nothing."""
    fields = {name: field.default for name, field in FatefulConfig.__dataclass_fields__.items()}
    return fields | {name: value for name, value in spec.settings(spec.models[0]).items() if isinstance(value, bool | int | float | str)}


def checkpoint_size(folder: Path) -> int:
    """Bytes of the greatest checkpoint of a sweep."""
    return max(size_of(path) for path in (folder / "checkpoints").glob("attempt-*/*/checkpoint_*"))


FATES = ["well", "nan", "blind", "refuse", "crash", "collapse"]


@pytest.fixture(scope="module")
def fated(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> Done:
    """One trial of each fate; a worker that crashes is started again once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeper.losses.WORKER_RESTARTS", 1)
        return run_spec(
            tiny_spec("fated", model="user_models:Fateful", knobs={"fate": FATES}, search={"algorithm": "grid"}, budget={"trials": 9})
        )


def by_fate(done: Done) -> dict[str, TrialRecord]:
    return {record.knobs["fate"]: record for record in done.outcome.records}


def test_the_sweep_goes_on_whatever_becomes_of_a_trial(fated: Done) -> None:
    records = by_fate(fated)
    assert {fate: record.state for fate, record in records.items()} == {
        "well": "complete",
        "nan": "diverged",
        "blind": "diverged",
        "refuse": "failed",
        "crash": "failed",
        "collapse": "collapsed",
    }
    assert {fate: len(record.results) for fate, record in records.items()} == {
        "well": 2,
        "nan": 1,
        "blind": 0,
        "refuse": 0,
        "crash": 0,
        "collapse": 2,
    }
    assert records["nan"].reason == "loss was not finite at step 2"
    assert records["blind"].reason == "l2_hole was not finite at step 1"
    assert records["refuse"].reason == "fate must not be 'refuse', but it is; choose another"
    assert "a bug in the model" in records["crash"].reason
    assert records["collapse"].reason == "one side won"
    assert fated.outcome.best is not None
    assert fated.parent.info.status == "FINISHED"


def test_a_trial_that_went_wrong_says_so_in_the_store(fated: Done) -> None:
    statuses = {"complete": "FINISHED", "collapsed": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
    for record in fated.outcome.records:
        child = fated.children[record.trial]
        assert (child.info.status, child.data.tags["sweep.state"]) == (statuses[record.state], record.state)
        assert child.data.tags.get("sweep.reason", "") == record.reason


def test_a_diverged_trial_keeps_its_last_good_checkpoint(fated: Done, rooms: Rooms) -> None:
    record = by_fate(fated)["nan"]
    checkpoints = [fated.folder / "checkpoints" / name for name in FolderPlace(fated.folder / "checkpoints").names(record.trial)]
    assert len(checkpoints) == 1
    session = rooms.open_session(session_request(fated.spec, record.model, record.knobs, record.seed))
    session.load(checkpoints[0])
    assert session.steps == 1
    assert session.evaluate("validation")["l2_hole"] == pytest.approx(record.results[1]["l2_hole"], rel=1e-4)


def test_the_study_learns_of_what_went_wrong(fated: Done) -> None:
    study = optuna.load_study(study_name="fated", storage=f"sqlite:///{fated.folder / 'study.db'}")
    states = {trial.params["fate"]: trial.state.name for trial in study.trials}
    failed = dict.fromkeys(("nan", "blind", "refuse", "crash"), "FAIL")
    assert states == failed | {"well": "COMPLETE", "collapse": "PRUNED"}


@pytest.mark.conformance
def test_a_model_that_gives_no_layer_table_is_swept_without_one(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> None:
    spec = tiny_spec(
        "paired",
        model="user_models:Paired",
        knobs={"bottleneck": [256, 512]},
        search={"algorithm": "grid"},
        budget={"trials": 2, "epochs": 1},
    )
    done = run_spec(spec)
    assert [record.state for record in done.outcome.records] == ["complete", "complete"]
    client = MlflowClient(done.store.uri)
    assert {file.path for run in [done.parent, *done.children.values()] for file in client.list_artifacts(run.info.run_id)} == {
        "spec.yaml",
        "best",
        "fills",
    }
    (note,) = [event[1] for event in done.events if event[0] == "note"]
    assert note.startswith("no layers.json with these runs: the networks of model 'user_models:Paired' must take what its network_inputs()")
    assert "TypeError (" in note
    assert "missing 1 required positional argument: 'known'" in note
    assert note.endswith("override network_inputs")


@pytest.fixture
def store_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes the store refuse every call but those of the sweep's own start, until it is told to be back."""
    calls = {name: getattr(Store, name) for name in ("begin", "log", "log_file", "log_text", "end")}

    def refuse(self: Store, name: str, *arguments: Any) -> str:
        if arguments[:1] == ("sweep",):
            return str(calls["begin"](self, name, *arguments))
        raise TrackingError("the store is away")

    def away(is_away: bool = True) -> None:
        for name, call in calls.items():
            monkeypatch.setattr(Store, name, refuse if is_away else call)

    monkeypatch.setattr("sweeper.writer.RETRY_S", 0.01)
    yield away
    away(False)


def stored(done: Done) -> dict[str, tuple[str, list[tuple[int, float, int]]]]:
    """Status of every trial's run, and each of its points of the objective, as the store has them."""
    client = MlflowClient(done.store.uri)
    return {
        trial: (run.info.status, [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, "l2_hole")])
        for trial, run in done.children.items()
    }


@pytest.mark.faults
def test_a_store_that_is_lost_on_the_way_gets_everything_later(
    run_spec: Callable[[Spec], Done], tiny_spec: TinySpec, rooms: Rooms, home: Home, store_away: Callable[..., None]
) -> None:
    spec = tiny_spec("lost", knobs={"learning_rate": RATES}, budget={"trials": 2, "epochs": 2}, seeds=1, pictures=1)
    store_away()
    done = run_spec(spec)
    assert {record.state for record in done.outcome.records} == {"complete"}
    assert "runs are unsent, since the store is away. The journal in" in done.outcome.unsent
    assert f"type: sweep sync lost --home {home.root}" in done.outcome.unsent
    assert ("note", done.outcome.unsent) in done.events
    assert done.children == {}
    store_away(False)
    sent = sync(spec, rooms, home, SilentProgress())
    assert sent.unsent == ""
    assert sent.values > 0
    first = stored(done)
    assert set(first) == {record.trial for record in done.outcome.records}
    for record in done.outcome.records:
        status, points = first[record.trial]
        assert status == "FINISHED"
        assert [point[:2] for point in points] == [(step, metrics["l2_hole"]) for step, metrics in record.results.items()]
        data = done.children[record.trial].data
        assert data.params == {name: str(value) for name, value in record.knobs.items()}
        assert (data.metrics["best_step"], data.metrics["best_l2_hole"]) == record.best("l2_hole", "min")
    assert done.outcome.best is not None
    parent = done.parent
    assert (parent.info.status, parent.data.tags["sweep.state"], parent.data.tags["sweep.best"]) == (
        "FINISHED",
        "finished",
        done.outcome.best.trial,
    )
    client = MlflowClient(done.store.uri)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "spec.yaml",
        "layers.json",
        "best",
        "pictures",
        "fills",
        "figures",
    }
    assert {file.path for file in client.list_artifacts(done.children["final-0"].info.run_id)} == {"layers.json", "fills"}
    assert fills_of(done, done.children["final-0"].info.run_id, "final-0")["image_px"] == 32
    best_run = done.children[done.outcome.best.trial].info.run_id
    assert {file.path for file in client.list_artifacts(best_run)} == {"layers.json", "pictures"}
    assert sync(spec, rooms, home, SilentProgress()).unsent == ""
    assert stored(done) == first
    assert len(client.get_metric_history(parent.info.run_id, "best_value")) == 1
    assert len(client.get_metric_history(parent.info.run_id, "ring_mean_test_l2_hole")) == 1


@pytest.mark.faults
def test_a_trial_that_runs_out_of_memory_is_tried_again_alone(
    run_spec: Callable[[Spec], Done], tiny_spec: TinySpec, tmp_path: Path
) -> None:
    done = run_spec(
        tiny_spec(
            "starved",
            model="user_models:Fateful",
            knobs={"fate": ["crowded", "hungry", "well"], "mark": str(tmp_path / "mark")},
            search={"algorithm": "grid"},
            budget={"trials": 3, "epochs": 3},
        )
    )
    records = by_fate(done)
    assert {fate: (record.state, len(record.results)) for fate, record in records.items()} == {
        "crowded": ("complete", 3),
        "hungry": ("failed", 0),
        "well": ("complete", 3),
    }
    assert records["crowded"].starved == "MemoryError"
    assert records["hungry"].reason.startswith("out of memory with nothing beside it ([enforce fail at alloc_cpu.cpp:127] DefaultCPU")
    assert records["hungry"].reason.endswith("lower knobs.batch_images, data.image_px, or use nodes with more memory")
    told = [(event["event"], event["trial"]) for event in done.journal if "trial" in event]
    well, crowded, hungry = (records[fate].trial for fate in ("well", "crowded", "hungry"))
    aside = told.index(("note", crowded)), told.index(("note", hungry))
    ends = {trial: told.index(("end", trial)) for trial in (well, crowded, hungry)}
    assert max(*aside, ends[well]) < min(ends[crowded], ends[hungry])
    after = [trial for event, trial in told[ends[well] + 1 :] if event in ("result", "end")]
    assert after in ([crowded] * 3 + [hungry], [hungry] + [crowded] * 3)  # from its checkpoint, and one after the other
    assert [told.count(("note", trial)) for trial in (well, crowded, hungry)] == [0, 1, 1]
    assert {run.info.status for run in done.children.values()} == {"FINISHED", "FAILED"}


@pytest.mark.faults
def test_a_trial_that_ran_out_of_memory_before_an_interruption_is_alone_in_the_resumed_sweep(
    run_spec: Callable[[Spec], Done], tiny_spec: TinySpec, home: Home, tmp_path: Path
) -> None:
    (tmp_path / "mark").touch()
    knobs = {"fate": "crowded", "mark": str(tmp_path / "mark"), "dropout": [0.1, 0.2]}
    spec = tiny_spec("starved-before", model="user_models:Fateful", knobs=knobs, budget={"trials": 2, "epochs": 1})
    model, full, seed = "user_models:Fateful", resolve_first(spec), 0
    with Journal(home.folder(spec.name)) as journal:
        journal.start("search-0000", 0, model, full, seed)
        journal.starve("search-0000", "MemoryError")
    study = optuna.create_study(study_name=spec.name, storage=f"sqlite:///{home.folder(spec.name) / 'study.db'}", direction="minimize")
    study.ask()
    done = run_spec(spec)
    ends = [event["trial"] for event in done.journal if event["event"] == "end"]
    assert ends == ["search-0001", "search-0000"]


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["full", "gone"])
def test_a_sweep_whose_folder_is_full_or_gone_ends_with_one_message_and_goes_on_later(
    fault: str, run_spec: Callable[[Spec], Done], tiny_spec: TinySpec, home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(f"storage-{fault}", knobs={"learning_rate": RATES}, budget={"trials": 3, "epochs": 2})
    folder, away = home.folder(spec.name), home.root / f"{fault}-away"
    write, written = Journal.result, []

    def take_away(self: Journal, *arguments: Any) -> None:
        write(self, *arguments)
        written.append(arguments)
        if len(written) == 3 and fault == "gone":
            folder.rename(away)
        elif len(written) == 3:
            monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))

    monkeypatch.setattr(Journal, "result", take_away)
    with pytest.raises(StorageError, match="has 0.0 MiB free" if fault == "full" else "is gone; put it or its disk back"):
        run_spec(spec)
    monkeypatch.undo()
    if fault == "gone":
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)
    row = store.sweep(spec.name)
    assert row is not None
    assert row.tags["sweep.state"] == "interrupted"
    assert "RUNNING" not in set(store.trials(spec.name)["status"])
    done = run_spec(spec)
    assert {record.trial: (record.state, len(record.results)) for record in done.outcome.records} == {
        f"search-{number:04d}": ("complete", 2) for number in range(3)
    }
    assert {run.info.status for run in done.children.values()} == {"FINISHED"}


@pytest.mark.faults
def test_checkpoints_stay_below_the_quota_and_the_bests_survive(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec, home: Home) -> None:
    trials, running = 4, 2
    spec = tiny_spec("kept", knobs={"learning_rate": RATES}, budget={"trials": trials, "epochs": 4}, checkpoints={"best": 1}, pictures=1)
    one = checkpoint_size(run_spec(tiny_spec("kept-one", budget={"epochs": 1}, search={"seed": 5})).folder)
    quota = 3.5 * one
    limited = spec.model_copy(update={"checkpoints": spec.checkpoints.model_copy(update={"quota_gib": quota / 2**30})})
    sizes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            sizes.append(size_of(home.folder(spec.name) / "checkpoints"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = run_spec(limited)
    finally:
        over.set()
        watcher.join()
    assert [record.state for record in done.outcome.records] == ["complete"] * trials
    assert max(sizes) > one  # something was seen
    assert max(sizes) <= quota + running * one + 2**14  # Ray's own small files
    best = done.outcome.best
    assert best is not None
    kept = {path.parent.name for path in (done.folder / "checkpoints").glob("attempt-*/*/checkpoint_*")}
    assert kept == {best.trial}
    assert [path.name for path in done.outcome.pictures] == [f"{best.trial}.png"]


def test_a_sweep_ends_when_its_time_is_spent(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> None:
    spec = tiny_spec("timed", knobs={"learning_rate": RATES}, budget={"trials": 50, "epochs": 100_000, "wall_s": 4})
    done = run_spec(spec)
    assert 1 <= len(done.outcome.records) < 50
    assert {(record.state, record.reason) for record in done.outcome.records} == {("stopped", "the sweep's time was spent")}
    assert done.parent.info.status == "FINISHED"
    again = run_spec(spec)  # the time of both attempts counts
    assert again.journal == done.journal


# --- the same again ---------------------------------------------------------------------------------------------------------------


@pytest.mark.conformance
def test_the_same_spec_and_seed_give_the_same_configurations_and_metrics(run_spec: Callable[[Spec], Done], tiny_spec: TinySpec) -> None:
    """One trial at a time, so that the search hears of results in the same order."""

    def told(name: str) -> list[tuple[Any, ...]]:
        knobs = {"learning_rate": RATES, "neck": "search", "dropout": 0.3, "mirror": True, "hue": 0.1}
        spec = tiny_spec(
            name,
            knobs=knobs,
            search={"algorithm": "tpe", "seed": 11},
            scheduler={"kind": "asha", "grace_steps": 1},
            budget={"trials": 3, "epochs": 2},
            resources={"cpus": 2},
        )
        records = run_spec(spec).outcome.records
        measured = dict.fromkeys(("wall_s", "train_image_s", "memory_gib"), 0)
        timeless = [{step: told | measured for step, told in record.results.items()} for record in records]
        return [(record.trial, record.knobs, record.seed, record.state, results) for record, results in zip(records, timeless, strict=True)]

    first = told("same-a")
    assert len(first) == 3
    assert told("same-b") == first
