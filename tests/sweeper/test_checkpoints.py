"""Where checkpoints lie: one contract for a folder and for a bucket on a server that speaks S3, and what addresses mean."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.tune import Checkpoint as RaysCheckpoint
from ray.tune.trainable.trainable import _TrainingResult

from sweeper.buckets import BucketPlace
from sweeper.checkpoints import (
    Checkpoint,
    FolderPlace,
    Place,
    at,
    checkpoints_of,
    joined,
    place_at,
    place_of,
    problems_of_storage,
    sweeps_place,
)
from sweeper.driver import session_request
from sweeper.errors import StorageError
from sweeper.home import Home
from sweeper.journal import TrialRecord
from sweeper.retention import GIB, Keeper
from sweeper.rooms import Rooms
from sweeper.spec import Checkpoints, Spec, public_storage
from sweeper.trial import SweepTrial, TrialPlan
from tests.sweeper.object_store import BUCKET, KEY, SECRET, ObjectStore

OLD, NEWER, NEWEST = (
    "attempt-001/search-0001/checkpoint_000001",
    "attempt-001/search-0001/checkpoint_000002",
    "attempt-002/search-0001/checkpoint_000000",
)
OTHER = "attempt-001/search-0010/checkpoint_000000"
SIZE = 1000

Write = Callable[[str, bytes], None]


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, object_store: ObjectStore, tmp_path: Path) -> Place:
    """A place that nothing has been written to."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "mine" / "checkpoints")
    return BucketPlace(object_store.address(f"{tmp_path.name}/mine/checkpoints"))


@pytest.fixture
def write(place: Place, object_store: ObjectStore, tmp_path: Path) -> Write:
    """Puts a checkpoint's file into the place behind its back."""

    def written(name: str, content: bytes) -> None:
        if isinstance(place, FolderPlace):
            (place.folder / name).mkdir(parents=True, exist_ok=True)
            (place.folder / name / "checkpoint.pt").write_bytes(content)
        else:
            object_store.write(f"{tmp_path.name}/mine/checkpoints/{name}/checkpoint.pt", content)

    return written


