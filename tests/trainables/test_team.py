"""Training in two real processes against one, and what is left of them when something goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import gone
from tests.trainables.fateful_processes import NAME
from trainables.data import ImageSource, Mask
from trainables.errors import CheckpointError, ConfigError, ProcessError
from trainables.session import CHECKPOINT_FILE, Session
from trainables.team import TeamSession, gpu_of

KNOBS = {"base_filters": 16, "bottleneck": 64, "batch_images": 8, "dropout": 0.0, "mirror": True, "hue": 0.1}
MASK = Mask("centre", 8)
STEPS, RESUMED = 3, 1
HANG_S = 20.0


@pytest.fixture(scope="module")
def source(data_dir: str) -> ImageSource:
    return ImageSource("photos", 32, 32, 8, 8, data_dir=data_dir)


def team(source: ImageSource, fate: str = "well", **options: Any) -> TeamSession:
    return TeamSession.open(NAME, KNOBS | {"fate": fate}, source, MASK, seed=3, processes=2, threads=1, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / CHECKPOINT_FILE, weights_only=True)["model"]["networks"]["network"]
    return found


@pytest.fixture(scope="module")
def single(source: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], list[Path]]:
    """What one process reports step by step, and its checkpoints."""
    session = Session.open(NAME, KNOBS, source, MASK, seed=3)
    results, folders = [], []
    for _ in range(STEPS + RESUMED):
        results.append(session.step())
        folders.append(tmp_path_factory.mktemp("single"))
        session.save(folders[-1])
    return results, folders


@pytest.fixture(scope="module")
def double(source: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], list[Path], list[int]]:
    """The same of two processes, with their ids; they are ended."""
    results, folders = [], []
    with team(source) as session:
        ids = session.process_ids
        for _ in range(STEPS + RESUMED):
            results.append(session.step())
            folders.append(tmp_path_factory.mktemp("double"))
            session.save(folders[-1])
        assert (session.steps, session.images_seen, session.epoch) == (STEPS + RESUMED, 32 * (STEPS + RESUMED), STEPS + RESUMED)
        assert session.parameters == sum(value.numel() for name, value in weights(folders[0]).items() if name.endswith(("weight", "bias")))
        assert session.memory_gib > 0
        assert session.collapse_reason == ""
    return results, folders, ids


Run = tuple[list[dict[str, float]], list[Path]]


def test_two_processes_learn_what_one_learns(single: Run, double: tuple[list[dict[str, float]], list[Path], list[int]]) -> None:
    first, expected = weights(single[1][0]), weights(single[1][STEPS - 1])
    trained = weights(double[1][STEPS - 1])
    assert list(trained) == list(expected)
    assert (
        max(float((expected[name].double() - first[name].double()).abs().max()) for name in expected) > 1e-2
    )  # there was something to learn
    for name, value in expected.items():
        torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    for told, alone in zip(double[0], single[0], strict=True):
        assert set(told) == set(alone)
        for name in ("loss", "l2_hole", "train_l2_hole", "psnr_hole", "epoch", "images_seen"):
            assert told[name] == pytest.approx(alone[name], rel=1e-3), name


def test_each_process_has_half_of_the_images_and_draws_of_its_own(
    single: Run, double: tuple[list[dict[str, float]], list[Path], list[int]]
) -> None:
    assert [(told["images"], told["rank"]) for told in double[0]] == [(16.0, 0.5)] * (STEPS + RESUMED)
    assert [(told["images"], told["rank"]) for told in single[0]] == [(32.0, 0.0)] * (STEPS + RESUMED)
    others = [2 * told["drawn"] - alone["drawn"] for told, alone in zip(double[0], single[0], strict=True)]  # the second process's draws
    assert all(0 <= drawn < 1 for drawn in others)
    assert len({*others, *(alone["drawn"] for alone in single[0])}) == 2 * (STEPS + RESUMED)


def test_one_process_goes_on_from_twos_checkpoint(
    source: ImageSource, double: tuple[list[dict[str, float]], list[Path], list[int]], tmp_path: Path
) -> None:
    session = Session.open(NAME, KNOBS, source, MASK, seed=3)
    session.load(double[1][STEPS - 1])
    assert session.steps == STEPS
    assert session.step()["l2_hole"] == pytest.approx(double[0][STEPS]["l2_hole"], rel=1e-3)
    session.save(tmp_path)
    for name, value in weights(double[1][STEPS]).items():
        torch.testing.assert_close(weights(tmp_path)[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_two_processes_go_on_from_a_checkpoint(
    source: ImageSource, single: Run, double: tuple[list[dict[str, float]], list[Path], list[int]], tmp_path: Path
) -> None:
    with team(source) as session:
        session.load(double[1][STEPS - 1])
        assert session.step() == double[0][STEPS]  # as if they had never stopped, draws and all
        session.load(single[1][STEPS - 1])
        again = session.step()
        assert again["l2_hole"] == pytest.approx(single[0][STEPS]["l2_hole"], rel=1e-3)
        assert again["drawn"] == double[0][STEPS]["drawn"]
        session.restore_best()
        assert session.evaluate("validation")["l2_hole"] == min(again["l2_hole"], *(told["l2_hole"] for told in single[0][:STEPS]))
        session.step()  # the second process takes over what was put back
        (tmp_path / CHECKPOINT_FILE).write_bytes(b"torn")
        with pytest.raises(CheckpointError, match="must be a whole checkpoint"):
            session.load(tmp_path)
        with pytest.raises(ProcessError, match="they were ended; open the session again"):
            session.step()


def test_closing_ends_the_processes(double: tuple[list[dict[str, float]], list[Path], list[int]]) -> None:
    assert len(set(double[2])) == 2
    assert all(gone(process) for process in double[2])


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        ("die", r"must live as long as the training, but process 1 was ended by SIGKILL"),
        ("hang", r"process 0 of the 2 that train together failed with RuntimeError: .*[Tt]imed out.*; no word from process 1"),
        ("raise", r"process 1 of the 2 that train together failed with RuntimeError: a bug in the model; no word from process 0"),
    ],
)
@pytest.mark.conformance
def test_a_process_that_fails_is_told_and_ends_the_others(fate: str, message: str, source: ImageSource) -> None:
    with team(source, fate, timeout_s=HANG_S if fate == "hang" else 600.0) as session:
        ids = session.process_ids
        session.step()
        with pytest.raises(ProcessError, match=message) as caught:
            session.step()
        assert "\n" not in str(caught.value)
        assert all(gone(process) for process in ids)


def test_a_configuration_that_a_process_refuses_is_told_as_it_is(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match="fate must not be 'refuse', but it is; choose another"):
        team(source, "refuse")


@pytest.mark.conformance
def test_no_process_outlives_the_one_that_opened_the_session(source: ImageSource) -> None:
    code = (
        f"from trainables import ImageSource, Mask, TeamSession\n"
        f"team = TeamSession.open({NAME!r}, {KNOBS!r}, {source!r}, {MASK!r}, processes=2, threads=1)\n"
        "print(*team.process_ids, flush=True)\n"
        "input()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        ids = [int(word) for word in leader.stdout.readline().split()]
        assert len(ids) == 2
        leader.send_signal(signal.SIGKILL)
    assert all(gone(process) for process in ids)


@pytest.mark.parametrize(("visible", "names"), [(None, ["0", "1"]), ("3,5", ["3", "5"]), ("GPU-a1, GPU-b2,GPU-c3", ["GPU-a1", "GPU-b2"])])
def test_each_process_sees_a_gpu_of_its_own(visible: str | None, names: list[str]) -> None:
    assert [gpu_of(rank, visible) for rank in range(2)] == names


def test_fewer_gpus_than_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="each process needs a GPU of its own, but got CUDA_VISIBLE_DEVICES='3' for 2 processes or more"):
        gpu_of(1, "3")
