"""What holds for every registered model, whoever wrote it."""

import dataclasses
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces import SPACES, Choice, Interval
from trainables.data import ImageSource, Mask, to_tensor
from trainables.metrics import METRICS
from trainables.model import InpaintingModel, build_config
from trainables.registry import MODELS, load_model
from trainables.session import CHECKPOINT_FILE, Session

# Knobs that make a model small enough to be trained here; the others keep the paper's values.
_PATCH = {"base_filters": 16, "bottleneck": 256, "batch_images": 8}
_GAME = _PATCH | {"discriminator_filters": 16, "discriminator_steps": 2}
_ROWS = {"hidden": 8, "layers": 1, "output_features": 32, "batch_images": 8}
_SEARCH = {"base_filters": 8, "latent": 16, "batch_images": 8, "search_steps": 3}
TINY: dict[str, dict[str, Any]] = {"cnn_autoencoder": _PATCH, "dcgan": _GAME, "wgan": _GAME} | {
    "pixel_cnn": {"filters": 32, "hidden": 64, "depth": 1, "positions": 8, "batch_images": 16},
    "flat_row_lstm": {"hidden": 32, "embedding": 16, "batch_images": 8},
    "row_lstm": _ROWS,
    "diagonal_bilstm": _ROWS,
    "direct_cnn": {"filters": 8, "batch_images": 8},
    "image_autoencoder": {"base_filters": 4, "batch_images": 8},
    "patch_autoencoder": {"base_filters": 4, "latent": 32, "batch_images": 8},
    "cvae": {"base_filters": 4, "latent": 64, "batch_images": 8},
    "completion_gan": {"filters": 8, "batch_images": 8, "known_discriminator": True},
    "classical_fill": {"method": "ring_mean", "batch_images": 8},
    "pixel_regression": {"batch_images": 8},
    "neighbour_network": {"hidden": 8, "positions": 32, "batch_images": 8},
    "context_encoder": {"base_filters": 8, "discriminator_filters": 8, "latent": 32, "batch_images": 8},
    "pconv_unet": {"base_filters": 8, "perceptual_features": "random", "batch_images": 4},
    "lsgan": _SEARCH,
    "lsgan_autoencoder": _SEARCH | {"autoencoder_filters": 4, "gan_epochs": 0.5, "refine_images": 4},
    "pluralistic": {"base_filters": 4, "latent": 8, "discriminator_filters": 4, "samples": 2, "batch_images": 8},
    "progressive": {"coarse_filters": 4, "refinement_filters": 4, "discriminator_filters": 4, "batch_images": 8},
    "animal_autoencoder": {"base_filters": 4, "dense": 32, "decoder_filters": 4, "batch_images": 8},
}
IMAGE_PX: dict[str, int] = {}  # where 32 px is not what the model takes
# Where a knob's values ask something of another one: the other knobs with which all of them are allowed.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("pconv_unet", "perceptual_images"): {"batch_images": 8},
    ("pconv_unet", "accumulation_steps"): {"batch_images": 8},
    ("pluralistic", "adversarial_weight"): {"fill_with": "mean"},
    ("animal_autoencoder", "hole_weight"): {"overlap_px": 4},
}

every_model = pytest.mark.parametrize("name", MODELS)


def knobs_of(name: str) -> dict[str, Any]:
    """The model's tiny knobs; a batch of 8 where nothing is said."""
    fields = {field.name for field in dataclasses.fields(load_model(name).Config)}
    return TINY.get(name, {"batch_images": 8} if "batch_images" in fields else {})


def mask_of(name: str) -> Mask:
    """An 8 px hole of the first kind that the model fills."""
    return Mask(sorted(load_model(name).masks)[0], 8)  # type: ignore[arg-type]


def opened(name: str, data_dir: str, seed: int = 0) -> Session:
    source = ImageSource("photos", IMAGE_PX.get(name, 32), 16, 8, 8, data_dir=data_dir)
    return Session.open(name, knobs_of(name), source, mask_of(name), seed=seed)