def archive(content: bytes = bytes(SIZE)) -> bytes:
    """What PyTorch's files are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("data", content)
    return file.getvalue()


def record(trial: str, value: float) -> TrialRecord:
    return TrialRecord(trial, int(trial.split("-")[1]), "cnn_autoencoder", {}, 0, "complete", results={1: {"l2_hole": value}})


# --- the contract -----------------------------------------------------------------------------------------------------------------


def test_a_place_that_holds_nothing(place: Place) -> None:
    assert (place.attempts(), place.trials(), place.names("search-0001"), place.size(OLD)) == (0, set(), [], 0)
    assert not place.is_whole(OLD)
    with place.fetched(OLD) as folder:
        assert not (folder / "checkpoint.pt").exists()
    place.remove(OLD)
    place.clear()


def test_checkpoints_are_found_over_all_attempts_the_newest_first(place: Place, write: Write) -> None:
    for name in (NEWER, OLD, NEWEST, OTHER):
        write(name, archive())
    assert place.names("search-0001") == [NEWEST, NEWER, OLD]
    assert place.trials() == {"search-0001", "search-0010"}
    assert place.attempts() == 2
    assert place.size(OLD) == len(archive())
    assert [each.name for each in checkpoints_of(place, "search-0010")] == [OTHER]


def test_a_truncated_checkpoint_is_not_whole(place: Place, write: Write) -> None:
    write(OLD, archive())
    write(NEWER, archive()[: SIZE // 2])
    write(NEWEST, b"")
    assert [place.is_whole(name) for name in (OLD, NEWER, NEWEST)] == [True, False, False]


def test_a_checkpoint_is_fetched_with_all_its_files(place: Place, write: Write, object_store: ObjectStore, tmp_path: Path) -> None:
    write(OLD, b"mine")
    write(f"{OLD}/deeper", b"inside")
    with Checkpoint(place, OLD).fetched() as folder, at(Checkpoint(place, OLD).address).fetched() as again:
        for found in (folder, again):
            assert (found / "checkpoint.pt").read_bytes() == b"mine"
            assert (found / "deeper" / "checkpoint.pt").read_bytes() == b"inside"


def test_what_is_removed_is_gone_and_the_rest_stays(place: Place, write: Write) -> None:
    for name in (OLD, NEWER):
        write(name, archive())
    assert place.names("search-0001") == [NEWER, OLD]
    for _ in range(2):
        place.remove(OLD)
    assert place.names("search-0001") == [NEWER]
    place.look_again()
    assert place.names("search-0001") == [NEWER]


def test_a_probe_leaves_nothing(place: Place, object_store: ObjectStore, tmp_path: Path) -> None:
    place.require(create=True)
    place.require()
    if isinstance(place, FolderPlace):
        assert list(place.folder.iterdir()) == []
    else:
        assert object_store.objects(tmp_path.name) == {}


def test_clearing_leaves_what_is_not_the_sweeps(place: Place, write: Write, object_store: ObjectStore, tmp_path: Path) -> None:
    write(OLD, archive())
    write(f"../../beside/{OLD}" if isinstance(place, FolderPlace) else OTHER, archive())
    if isinstance(place, BucketPlace):
        object_store.write(f"{tmp_path.name}/mine/notes.txt", b"mine")
    place.clear()
    assert place.trials() == set()
    if isinstance(place, FolderPlace):
        assert [path.name for path in tmp_path.iterdir()] == ["beside"]
    else:
        assert object_store.objects(f"{tmp_path.name}/mine") == {"notes.txt": 4}


def test_the_keeper_keeps_the_same_in_both(place: Place, write: Write) -> None:
    records = {"search-0001": record("search-0001", 2.0), "search-0010": record("search-0010", 1.0)}
    write(OLD, archive())
    write(NEWER, archive())
    write(NEWEST, archive()[: SIZE // 2])
    write(OTHER, archive())
    Keeper(place, Checkpoints(keep=1), "l2_hole", "min").trim("search-0001", records)
    assert place.names("search-0001") == [NEWEST, NEWER]  # the damaged one does not count
    Keeper(place, Checkpoints(quota_gib=1.5 * len(archive()) / GIB), "l2_hole", "min").trim("search-0010", records)
    place.look_again()
    assert (place.names("search-0001"), place.names("search-0010")) == ([NEWEST], [OTHER])
    Keeper(place, Checkpoints(best=1), "l2_hole", "min").finish(records)
    place.look_again()
    assert (place.names("search-0001"), place.names("search-0010")) == ([], [OTHER])


# --- what a bucket is beyond that -------------------------------------------------------------------------------------------------


@pytest.fixture
def other_store() -> Iterator[ObjectStore]:
    """One that a test may stop."""
    store = ObjectStore()
    yield store
    store.stop()


def test_a_bucket_is_listed_once_and_one_that_is_away_is_told_without_its_keys(other_store: ObjectStore) -> None:
    other_store.write(f"p/{OLD}/checkpoint.pt", archive())
    place = BucketPlace(other_store.address("p"))
    keeper = Keeper(place, Checkpoints(keep=2, quota_gib=1), "l2_hole", "min")
    records = {"search-0001": record("search-0001", 1.0)}
    keeper.trim("search-0001", records)
    other_store.stop()
    place.added(NEWEST, 5)
    keeper.trim("search-0001", records)  # two are to be kept: nothing is asked and nothing removed
    assert place.names("search-0001") == [NEWEST, OLD]
    assert place.size(NEWEST) == 5
    assert place.is_whole(NEWEST)
    with pytest.raises(StorageError, match=r"checkpoints.storage must be reachable and writable .*; look at the address") as caught:
        place.require()
    assert SECRET not in str(caught.value)
    assert f"s3://masked@{BUCKET}/p?endpoint_override=127.0.0.1:{other_store.port}" in str(caught.value)


@pytest.mark.parametrize(
    "storage", [f"s3://{KEY}:{SECRET}@bucket/p?wrong={SECRET}", f"s3://{KEY}:{SECRET}/no@bucket/p", f"gs://bucket/p?key={SECRET}"]
)
def test_an_address_that_pyarrow_does_not_read_is_told_without_its_keys(storage: str) -> None:
    with pytest.raises(StorageError, match="must be reachable and writable") as caught:
        BucketPlace(storage).require()
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told(object_store: ObjectStore) -> None:
    with pytest.raises(StorageError, match="no-such-bucket"):
        BucketPlace(object_store.address("p", bucket="no-such-bucket")).require(create=True)


def test_googles_buckets_go_the_same_way() -> None:
    place = place_at("gs://bucket/prefix?endpoint_override=127.0.0.1:9&scheme=http&retry_limit_seconds=0.1")
    assert isinstance(place, BucketPlace)
    assert (place.filesystem.type_name, place.path) == ("gcs", "bucket/prefix")
    with pytest.raises(StorageError, match=r"gs://bucket/prefix\?endpoint_override=127.0.0.1:9.* is not \("):
        place.require()
    assert place_at("gs://bucket/prefix").filesystem.type_name == "gcs"  # with the engine's patience instead of a quarter of an hour


def test_a_worker_goes_on_from_a_bucket_and_the_damaged_newest_gives_way(
    object_store: ObjectStore, tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path
) -> None:
    spec = tiny_spec(model="user_models:Fateful", knobs={"fate": "well"}, budget={"epochs": 3})
    address = object_store.address(f"{tmp_path.name}/checkpoints")
    plan = TrialPlan(rooms, session_request(spec, spec.models[0], {}, 0), 3, storage=address, elsewhere=True)
    knobs = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0.3, "fate": "well"}
    config = {"trial": "search-0001", "number": 0, "model": spec.models[0], "knobs": knobs, "seed": 3, "resume_from": []}

    def started(**changes: object) -> SweepTrial:
        worker = object.__new__(SweepTrial)
        worker.setup(config | changes, plan)
        return worker

    straight = started()
    losses = []
    for name in (OLD, NEWER, None):
        losses.append(straight.step()["metrics"]["loss"])
        if name is not None:
            (tmp_path / name).mkdir(parents=True)
            straight.save_checkpoint(str(tmp_path / name))
            for file in (tmp_path / name).iterdir():
                object_store.write(f"{tmp_path.name}/checkpoints/{name}/{file.name}", file.read_bytes())
    place = place_at(address)
    again = started(resume_from=[each.address for each in checkpoints_of(place, "search-0001")])
    assert again.step()["metrics"]["loss"] == losses[2]
    whole = object_store.read(f"{tmp_path.name}/checkpoints/{NEWER}/checkpoint.pt")
    object_store.write(f"{tmp_path.name}/checkpoints/{NEWER}/checkpoint.pt", whole[: len(whole) // 2])
    again = started(resume_from=[each.address for each in checkpoints_of(place, "search-0001")])
    assert [again.step()["metrics"]["loss"] for _ in range(2)] == losses[1:]
    restored = started()  # as Ray does it for a lost worker
    restored._local_ip = "here"
    kept = RaysCheckpoint(path=f"{BUCKET}/{tmp_path.name}/checkpoints/{NEWER}", filesystem=place.filesystem)
    restored.restore(_TrainingResult(checkpoint=kept, metrics={}))
    assert [restored.step()["metrics"]["loss"] for _ in range(2)] == losses[1:]


# --- what addresses mean ----------------------------------------------------------------------------------------------------------


def test_a_sweep_keeps_its_checkpoints_where_its_spec_says(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = home.folder("mine")
    assert place_of(home, "mine").address == str(folder / "checkpoints")
    for storage, address in (
        (None, str(folder / "checkpoints")),
        ("/mnt/all", "/mnt/all/mine/checkpoints"),
        ("s3://bucket/p/?region=eu-west-1", "s3://bucket/p/mine/checkpoints?region=eu-west-1"),
        ("gs://bucket", "gs://bucket/mine/checkpoints"),
    ):
        assert sweeps_place(home, "mine", storage).address == address
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.yaml").write_text(f"checkpoints: {{keep: 2, storage: {json.dumps(storage)}}}\n")
        assert place_of(home, "mine").address == address
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("storage", "public"),
    [
        ("/mnt/a//b@c", "/mnt/a//b@c"),
        ("s3://bucket/p?region=r&scheme=http&endpoint_override=h:1", "s3://bucket/p?region=r&scheme=http&endpoint_override=h:1"),
        ("s3://key:word@bucket/p", "s3://masked@bucket/p"),
        ("s3://key:wo/rd@bucket/p", "s3://masked@bucket/p"),
        ("s3://key:wo?rd@bucket/p", "s3://masked@bucket/p"),
        ("s3://bucket/p?access_key=word&region=r", "s3://bucket/p?access_key=masked&region=r"),
        ("s4://key:word@bucket/p", "s4://masked@bucket/p"),
    ],
)
def test_keys_are_no_part_of_a_public_address(storage: str, public: str, tiny_spec: Callable[..., Spec], tmp_path: Path) -> None:
    assert public_storage(storage) == public
    spec = tiny_spec().model_copy(update={"checkpoints": Checkpoints(storage=storage)})
    assert "word" not in spec.to_public_yaml()
    spec.write(tmp_path / "spec.yaml")
    assert (tmp_path / "spec.yaml").stat().st_mode & 0o077 == (0o044 if storage == public else 0)


@pytest.mark.parametrize("storage", ["relative/folder", "s3://", "s3:///p", "http://host/p", "s4://word:word@bucket/p", "", "gs://?a=b"])
def test_a_place_that_there_cannot_be_is_refused(storage: str) -> None:
    (problem,) = problems_of_storage(storage)
    assert problem.startswith("checkpoints.storage: must be a folder's whole path, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, but got ")
    assert "word" not in problem


@pytest.mark.parametrize("storage", [None, "/mnt/all", "~/all", "s3://bucket", "s3://key:secret@bucket/p?region=r", "gs://bucket/p"])
def test_places_that_there_may_be(storage: str | None) -> None:
    assert list(problems_of_storage(storage)) == []


def test_addresses_are_joined_before_the_query() -> None:
    assert joined("s3://b/p?x=y/z", "n/m") == "s3://b/p/n/m?x=y/z"
    assert joined("/odd?name", "n") == "/odd?name/n"
    found = at(f"s3://b/p/{OLD}?region=r")
    assert (found.name, found.place.address, found.address) == (OLD, "s3://b/p?region=r", f"s3://b/p/{OLD}?region=r")
