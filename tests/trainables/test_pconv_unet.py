from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from search_spaces import Choice, Value
from search_spaces.pconv_unet import SPACE
from trainables.data import Augmentation, Batch, ImageSource, Mask
from trainables.errors import ConfigError
from trainables.pconv_unet import PconvUnet, PconvUnetConfig
from trainables.session import Session

TINY = PconvUnetConfig(base_filters=8, batch_images=8, perceptual_features="random")
PLAIN = replace(TINY, perceptual_weight=0.0, style_weight=0.0)  # no VGG
HOLES = Mask("strokes")


def built(config: PconvUnetConfig = TINY, image_px: int = 32, mask: Mask = HOLES) -> PconvUnet:
    torch.manual_seed(0)
    return PconvUnet(config, image_px, mask)


def sample(count: int = 8, image_px: int = 32, mask: Mask = HOLES) -> tuple[Tensor, Tensor]:
    image = torch.rand(count, 3, image_px, image_px, generator=torch.Generator().manual_seed(1))
    return image, mask.sample(count, image_px, np.random.default_rng(0))


def every(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def weights(model: PconvUnet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


@pytest.mark.parametrize(
    ("image_px", "depth", "message"),
    [
        (33, 0, "image size must be even and at least 4, but got 33"),
        (2, 0, "image size must be even and at least 4, but got 2"),
        (36, 3, r"multiple of 2 \*\* depth = 8 and at least twice that, but got 36; use a depth of at most 2, or 0"),
        (32, 5, r"multiple of 2 \*\* depth = 32 and at least twice that, but got 32; use a depth of at most 4, or 0"),
    ],
)
def test_sizes_that_cannot_work(image_px: int, depth: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(replace(PLAIN, depth=depth), image_px)


def test_images_too_small_for_vggs_features_are_refused_where_they_are_compared() -> None:
    with pytest.raises(ConfigError, match="features need images of at least 8 px, but got 4; set both their weights to 0"):
        built(image_px=4)
    built(PLAIN, image_px=4)


@pytest.mark.parametrize("mask", [Mask("centre", 12), Mask("random_square", 12), HOLES])
@pytest.mark.parametrize(("image_px", "depth"), [(32, 0), (48, 0), (40, 2)])
def test_every_hole_and_size_is_filled(image_px: int, depth: int, mask: Mask) -> None:
    model = built(replace(PLAIN, depth=depth), image_px, mask)
    image, known = sample(3, image_px, mask)
    filled = model.fill(image, known)
    assert filled.shape == image.shape
    assert bool(torch.isfinite(filled).all())


def test_a_large_batch_is_predicted_in_parts() -> None:
    model = built(PLAIN)
    image, known = sample(70)
    sizes: list[int] = []
    model.network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    filled = model.fill(image, known)
    assert sizes == [32, 32, 6]
    torch.testing.assert_close(filled[40:41], model.fill(image[40:41], known[40:41]))


def test_the_loss_is_equation_12() -> None:
    model = built()
    image, known = sample()
    model.set_phase(0.0)
    terms = {name: float(value.detach().mean()) for name, value in model.loss_terms(image, known, every(8)).items()}
    expected = (
        terms["loss_valid"]
        + 6 * terms["loss_hole"]
        + 0.05 * terms["loss_perceptual"]
        + 120 * terms["loss_style"]
        + 0.1 * terms["loss_total_variation"]
    )
    result = model.train_unit([Batch(image, known, 0.0)])
    assert result["loss"] == pytest.approx(expected, rel=1e-5)
    assert {name: result[name] for name in terms} == pytest.approx(terms, rel=1e-5)
    assert min(terms.values()) > 0


@pytest.mark.parametrize("name", ["valid", "hole", "perceptual", "style", "total_variation"])
def test_each_weight_belongs_to_its_term(name: str) -> None:
    alone = {f"{each}_weight": float(each == name) * 2 for each in ("valid", "hole", "perceptual", "style", "total_variation")}
    model = built(replace(TINY, **alone))  # type: ignore[arg-type]
    image, known = sample()
    result = model.train_unit([Batch(image, known, 0.0)])
    assert result["loss"] == pytest.approx(2 * result[f"loss_{name}"], rel=1e-6)
    assert result["loss"] > 0


def test_without_feature_terms_no_features_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(kind: str) -> None:
        raise AssertionError("features were asked for")

    monkeypatch.setattr("trainables.pconv_unet.VggFeatures", refused)
    image, known = sample()
    result = built(PLAIN).train_unit([Batch(image, known, 0.0)])
    assert (result["loss_perceptual"], result["loss_style"]) == (0, 0)
    built().fill(image, known)  # neither does filling need them


def test_features_are_no_part_of_the_model() -> None:
    model = built()
    before = model.parameters
    image, known = sample()
    model.train_unit([Batch(image, known, 0.0)])
    assert model.parameters == before
    assert set(model.state_dict()["networks"]["network"]) == set(built(PLAIN).state_dict()["networks"]["network"])


def test_the_feature_terms_join_at_their_epoch() -> None:
    model = built(replace(TINY, perceptual_epoch=2.0))
    image, known = sample()
    before, after = (model.train_unit([Batch(image, known, epoch)]) for epoch in (1.99, 2.0))
    assert (before["loss_perceptual"], before["loss_style"]) == (0, 0)
    assert min(after["loss_perceptual"], after["loss_style"]) > 0
    assert min(before["loss_hole"], before["loss_valid"]) > 0


@pytest.mark.parametrize("joining", [0.0, 5.0])
def test_missing_features_are_told_before_a_weight_changes(joining: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    with torch.device("meta"):
        PconvUnet(PconvUnetConfig(), 32, HOLES)  # what a sweep's validation does, where the weights may be missing
    model = built(replace(TINY, perceptual_features="imagenet", perceptual_epoch=joining))
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    image, known = sample()
    with pytest.raises(ConfigError, match="set perceptual_features: random"):
        model.train_unit([Batch(image, known, 0.0)])
    assert all(torch.equal(value, before[name]) for name, value in model.network.named_parameters())


def test_a_part_of_the_batch_stands_for_it_in_the_feature_terms() -> None:
    """Which images are looked at is drawn from torch's generator; the terms are their mean."""
    model = built(replace(TINY, perceptual_images=2), 16)
    image, known = sample(8, 16)
    model.set_phase(0.0)
    alone = {name: value.detach() for name, value in model.loss_terms(image, known, every(8)).items()}
    torch.manual_seed(5)
    chosen = torch.randperm(8)[:2]
    torch.manual_seed(5)
    result = model.train_unit([Batch(image, known, 0.0)])
    assert result["loss_style"] == pytest.approx(float(alone["loss_style"][chosen].mean()), rel=1e-4)
    assert result["loss_hole"] == pytest.approx(float(alone["loss_hole"].mean()), rel=1e-5)


@pytest.mark.parametrize("perceptual_images", [0, 2])
@pytest.mark.parametrize("steps", [3, 4])
def test_accumulation_gives_the_gradient_of_the_whole_batch(steps: int, perceptual_images: int) -> None:
    """Batch norm in evaluation mode, since its statistics are those of each part."""
    gradients = []
    for each in (1, steps):
        model = built(replace(TINY, batch_images=4, accumulation_steps=each, perceptual_images=perceptual_images), 16)
        model.set_phase = lambda epoch, model=model: model.network.eval()  # type: ignore[method-assign, misc]
        image, known = sample(4, 16)
        torch.manual_seed(7)
        result = model.train_unit([Batch(image, known, 0.0)])
        gradients.append([weight.grad for weight in model.network.parameters() if weight.grad is not None] + [torch.tensor(result["loss"])])
    assert len(gradients[0]) > 10
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-5 * max(1.0, float(whole.abs().max())), rtol=1e-3)


def test_the_fine_tuning_freezes_the_encoders_batch_norm_and_lowers_the_rate() -> None:
    model = built(replace(PLAIN, fine_tune_epoch=2.0))
    image, known = sample()
    model.train_unit([Batch(image, known, 1.99)])
    assert model.optimizers["network"].param_groups[0]["lr"] == 2e-4
    before = weights(model)
    model.train_unit([Batch(image, known, 2.0), Batch(image, known, 2.5)])
    assert model.optimizers["network"].param_groups[0]["lr"] == 5e-5
    frozen = {f"encoder.{name}" for name in model.network.encoder.state_dict() if ".norm." in name}
    assert len(frozen) == 3 * 5  # scale, shift, mean, variance and count of three layers
    for name, value in weights(model).items():
        assert torch.equal(value, before[name]) == (name in frozen), name
    model.train_unit([Batch(image, known, 1.0)])  # the epoch alone decides
    assert not torch.equal(model.network.state_dict()["encoder.1.norm.running_mean"], before["encoder.1.norm.running_mean"])


def test_a_run_resumed_across_the_switch_continues_exactly(data_dir: str, tmp_path: Path) -> None:
    def opened() -> Session:
        knobs = {"base_filters": 8, "batch_images": 4, "perceptual_features": "random", "fine_tune_epoch": 1.5, "perceptual_images": 1}
        source = ImageSource("photos", 16, 8, 8, 8, data_dir=data_dir)
        return Session.open("pconv_unet", knobs, source, HOLES)

    straight = opened()
    expected = [straight.step()["loss"] for _ in range(4)]
    session, losses = opened(), []
    for _ in range(4):  # a new process after every step, the switch in the second
        losses.append(session.step()["loss"])
        session.save(tmp_path)
        session = opened()
        session.load(tmp_path)
    assert losses == pytest.approx(expected, abs=1e-6)
    assert straight.model.optimizers["network"].param_groups[0]["lr"] == 5e-5


def ends(knob: Any) -> tuple[Value, ...]:
    """All values of a choice, both ends of an interval."""
    if isinstance(knob, Choice):
        return knob.values
    kind = int if knob.kind == "int" else float
    return kind(knob.low), kind(knob.high)


# Left out: trained features, which need their file, and a depth of 8, which needs 512 px.
CASES = [
    (name, value)
    for name, knob in SPACE.items()
    for value in ends(knob)
    if (name, value) not in {("perceptual_features", "imagenet"), ("depth", 8)}
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_every_value_of_every_knob_trains(name: str, value: Value) -> None:
    model = built(replace(TINY, **{name: value}), 16)  # type: ignore[arg-type]
    image, known = sample(model.batch_images, 16)
    before = weights(model)
    varied = model.augmentation.apply(image, torch.Generator().manual_seed(0))
    result = model.train_unit([Batch(varied, known, 0.0)])
    assert np.isfinite(result["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before.values(), model.network.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"hole_weight": -1.0}, "hole_weight must be at least 0, but got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0, but got nan"),
        ({"base_filters": 0}, "base_filters must be at least 1, but got 0"),
        ({"batch_images": 4, "accumulation_steps": 5}, "accumulation_steps must be at most batch_images = 4, but got 5"),
        ({"batch_images": 4, "perceptual_images": 5}, "perceptual_images must be at most batch_images = 4, but got 5"),
        ({"crop_share": 0.6}, r"crop_share must lie in \[0, 0.5\], but got 0.6"),
        ({"perceptual_features": "places"}, "perceptual_features must be one of imagenet, random, but got 'places'"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16, but got 'float16'"),
    ],
)
def test_values_that_cannot_work(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PconvUnetConfig(**knobs)


def test_augmentation_follows_the_knobs() -> None:
    assert built(image_px=64).augmentation == Augmentation(crop_px=8)
    assert built(replace(TINY, crop_share=0.0, mirror=True)).augmentation == Augmentation(mirror=True)


def test_mixed_precision_gives_nearly_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.precision.computes_in_bfloat16", lambda device_type: True)
    image, known = sample()
    exact, rounded = (built(replace(PLAIN, precision=precision)).fill(image, known) for precision in ("float32", "bfloat16"))  # type: ignore[arg-type]
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0)


def test_it_learns(data_dir: str) -> None:
    source = ImageSource("photos", 32, 64, 16, 16, data_dir=data_dir)
    knobs = {"base_filters": 8, "batch_images": 8, "perceptual_weight": 0.0, "style_weight": 0.0, "learning_rate": 5e-3}
    session = Session.open("pconv_unet", knobs, source, HOLES)
    first, *_, last = [session.step() for _ in range(5)]
    assert last["loss"] < 0.8 * first["loss"]
    assert last["psnr_hole"] > first["psnr_hole"]