def flat(state: Any) -> list[Any]:
    """The leaves of nested dicts and lists, in order."""
    if isinstance(state, dict):
        return [leaf for key in state for leaf in [key, *flat(state[key])]]
    if isinstance(state, list | tuple):
        return [leaf for item in state for leaf in flat(item)]
    return [state]


def assert_equal_states(first: Any, second: Any) -> None:
    leaves, others = flat(first), flat(second)
    assert len(leaves) == len(others)
    for leaf, other in zip(leaves, others, strict=True):
        assert torch.equal(leaf.cpu(), other.cpu()) if isinstance(leaf, torch.Tensor) else leaf == other


def test_models_and_spaces_have_the_same_names() -> None:
    assert set(SPACES) == set(MODELS)


@every_model
def test_one_stem_names_a_model_everywhere(name: str) -> None:
    assert MODELS[name].startswith(f"trainables.{name}:")
    assert import_module(f"search_spaces.{name}").SPACE is SPACES[name]
    assert Path(__file__).with_name(f"test_{name}.py").is_file()


@every_model
def test_knobs_are_the_configs_fields_with_the_papers_values(name: str) -> None:
    fields = {field.name: field.default for field in dataclasses.fields(load_model(name).Config)}
    assert fields == {knob: described.paper for knob, described in SPACES[name].items()}
    for knob, described in SPACES[name].items():
        assert isinstance(fields[knob], bool) == isinstance(described.paper, bool), knob
        assert described.holds(fields[knob]), knob


@every_model
def test_every_value_of_every_knob_makes_a_config(name: str) -> None:
    """All values of a choice and both ends of an interval, the other knobs at the paper's values."""
    for knob, described in SPACES[name].items():
        beside = BESIDE.get((name, knob), {})
        values = described.values if isinstance(described, Choice) else (described.low, described.high)
        for value in values:
            value = int(value) if isinstance(described, Interval) and described.kind == "int" else value
            assert described.holds(value), knob
            assert getattr(build_config(load_model(name), beside | {knob: value}), knob) == value


@every_model
def test_the_config_is_frozen_and_describes_each_field(name: str) -> None:
    config = load_model(name).Config
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    described = "\n".join(kind.__doc__ or "" for kind in config.__mro__)
    for field in dataclasses.fields(config):
        assert f"{field.name}:" in described, field.name


@every_model
def test_the_module_says_its_source_and_deviations(name: str) -> None:
    documentation = sys.modules[load_model(name).__module__].__doc__ or ""
    assert "Source:" in documentation
    assert "Deviations:" in documentation


@every_model
def test_extra_metrics_take_no_name_that_is_taken(name: str) -> None:
    extra = load_model(name).extra_metrics
    assert not set(extra) & (set(METRICS) | {"loss", "epoch", "images_seen", "train_l2_hole"})
    assert all(metric.unit and metric.meaning for metric in extra.values())


@every_model
def test_a_step_trains_and_reports_what_it_promises(name: str, data_dir: str) -> None:
    session = opened(name, data_dir)
    before = {key: network.state_dict() for key, network in session.model.networks.items()}
    before = {key: {entry: value.clone() for entry, value in state.items()} for key, state in before.items()}
    result = session.step()
    assert set(result) == set(METRICS) | set(session.model.extra_metrics) | {"loss", "train_l2_hole", "epoch", "images_seen"}
    assert all(type(value) is float for value in result.values())
    assert math.isfinite(result["loss"])
    assert math.isfinite(result["l2_hole"])
    for key, state in before.items():  # every network is trained
        after = session.model.networks[key].state_dict()
        assert any(not torch.equal(value, after[entry]) for entry, value in state.items()), key


