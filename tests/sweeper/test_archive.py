"""Results that travel: what an archive holds, what it must not, and what a home takes from it."""

import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from reports.build import build
from sweeper.adoption import adopt
from sweeper.archive import Archived, archive, read_index
from sweeper.errors import StorageError, SweepStateError
from sweeper.home import Home
from sweeper.journal import Journal, Source, read_trials
from sweeper.known import KnownTrials
from sweeper.layers import FILE as LAYERS
from sweeper.spec import Spec
from sweeper.sqlite_reader import SqliteReader
from sweeper.tracking import Point, Store
from tests.sweeper.conftest import Said

PRIVATE = ("/home/bob", "bob", "do-not-give", "example.org", "mlflow.user", "run_this.py")
CURVES = {"loss"}


def picture_of(name: str) -> bytes:
    """A PNG file's bytes that differ from name to name."""
    file = io.BytesIO()
    Image.new("RGB", (len(name), 2), f"#{hashlib.sha256(name.encode()).hexdigest()[:6]}").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a sweep; making one takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("empty")
    Store(f"sqlite:///{home / 'mlflow.db'}")
    return home / "mlflow.db"


@pytest.fixture
def new_home(empty: Path, tmp_path: Path) -> Callable[[str], Home]:
    def made(name: str) -> Home:
        root = tmp_path / "home of bob" / name
        root.mkdir(parents=True)
        shutil.copy(empty, root / "mlflow.db")
        return Home(root)

    return made


@pytest.fixture
def to(empty: Path, tmp_path: Path) -> Path:
    """An archive without a sweep."""
    folder = tmp_path / "archive"
    folder.mkdir()
    shutil.copy(empty, folder / "mlflow.db")
    (folder / "archive.json").write_text('{"format": 1, "sweeps": {}}')
    return folder


def swept(home: Home, name: str, *, data: str = "photos", state: str = "finished", value: float = 3.0) -> str:
    """A sweep with a search trial and a final run, in the store and in its journal, private words wherever they can stand; its run's id."""
    store = Store(home.store_uri)
    where = f"cannot read {home.root / 'x.npy'} or /home/bob/cats/y.npy"
    tags = {"sweep.model": "cnn_autoencoder", "sweep.data": data, "sweep.objective": "l2_hole", "sweep.mode": "min", "git.commit": "f00d"}
    tags |= {"sweep.also": "{}", "sweep.spec": "mine", "mlflow.user": "bob", "mlflow.source.name": "/home/bob/run_this.py"}
    parent = store.begin(name, "sweep", None, None, tags, {}, 1000.0)
    store.log(parent, [Point("ring_mean_test_l2_hole", 9.0, 0, 1000.0)], {})
    secret = {"webhook": "https://example.org/do-not-give", "command": "say do-not-give"}
    fields = {"name": name, "model": "cnn_autoencoder", "data": {"name": data, "data_dir": "/home/bob/data"}, "notify": secret}
    spec = Spec(**fields, budget={"trials": 1, "epochs": 2})
    store.log_text(parent, "spec.yaml", spec.to_public_yaml())
    picture = home.root / "best.png"
    picture.write_bytes(picture_of(name))
    store.log_file(parent, picture, "pictures")
    (home.root / "parallel.svg").write_text("<svg/>")
    store.log_file(parent, home.root / "parallel.svg", "figures")
    with Journal(home.folder(name)) as journal:
        spec.write(home.folder(name) / "spec.yaml")
        journal.sweep(tags, {})
        for trial in ("search-0000", "final-0"):
            role = trial.split("-")[0]
            run = store.begin(name, role, trial, parent, {"sweep.seed": "0", "sweep.model": "cnn_autoencoder"}, {"bottleneck": 256}, 1001.0)
            journal.start(trial, 0, "cnn_autoencoder", {"bottleneck": 256}, 0, identity=f"{name}-{role}-{value:g}")
            for step in (1, 2):
                found = {"l2_hole": value / step, "loss": 1.0 / step, "psnr_hole": 20.0, "epoch": float(step)}
                journal.result(trial, step, found)
                store.log(run, [Point(metric, number, step, 1001.0 + step) for metric, number in found.items()], {})
            best = {"best_l2_hole": value / 2, "best_step": 2.0} | ({"test_l2_hole": value} if role == "final" else {})
            store.log(run, [Point(metric, number, 2, 1003.0) for metric, number in best.items()], {"sweep.state": "complete"})
            store.log_text(run, LAYERS, json.dumps([{"network": "network", "name": "0", "kind": "Conv"}], indent=2))
            store.tag(run, "sweep.reason", where)
            store.end(run, "complete", 1004.0)
            journal.end(trial, "complete", where)
        journal.end_sweep(state)
    store.tag(parent, "sweep.state", state)
    if state == "finished":
        store.end(parent, state, 1005.0)
    return parent


