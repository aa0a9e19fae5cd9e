"""Recorded steps train as unrecorded ones. What captures a graph needs a GPU; the rest is tested anywhere."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.data import Batch, ImageSource, Mask
from trainables.recorded import _density_step, _density_unit, _neighbour_step, _neighbour_unit, is_recorded, record_steps
from trainables.recorded_session import RecordedSession
from trainables.registry import load_model
from trainables.session import CHECKPOINT_FILE, Session

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="captures CUDA graphs")

PATCH = {"base_filters": 8, "bottleneck": 32, "dropout": 0.0}
GAME = PATCH | {"discriminator_filters": 8, "discriminator_steps": 2}
ROWS = {"hidden": 8, "layers": 1, "output_features": 32}
SEARCH = {"base_filters": 8, "latent": 16, "search_steps": 2, "dropout": 0.0}
PATCH_GAME = {"discriminator_filters": 4}
IRREGULAR = Mask("irregular", ratio_low=0.1, ratio_high=0.3)
CASES: dict[str, tuple[str, dict[str, Any], Mask]] = {
    "cnn_autoencoder": ("cnn_autoencoder", PATCH | {"overlap_px": 2}, Mask()),
    "cnn_autoencoder, dropout": ("cnn_autoencoder", PATCH | {"dropout": 0.5}, Mask()),
    "dcgan": ("dcgan", GAME, Mask()),
    "wgan": ("wgan", GAME, Mask()),
    "wgan, penalty": ("wgan", GAME | {"lipschitz": "penalty"}, Mask()),
    "pixel_cnn": ("pixel_cnn", {"filters": 32, "hidden": 64, "depth": 1, "positions": 8, "dropout": 0.0}, Mask()),
    "flat_row_lstm": ("flat_row_lstm", {"hidden": 32, "embedding": 16}, Mask()),
    "row_lstm": ("row_lstm", ROWS, Mask()),
    "diagonal_bilstm": ("diagonal_bilstm", ROWS | {"optimizer": "adam"}, Mask()),
    "direct_cnn": ("direct_cnn", {"filters": 8}, Mask("random_square")),
    "image_autoencoder": ("image_autoencoder", {"base_filters": 4, "mirror": True, "first_stage": "ring_mean"}, Mask()),
    "patch_autoencoder": ("patch_autoencoder", {"base_filters": 4, "latent": 32}, Mask("random_square")),
    "cvae": ("cvae", {"base_filters": 4, "latent": 64}, Mask()),
    "completion_gan": ("completion_gan", {"filters": 8, "known_discriminator": True, "discriminator_dropout": 0.0}, Mask()),
    "neighbour_network": ("neighbour_network", {"hidden": 8, "positions": 32}, Mask()),
    "context_encoder": ("context_encoder", {"base_filters": 8, "discriminator_filters": 8, "latent": 32}, Mask()),
    "pconv_unet": ("pconv_unet", {"base_filters": 8, "perceptual_features": "random", "fine_tune_epoch": 1.0}, IRREGULAR),
    "pconv_unet, chosen": ("pconv_unet", {"base_filters": 8, "perceptual_features": "random", "perceptual_images": 3}, IRREGULAR),
    "lsgan": ("lsgan", SEARCH, Mask()),
    "lsgan_autoencoder": ("lsgan_autoencoder", SEARCH | {"autoencoder_filters": 4, "gan_epochs": 1.0, "refine_images": 8}, Mask()),
    "pluralistic": ("pluralistic", {"base_filters": 4, "latent": 8} | PATCH_GAME, Mask()),
    "progressive": ("progressive", {"coarse_filters": 4, "refinement_filters": 4} | PATCH_GAME, Mask()),
    "animal_autoencoder": (
        "animal_autoencoder",
        {"base_filters": 4, "dense": 32, "decoder_filters": 4, "discriminator_epoch": 1.0} | PATCH_GAME,
        Mask(),
    ),
}
BATCH, BATCHES = 8, 10  # images a batch, batches a step; 6 batches are an epoch
RATES = ("learning_rate", "discriminator_learning_rate", "refine_learning_rate", "fine_tune_learning_rate")


def opened(case: str, data_dir: str, device: str, *, recorded: bool) -> Session:
    """A session of small rates that change in the middle of a step: games at full ones make much of every rounding."""
    name, knobs, mask = CASES[case]
    fields = {field.name: field.default for field in dataclasses.fields(load_model(name).Config)}
    further: dict[str, Any] = {"batch_images": BATCH} | {rate: fields[rate] / 100 for rate in RATES if rate in fields}
    further |= {"decay_factor": 0.5, "decay_epochs": 1.0} if "decay_epochs" in fields else {}
    source = ImageSource("photos", 32, 48, 8, 8, data_dir=data_dir)
    kind = RecordedSession if recorded else Session
    return kind.open(name, further | knobs, source, mask, device=device, step_images=BATCH * BATCHES)


@pytest.fixture
def repeatable() -> Iterator[None]:
    """cuDNN's algorithms that give the same sums each time."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = before