@every_model
def test_fill_keeps_known_pixels_and_never_reads_the_hole(name: str, data_dir: str) -> None:
    session = opened(name, data_dir)
    session.step()
    image = to_tensor(session.images.validation[:4], session.device)
    known = session.model.mask.sample(4, image.shape[-1], np.random.default_rng(0))
    visible = known.expand_as(image) > 0
    torch.manual_seed(0)
    filled = session.model.fill(image, known)
    assert filled.shape == image.shape
    assert filled.dtype == torch.float32
    assert torch.equal(filled[visible], image[visible])
    assert float(filled.min()) >= 0
    assert float(filled.max()) <= 1
    torch.manual_seed(0)
    assert torch.equal(session.model.fill(torch.where(visible, image, 1 - image), known), filled)


@every_model
def test_fill_changes_no_state(name: str, data_dir: str) -> None:
    session = opened(name, data_dir)
    before = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in flat(session.model.state_dict())]
    session.evaluate("validation")
    assert_equal_states(before, flat(session.model.state_dict()))


@every_model
def test_a_restored_run_continues_exactly(name: str, data_dir: str, tmp_path: Path) -> None:
    straight = opened(name, data_dir)
    expected = [straight.step() for _ in range(2)]
    stopped = opened(name, data_dir)
    assert stopped.step() == expected[0]
    stopped.save(tmp_path)
    resumed = opened(name, data_dir)
    resumed.load(tmp_path)
    assert resumed.step() == expected[1]
    assert_equal_states(straight.model.state_dict(), resumed.model.state_dict())


@every_model
def test_state_is_tensors_and_plain_values_alone(name: str, data_dir: str, tmp_path: Path) -> None:
    session = opened(name, data_dir)
    session.step()
    session.save(tmp_path)
    state = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    assert_equal_states(state["model"], session.model.state_dict())


@every_model
def test_a_loaded_state_is_shared_by_no_two_models(name: str, data_dir: str) -> None:
    first, second = opened(name, data_dir), opened(name, data_dir)
    first.step()
    second.model.load_state_dict(first.model.state_dict())
    before = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in flat(second.model.state_dict())]
    first.step()
    assert_equal_states(before, flat(second.model.state_dict()))


def test_a_loaded_state_keeps_the_learning_rate_of_the_models_own_configuration(data_dir: str) -> None:
    """A population's trial goes on from another one's checkpoint with another rate; wgan sets its rates once, when it is built."""
    donor = opened("wgan", data_dir)
    donor.step()
    kind, state = load_model("wgan"), donor.model.state_dict()
    model = kind(build_config(kind, knobs_of("wgan") | {"learning_rate": 3e-5}), 32, mask_of("wgan"))
    model.load_state_dict(state)
    assert model.optimizers["network"].param_groups[0]["lr"] == 3e-5
    loaded = model.state_dict()["optimizers"]["network"]["state"]
    assert flat(loaded) != []
    for got, expected in zip(flat(loaded), flat(state["optimizers"]["network"]["state"]), strict=True):
        assert torch.equal(got, expected) if isinstance(got, torch.Tensor) else got == expected


@every_model
def test_the_same_seed_builds_the_same_model(name: str, data_dir: str) -> None:
    torch.manual_seed(1)
    first = opened(name, data_dir, seed=3)
    torch.manual_seed(2)
    assert_equal_states(first.model.state_dict(), opened(name, data_dir, seed=3).model.state_dict())
    other = opened(name, data_dir, seed=4).model
    if first.model.parameters:
        weights = [leaf for leaf in flat(first.model.state_dict()["networks"]) if isinstance(leaf, torch.Tensor)]
        others = [leaf for leaf in flat(other.state_dict()["networks"]) if isinstance(leaf, torch.Tensor)]
        assert any(not torch.equal(one, two) for one, two in zip(weights, others, strict=True))


@every_model
def test_the_papers_own_configuration_builds(name: str) -> None:
    kind = load_model(name)
    model = kind(build_config(kind, {}), IMAGE_PX.get(name, 32), mask_of(name))
    assert isinstance(model, InpaintingModel)
    assert set(model.optimizers) <= set(model.networks)
