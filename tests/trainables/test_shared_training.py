import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.counting_model import NAME, Counting, OtherCounting
from trainables.data import ImageSource, Mask, open_images
from trainables.session import CHECKPOINT_FILE, Session
from trainables.shared_training import code_version, stage_key

MASK = Mask("centre", 8)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No training is counted yet."""
    Counting.units.clear()
    yield
    Counting.units.clear()


@pytest.fixture(scope="module")
def prepared(data_dir: str) -> ImageSource:
    source = ImageSource("photos", 16, 24, 8, 8, data_dir=data_dir)
    open_images(source)
    return source


@pytest.fixture
def source(prepared: ImageSource, data_dir: str, tmp_path: Path) -> ImageSource:
    """The same images in a data folder of the test's own, so that its stages are its own."""
    (tmp_path / "prepared").symlink_to(Path(data_dir) / "prepared")
    return replace(prepared, data_dir=str(tmp_path))


def opened(source: ImageSource, *, mask: Mask = MASK, model: str = NAME, **options: Any) -> Session:
    knobs = options.pop("knobs", {})
    return Session.open(model, knobs, source, mask, **({"seed": 3, "share_stages": True} | options))


def steps(session: Session, count: int) -> list[dict[str, float]]:
    return [session.step() for _ in range(count)]


def without(result: dict[str, float], *names: str) -> dict[str, float]:
    return {name: value for name, value in result.items() if name not in names}


def assert_same_state(first: Session, second: Session) -> None:
    for name, network in first.model.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, second.model.networks[name].state_dict()[key]), (name, key)
        moments, others = (each.model.optimizers[name].state_dict()["state"] for each in (first, second))
        assert moments.keys() == others.keys()
        for number, entries in moments.items():
            assert all(torch.equal(value, others[number][key]) for key, value in entries.items())


def test_a_knob_of_filling_trains_once(source: ImageSource) -> None:
    first = opened(source, knobs={"taste": 0.0})
    told = steps(first, 3)
    second = opened(source, knobs={"taste": 0.2})
    again = steps(second, 3)
    assert len(Counting.units) == 3
    assert [result["reused"] for result in told + again] == [0, 0, 0, 1, 1, 1]
    training = ("loss", "noise", "epoch", "images_seen")
    assert [[result[name] for name in training] for result in told] == [[result[name] for name in training] for result in again]
    assert told[-1]["l2_hole"] != again[-1]["l2_hole"]
    assert_same_state(first, second)
    assert (second.steps, second.images_seen) == (3, 72)


@pytest.mark.parametrize(
    "change",
    [
        {"knobs": {"rate": 0.25}},
        {"knobs": {"batch_images": 4}},
        {"seed": 4},
        {"step_images": 16},
        {"mask": Mask("centre", 6)},
        {"train": 16},
        {"model": f"{OtherCounting.__module__}:OtherCounting"},
    ],
)
def test_whatever_training_depends_on_trains_again(change: dict[str, Any], source: ImageSource) -> None:
    opened(source).step()
    change = dict(change)
    other = opened(replace(source, train=change.pop("train", source.train)), **change)
    assert other.step()["reused"] == 0
    assert len(Counting.units) == 2


def test_a_knob_of_a_later_stage_trains_the_later_stage_alone(source: ImageSource) -> None:
    """One epoch of the first network; the second one, of another size, comes after it."""
    steps(opened(source, knobs={"width": 2}), 2)
    other = opened(source, knobs={"width": 5})
    assert [result["reused"] for result in steps(other, 2)] == [1, 0]
    assert len(Counting.units) == 3
    alone = opened(source, knobs={"width": 5}, share_stages=False)
    steps(alone, 2)
    assert_same_state(other, alone)


def test_training_that_is_taken_over_is_that_of_a_run_alone(source: ImageSource) -> None:
    steps(opened(source), 2)
    mixed, alone = opened(source), opened(source, share_stages=False)
    shared, expected = steps(mixed, 4), steps(alone, 4)
    assert [result["reused"] for result in shared] == [1, 1, 0, 0]
    assert [result["reused"] for result in expected] == [0, 0, 0, 0]
    assert [without(result, "reused") for result in shared] == [without(result, "reused") for result in expected]
    assert_same_state(mixed, alone)
    assert mixed.best is not None
    assert alone.best is not None
    assert (mixed.best["step"], mixed.best["value"]) == (alone.best["step"], alone.best["value"])