def with_fills(home: Home, run_id: str, *, publishable: bool) -> None:
    """Leaves a file of fills with a run, as a sweep does for the plain fill."""
    file = home.root / "ring_mean.npz"
    arrays = {"fills": np.zeros((4, 3), np.uint8), "truth": np.full((1, 4, 4, 3), 7, np.uint8)}
    np.savez_compressed(file, publishable=np.array(publishable), **arrays)  # type: ignore[arg-type]
    Store(home.store_uri).log_file(run_id, file, "fills")


def put(home: Home, to: Path, *names: str, photographs: bool = False) -> Archived:
    return archive(home, names, to, CURVES, photographs=photographs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_archive_that_was_moved_gives_the_same_numbers(new_home: Callable[[str], Home], tmp_path: Path) -> None:
    home = new_home("a")
    parent = swept(home, "one")
    done = put(home, tmp_path / "first")
    assert (done.added, done.replaced, done.left_out, done.sweeps) == (["one"], [], {}, 1)
    there = shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    before, after = SqliteReader(home.store_uri), SqliteReader(f"sqlite:///{there}/mlflow.db")
    mine, theirs = before.trials("one"), after.trials("one")
    same = [column for column in mine if column not in ("artifacts", "reason")]
    pd.testing.assert_frame_equal(mine[same].sort_values("run_id"), theirs[same].sort_values("run_id"), check_like=True)
    assert [(row.run_id, row.started_s) for row in after.sweeps()] == [(parent, 1000.0)]
    runs = mine["run_id"].tolist()
    assert after.histories(runs, ["loss", "l2_hole"]) == before.histories(runs, ["loss", "l2_hole"])
    assert after.histories(runs, ["psnr_hole"]) == {}
    assert after.fetch(parent, "pictures/best.png").read_bytes() == picture_of("one")
    assert after.fetch(parent, "figures/parallel.svg").read_text() == "<svg/>"
    assert json.loads(after.fetch(runs[0], LAYERS).read_text()) == json.loads(before.fetch(runs[0], LAYERS).read_text())
    slow = Store(after.uri, create=False)  # MLflow itself reads it too
    assert sorted(slow.trials("one")["run_id"]) == sorted(runs)
    assert slow.histories(runs, ["loss"]) == before.histories(runs, ["loss"])
    assert slow.fetch(parent, "pictures/best.png").read_bytes() == picture_of("one")


def test_nothing_private_travels(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    home = new_home("a")
    parent = swept(home, "one", data="folder:/home/bob/cats")
    before = b"".join(contents(home.root).values())
    put(home, to)
    for name, content in contents(to).items():
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert [word for word in (*PRIVATE, str(tmp_path)) if word.encode() in plain] == [], name
    assert all(word.encode() in before for word in PRIVATE)  # each of them might have
    layers = list((to / "artifacts").rglob(LAYERS))
    assert len(layers) == 2  # the trial's and the final's, which are alike and therefore one file
    assert len({path.resolve() for path in layers}) == 1
    assert f"artifacts/{parent}/journal.jsonl.gz" in contents(to)


def test_photographs_that_are_not_ours_stay_behind_unless_asked_for(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    home = new_home("a")
    parents = {name: swept(home, name, data=name) for name in ("faces", "photos")}
    for name, parent in parents.items():
        with_fills(home, parent, publishable=name == "photos")
    done = put(home, to)
    assert done.without_photographs == ["faces"]
    for name, parent in parents.items():
        with np.load(to / "artifacts" / parent / "fills" / "ring_mean.npz") as arrays:
            assert set(arrays.files) == {"fills", "publishable"} | ({"truth"} if name == "photos" else set())
    pictures = {name for name in contents(to) if name.endswith(".png")}
    assert pictures == {f"artifacts/{parents['photos']}/pictures/best.png"}
    put(home, to, photographs=True)
    assert f"artifacts/{parents['faces']}/pictures/best.png" in contents(to)
    with np.load(to / "artifacts" / parents["faces"] / "fills" / "ring_mean.npz") as arrays:
        assert arrays["truth"].max() == 7
    shared = [path for path in (to / "artifacts" / "shared").iterdir() if path.suffix == ".npz"]
    assert len(shared) == 2  # what nobody links to any more is gone


def test_a_later_call_adds_and_replaces_and_loses_nothing(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    mine, theirs = new_home("a"), new_home("b")
    parents = [swept(mine, "one"), swept(mine, "two")]
    put(mine, to, "one")
    (to / "README.md").write_text("mine")
    assert put(mine, to, "two").added == ["two"]
    parents.append(swept(theirs, "one", value=5.0))
    assert put(theirs, to).added == ["one-2"]
    Store(mine.store_uri).tag(parents[0], "sweep.best", "search-0000")
    again = put(mine, to, "one")
    assert (again.added, again.replaced, again.sweeps) == ([], ["one"], 3)
    assert put(theirs, to).replaced == ["one-2"]
    assert [entry["run_id"] for _, entry in sorted(read_index(to).items())] == [parents[0], parents[2], parents[1]]
    reader = SqliteReader(f"sqlite:///{to}/mlflow.db")
    assert {row.name: row.tags.get("sweep.best") for row in reader.sweeps()} == {"one": "search-0000", "two": None, "one-2": None}
    assert reader.trials("one-2")["metric.best_l2_hole"].tolist() == [2.5, 2.5]
    assert len(reader.trials("one")) == 2
    assert (to / "README.md").read_text() == "mine"


def test_a_sweep_that_runs_is_left_out(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    home = new_home("a")
    swept(home, "done")
    swept(home, "busy", state="running")
    assert put(home, to).left_out == {"busy": "it is running; archive it when it has ended"}
    assert list(read_index(to)) == ["done"]


def test_a_home_that_adopts_knows_the_trials(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    mine, fresh = new_home("a"), new_home("b")
    parent = swept(mine, "one")
    put(mine, to)
    assert adopt(fresh, to).names == {"one": "one"}
    found = KnownTrials(fresh).find("one-search-3")
    assert found is not None
    assert (found[0], found[1].results[2]["psnr_hole"]) == (Source("one", "search-0000"), 20.0)
    assert read_trials(fresh.folder("one")).keys() == read_trials(mine.folder("one")).keys()
    store = Store(fresh.store_uri)
    assert store.sweep("one") == SqliteReader(fresh.store_uri).sweep("one")
    assert [row.run_id for row in store.sweeps()] == [parent]
    assert store.fetch(parent, "pictures/best.png").read_bytes() == picture_of("one")
    assert adopt(fresh, to).there == ["one"]
    assert len(store.trials("one")) == 2


def test_a_name_that_is_taken_becomes_another(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    mine, theirs = new_home("a"), new_home("b")
    swept(mine, "one")
    swept(theirs, "one", value=5.0)
    put(mine, to)
    assert adopt(theirs, to).names == {"one": "one-2"}
    reader = SqliteReader(theirs.store_uri)
    assert {row.name for row in reader.sweeps()} == {"one", "one-2"}
    assert set(reader.trials("one-2")["trial"]) == {"search-0000", "final-0"}
    assert Spec(**yaml.safe_load((theirs.folder("one-2") / "spec.yaml").read_text())).name == "one-2"


def test_a_report_of_an_archive_is_the_same_each_time(new_home: Callable[[str], Home], to: Path, tmp_path: Path) -> None:
    home = new_home("a")
    swept(home, "one")
    put(home, to)
    there = Home(to)
    first, second = (build(there, tmp_path / name, only=["beyond_cnns_1"]).folder for name in ("first", "second"))
    assert contents(first) == contents(second)
    assert contents(first)["sweeps/one.png"] == picture_of("one")
    assert b"| 1 | search-0000 | complete | 1.5 | 2 |" in contents(first)["sweeps/one.md"]


def test_a_users_mistake_is_told_and_the_earlier_archive_stays(
    new_home: Callable[[str], Home], to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home("a")
    with pytest.raises(SweepStateError, match=r"must hold a sweep to be archived, but sqlite:///.* holds none"):
        put(home, to)
    swept(home, "one")
    with pytest.raises(SweepStateError, match="in the store to be archived, but two is not"):
        put(home, to, "two")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(SweepStateError, match="must be new, empty or an archive"):
        put(home, tmp_path / "full")
    with pytest.raises(SweepStateError, match=r"an archive must be a folder with archive\.json"):
        adopt(home, tmp_path / "full")
    put(home, to)
    before, there = contents(to), set(tmp_path.iterdir())
    with pytest.raises(SweepStateError, match=r"must be adopted into a home, but .* is an archive"):
        adopt(Home(to), to)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sweeper.archive.make_small", full_disk)
    with pytest.raises(StorageError, match=r"written whole, but .*No space left on device.*; the earlier one is as it was"):
        put(home, to)
    assert contents(to) == before
    assert set(tmp_path.iterdir()) == there


def test_the_commands_say_what_they_did(
    new_home: Callable[[str], Home], to: Path, sweep: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, fresh = new_home("a"), new_home("b")
    swept(mine, "one", data="faces")
    said = sweep("archive", "--to", str(to), "--home", str(mine.root))
    assert (said.code, said.err) == (0, "")
    assert "1 sweeps added, 0 replaced" in said.out
    assert "without pictures" in said.out
    said = sweep("adopt", str(to), "--home", str(fresh.root), "--json")
    assert json.loads(said.out) == {"names": {"one": "one"}, "there": [], "unsent": []}
    assert json.loads(sweep("list", "--home", str(to), "--json").out)[0]["name"] == "one"
    monkeypatch.setattr("sweeper.runner.run", None)  # it must not come to that
    said = sweep("run", "quickstart", "--home", str(to))
    assert said.code == 2
    assert "a sweep must run in a home, but" in said.err