@needs_gpu
@pytest.mark.usefixtures("repeatable")
@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_train_as_unrecorded_ones_through_new_rates_phases_and_checkpoints(case: str, data_dir: str, tmp_path: Path) -> None:
    plain, fast = (opened(case, data_dir, "cuda", recorded=recorded) for recorded in (False, True))
    for part in range(3):
        if part == 2:
            fast.save(tmp_path)
            fast.load(tmp_path)
        expected, got = plain.train(), fast.train()
        assert got == pytest.approx(expected, rel=2e-3, abs=1e-5), f"step {part}"
    assert isinstance(fast, RecordedSession)
    assert [step.obstacle for step in fast.recordings] == [""] * len(fast.recordings)
    assert sum(step.replays for step in fast.recordings) >= BATCHES
    assert plain.evaluate("validation")["l2_hole"] == pytest.approx(fast.evaluate("validation")["l2_hole"], rel=2e-3)


@needs_gpu
@pytest.mark.parametrize("case", ["wgan", "diagonal_bilstm", "lsgan"])
def test_a_checkpoint_of_recorded_steps_goes_on_on_a_cpu_and_back(case: str, data_dir: str, tmp_path: Path) -> None:
    fast, plain = opened(case, data_dir, "cuda", recorded=True), opened(case, data_dir, "cpu", recorded=False)
    fast.train()
    fast.save(tmp_path)
    plain.load(tmp_path)
    assert math.isfinite(plain.train()["loss"])
    plain.save(tmp_path)
    fast.load(tmp_path)
    assert math.isfinite(fast.train()["loss"])
    assert torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["steps"] == 2


@needs_gpu
def test_one_batch_at_a_time_is_recorded_too(data_dir: str) -> None:
    session = opened("dcgan", data_dir, "cuda", recorded=True)
    batch = Batch(torch.rand(BATCH, 3, 32, 32, device="cuda"), torch.ones(BATCH, 1, 32, 32, device="cuda"), 0.0)
    losses = [session.model.train_unit([batch])["loss"] for _ in range(8)]
    assert len(set(losses)) == 8
    assert isinstance(session, RecordedSession)
    assert session.recordings[0].replays == 5


@needs_gpu
def test_a_first_stage_on_the_cpu_is_not_recorded_and_trains_as_ever(data_dir: str) -> None:
    session = RecordedSession.open(
        "direct_cnn",
        {"filters": 8, "batch_images": BATCH, "first_stage": "telea"},
        ImageSource("photos", 32, 48, 8, 8, data_dir=data_dir),
        Mask(),
        device="cuda",
    )
    assert math.isfinite(session.train()["loss"])
    assert "off the device" in session.recordings[0].obstacle


@pytest.mark.parametrize("case", ["dcgan", "pconv_unet", "image_autoencoder"])
def test_on_a_cpu_a_recorded_session_is_a_session_to_the_last_bit(case: str, data_dir: str) -> None:
    plain, other = (opened(case, data_dir, "cpu", recorded=recorded) for recorded in (False, True))
    before = dict(vars(other.model))
    assert record_steps(other.model) == []
    assert not is_recorded(other.model)
    assert vars(other.model).keys() == before.keys()
    assert other.train() == plain.train()


@pytest.mark.parametrize("case", ["cnn_autoencoder", "direct_cnn", "image_autoencoder", "pconv_unet"])
def test_batches_made_while_the_gpu_computes_are_those_of_a_session(case: str, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[bool, list[Batch]] = {}
    for recorded in (False, True):
        session = opened(case, data_dir, "cpu", recorded=recorded)
        seen = given.setdefault(recorded, [])

        def train_unit(batches: Iterable[Batch], seen: list[Batch] = seen) -> dict[str, float]:
            seen.extend(batches)
            return {}

        monkeypatch.setattr(session.model, "train_unit", train_unit)
        if isinstance(session, RecordedSession):
            session.device = torch.device("cuda")  # the stream of batches keeps its own
        for _ in range(2):
            session.train()
    assert len(given[True]) == len(given[False]) == 2 * BATCHES
    for one, other in zip(given[True], given[False], strict=True):
        assert one.epoch == other.epoch
        assert torch.equal(one.image, other.image)
        assert one.image.stride() == other.image.stride()
        assert torch.equal(one.known, other.known)


@pytest.mark.parametrize("case", ["pixel_cnn", "flat_row_lstm", "neighbour_network"])
def test_the_steps_written_anew_are_those_of_the_models(case: str, data_dir: str) -> None:
    plain, other = (opened(case, data_dir, "cpu", recorded=False) for _ in range(2))
    model: Any = other.model
    unit, step = (_neighbour_unit, _neighbour_step) if case == "neighbour_network" else (_density_unit, _density_step)
    config = dataclasses.replace(model.config, decay_factor=1.0)  # rates are set beside the step
    plain.model.config = other.model.config = config
    model.train_unit = unit(model, step(model))
    assert other.train() == plain.train()