@pytest.mark.parametrize("cached", [True, False])
def test_a_resumed_run_goes_on_exactly(cached: bool, source: ImageSource, tmp_path: Path) -> None:
    """Whether the next step is there or has to be trained."""
    alone = opened(source, share_stages=False)
    expected = steps(alone, 3)
    stopped = opened(source)
    steps(stopped, 1)
    stopped.save(tmp_path)
    if cached:
        steps(opened(source), 3)
    resumed = opened(source)
    resumed.load(tmp_path)
    again = steps(resumed, 2)
    assert [result["reused"] for result in again] == [float(cached)] * 2
    assert [without(result, "reused") for result in again] == [without(result, "reused") for result in expected[1:]]
    assert_same_state(resumed, alone)


def test_weights_that_came_from_elsewhere_are_neither_shared_nor_replaced(source: ImageSource, tmp_path: Path) -> None:
    """A checkpoint of another rate, and weights that were put back to the best step's."""
    foreign = opened(source, knobs={"rate": 0.25}, share_stages=False)
    steps(foreign, 1)
    foreign.save(tmp_path)
    steps(opened(source), 2)
    loaded = opened(source)
    loaded.load(tmp_path)
    before = len(Counting.units)
    assert loaded.step()["reused"] == 0
    put_back = opened(source)
    steps(put_back, 1)
    put_back.restore_best()
    assert put_back.step()["reused"] == 0
    assert len(Counting.units) == before + 2
    assert opened(source).step()["reused"] == 1


def test_a_checkpoint_of_other_code_is_not_shared(source: ImageSource, tmp_path: Path) -> None:
    session = opened(source)
    session.step()
    session.save(tmp_path)
    state = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    torch.save(state | {"stage": "0" * 32}, tmp_path / CHECKPOINT_FILE)
    steps(opened(source), 2)
    resumed = opened(source)
    resumed.load(tmp_path)
    assert resumed.step()["reused"] == 0


def test_a_step_that_diverged_is_not_kept(source: ImageSource) -> None:
    for _ in range(2):
        result = opened(source, knobs={"diverge": True}).step()
        assert (set(result), result["reused"]) == ({"loss", "epoch", "images_seen", "reused"}, 0.0)
    assert len(Counting.units) == 2
    assert not list((source.folder / "stages").glob("*.pt"))


def test_it_is_off_unless_asked_for_and_for_models_that_do_not_share(source: ImageSource) -> None:
    for _ in range(2):
        assert opened(source, share_stages=False).step()["reused"] == 0
    plain = opened(source, model="cnn_autoencoder", knobs={"base_filters": 8, "bottleneck": 256, "batch_images": 8})
    assert "reused" not in plain.step()
    assert not (source.folder / "stages").exists()


def test_a_stage_holds_the_networks_that_training_has_changed(source: ImageSource) -> None:
    steps(opened(source), 2)
    held = [set(torch.load(path, weights_only=True)["state"]["networks"]) for path in (source.folder / "stages").glob("*.pt")]
    assert sorted(held, key=len) == [{"early"}, {"early", "late"}]


def test_a_name_changes_with_every_knob_and_fact_and_with_nothing_else() -> None:
    name = stage_key(Counting, {"rate": 0.5, "width": 2}, seed=1, steps=2)
    assert name == stage_key(Counting, {"width": 2, "rate": 0.5}, steps=2, seed=1)
    assert len(name) == 32
    others = [
        stage_key(Counting, {"rate": 0.25, "width": 2}, seed=1, steps=2),
        stage_key(Counting, {"rate": 0.5}, seed=1, steps=2),
        stage_key(Counting, {"rate": 0.5, "width": 2}, seed=2, steps=2),
        stage_key(Counting, {"rate": 0.5, "width": 2}, seed=1, steps=3),
        stage_key(OtherCounting, {"rate": 0.5, "width": 2}, seed=1, steps=2),
    ]
    assert len({name, *others}) == 6


def test_the_code_of_a_users_own_model_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line more in its file, and one in a file that it derives from."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_base.py").write_text("from tests.trainables.counting_model import Counting\nclass Base(Counting): pass\n")
    (tmp_path / "own_model.py").write_text("from own_base import Base\nclass Own(Base): pass\n")
    own = importlib.import_module("own_model").Own
    versions = [code_version.__wrapped__(own)]
    for file in ("own_model.py", "own_base.py"):
        with (tmp_path / file).open("a") as code:
            code.write("# another line\n")
        versions.append(code_version.__wrapped__(own))
    assert len(set(versions)) == 3
    for name in ("own_model", "own_base"):
        del sys.modules[name]
