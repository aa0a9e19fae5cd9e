"""Real sweeps whose checkpoints lie elsewhere than in their folder: in a bucket on a server that speaks S3, and in another folder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sweeper.checkpoints import size_of
from sweeper.driver import session_request
from sweeper.errors import StorageError
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.retention import GIB
from sweeper.rooms import Rooms
from sweeper.runner import run
from sweeper.spec import Spec
from tests.sweeper.conftest import Done, Said, SilentProgress
from tests.sweeper.object_store import SECRET, ObjectStore

EPOCHS, TRIALS, RUNNING = 4, 3, 2
RATES = {"low": 1e-4, "high": 1e-2, "log": True}


@pytest.fixture
def object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.stop()


class Watching(SilentProgress):
    """Calls something at every result."""

    def __init__(self, at_result: Callable[[int], None]) -> None:
        super().__init__()
        self._at_result, self._results = at_result, 0

    def advanced(self, trial: str, step: int, value: float) -> None:
        super().advanced(trial, step, value)
        self._results += 1
        self._at_result(self._results)


def steps_saved(objects: Iterable[str]) -> dict[str, int]:
    """For how many steps each trial has had a checkpoint in the first attempt."""
    parts = [name.split("/") for name in objects if name.endswith("/checkpoint.pt")]
    return {trial: max(int(each[2][-6:]) + 1 for each in parts if each[1] == trial) for trial in {each[1] for each in parts}}


@pytest.mark.faults
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("how", ["the disk is full", "the bucket is away"])
def test_a_sweep_in_a_bucket_is_interrupted_goes_on_keeps_its_quota_and_is_removed(
    how: str,
    object_store: ObjectStore,
    tiny_spec: Callable[..., Spec],
    rooms: Rooms,
    home: Home,
    sweep: Callable[..., Said],
    tmp_path: Path,
) -> None:
    spec = tiny_spec("in-bucket", knobs={"learning_rate": RATES}, budget={"trials": TRIALS, "epochs": EPOCHS}, pictures=1)
    session = rooms.open_session(session_request(spec, spec.models[0], {"base_filters": 16, "bottleneck": 256, "batch_images": 32}, 0))
    session.step()
    session.save(tmp_path)
    one = size_of(tmp_path)
    quota = 3.5 * one
    rules = {"keep": 1, "quota_gib": quota / GIB, "storage": object_store.address("sweeps")}
    spec = tiny_spec(spec.name, knobs={"learning_rate": RATES}, budget={"trials": TRIALS, "epochs": EPOCHS}, pictures=1, checkpoints=rules)
    prefix = f"sweeps/{spec.name}/checkpoints"

    def interrupt(results: int) -> None:
        if results == 3 and how == "the disk is full":
            raise StorageError("the sweep's own folder is full")
        if results == 3:
            object_store.stop()

    with pytest.raises(StorageError) as caught:
        run(spec, rooms, home, Watching(interrupt), spec_name="from_a_test", fresh=True)
    if how == "the bucket is away":
        assert "checkpoints.storage must be reachable and writable from every node" in str(caught.value)
        assert SECRET not in str(caught.value)
        object_store.start()
    saved = steps_saved(object_store.objects(prefix))
    before = read_trials(home.folder(spec.name))
    assert max(len(record.results) for record in before.values()) >= 1
    assert "complete" not in {record.state for record in before.values()}

    sizes: list[int] = []
    outcome = run(
        spec, rooms, home, Watching(lambda results: sizes.append(sum(object_store.objects(prefix).values()))), spec_name="t", fresh=True
    )
    assert {record.state for record in outcome.records} == {"complete"}
    assert [sorted(record.results) for record in outcome.records] == [[1, 2, 3, 4]] * TRIALS
    assert max(sizes) > one
    assert max(sizes) <= quota + RUNNING * one + 2**14  # Ray's own small files
    best = outcome.best
    assert best is not None
    kept = sorted({name.rpartition("/")[0] for name in object_store.objects(prefix) if "/checkpoint_" in name})
    holders = [name.split("/")[1] for name in kept]  # one each; where two write at once, the worst that ended may have made room
    assert len(holders) == len(set(holders)) >= TRIALS - 1
    assert saved
    assert len(sizes) < TRIALS * EPOCHS  # the second attempt did not begin anew
    for trial, steps in saved.items():  # each went on from what it had
        for newest in (name for name in kept if name.split("/")[1] == trial):
            assert newest.startswith("attempt-002/")
            assert int(newest[-6:]) <= EPOCHS - steps - 1
    (bests,) = (name for name in kept if name.split("/")[1] == best.trial)
    assert not (home.folder(spec.name) / "checkpoints").exists()

    assert [path.name for path in outcome.pictures] == [f"{best.trial}.png"]
    client = MlflowClient(home.store_uri)
    told = Path(client.download_artifacts(outcome.run_id, "spec.yaml", str(tmp_path))).read_text()
    assert SECRET not in told
    assert "s3://masked@" in told
    sent = Path(client.download_artifacts(outcome.run_id, "best/checkpoint.pt", str(tmp_path))).read_bytes()
    assert sent == object_store.read(f"{prefix}/{bests}/checkpoint.pt")
    where = ("--home", str(home.root))
    page = sweep("show", spec.name, "--trial", best.trial, "--json", *where)
    assert page.code == 0
    assert bests in page.out
    assert SECRET not in page.out
    assert sweep("pictures", spec.name, "--to", str(tmp_path / "grid.png"), *where).code == 0
    assert (tmp_path / "grid.png").stat().st_size > 0
    removed = sweep("rm", spec.name, "--yes", *where)
    assert removed.code == 0
    assert SECRET not in removed.out
    assert object_store.objects("sweeps") == {}
    assert not home.folder(spec.name).exists()


def test_a_sweep_in_another_folder(
    run_spec: Callable[[Spec], Done],
    tiny_spec: Callable[..., Spec],
    rooms: Rooms,
    home: Home,
    sweep: Callable[..., Said],
    tmp_path: Path,
) -> None:
    changes: dict[str, Any] = {"checkpoints": {"keep": 1, "storage": str(tmp_path / "all")}, "pictures": 1}
    done = run_spec(tiny_spec("elsewhere", **changes))
    place = tmp_path / "all" / "elsewhere" / "checkpoints"
    assert [path.name for path in place.glob("attempt-001/search-0000/checkpoint_*")] == ["checkpoint_000001"]
    assert not (done.folder / "checkpoints").exists()
    assert [path.name for path in done.outcome.pictures] == ["search-0000.png"]
    longer = run_spec(tiny_spec("elsewhere", budget={"epochs": 3}, **changes))  # nothing to do: what is complete stays so
    assert longer.outcome.records == done.outcome.records

    other = Home(tmp_path / "other", home.store_uri)
    with pytest.raises(StorageError, match=r"must hold none of another sweep 'elsewhere', but .*; choose another name or another place"):
        run(tiny_spec("elsewhere", **changes), rooms, other, SilentProgress(), spec_name="t")
    assert not other.root.exists()
    place.rename(tmp_path / "away")
    with pytest.raises(StorageError, match=r"checkpoints.storage must be reachable and writable"):
        run_spec(done.spec)  # a disk that is not mounted is not made up for by an empty folder
    assert not place.exists()
    (tmp_path / "away").rename(place)
    assert sweep("rm", "elsewhere", "--yes", "--home", str(home.root)).code == 0
    assert list((tmp_path / "all").iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused_before_anything_starts(
    tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file stands where the folder should be")
    spec = tiny_spec(checkpoints={"storage": str(tmp_path / "file" / "all")})
    nothing = replace(rooms, prepare=lambda data, mask: pytest.fail("the images were prepared"))
    progress = SilentProgress()
    with pytest.raises(
        StorageError, match=r"checkpoints.storage must be reachable and writable from every node, but .*all/tiny/checkpoints"
    ):
        run(spec, nothing, Home(tmp_path / "home"), progress, spec_name="t")
    assert progress.events == []
    assert not (tmp_path / "home").exists()
