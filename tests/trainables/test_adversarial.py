"""What `dcgan` and `wgan` have in common; each is run through the same checks."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.adversarial import AdversarialAutoencoder
from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Batch, Mask
from trainables.dcgan import Dcgan, DcganConfig
from trainables.errors import CheckpointError, ConfigError
from trainables.game import noise_at
from trainables.model import build_config
from trainables.wgan import Wgan

HOLE = Mask("centre", 8)
GENERATOR = {"base_filters": 16, "bottleneck": 256, "batch_images": 8}
TINY = GENERATOR | {"discriminator_filters": 16, "discriminator_steps": 2}
both = pytest.mark.parametrize("kind", [Dcgan, Wgan])


def built(kind: type[Any], knobs: Mapping[str, Any] = TINY, image_px: int = 32, mask: Mask = HOLE) -> Any:
    torch.manual_seed(0)
    return kind(build_config(kind, knobs), image_px, mask)


def made_batches(count: int, images: int = 8, image_px: int = 32) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        image = torch.rand(images, 3, image_px, image_px, generator=generator)
        yield Batch(image, HOLE.sample(images, image_px, np.random.default_rng(index)), index / count)


def state_of(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


@pytest.mark.parametrize("backbone", ["vgg", "inception", "resnet"])
def test_a_hole_that_a_backbone_cannot_shrink(backbone: str) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 8 px wide, but got 12; use discriminator_backbone"):
        built(Dcgan, TINY | {"discriminator_backbone": backbone, "discriminator_sees": "hole"}, mask=Mask("centre", 12))


# --- what the discriminator sees


@both
@pytest.mark.parametrize("overlap_px", [0, 4])
def test_the_discriminator_sees_the_hole_filled_and_nothing_else_changed(kind: type[Any], overlap_px: int) -> None:
    image = torch.rand(2, 3, 32, 32)
    patch = torch.full((2, 3, 8 + 2 * overlap_px, 8 + 2 * overlap_px), 7.0)
    patch[:, :, overlap_px : overlap_px + 8, overlap_px : overlap_px + 8] = 5.0
    whole = built(kind, TINY | {"overlap_px": overlap_px, "discriminator_sees": "image"}).seen_of(image, patch)
    expected = image.clone()
    expected[:, :, 12:20, 12:20] = 5.0
    assert torch.equal(whole, expected)
    model = built(kind, TINY | {"overlap_px": overlap_px, "discriminator_sees": "hole"})
    assert torch.equal(model.seen_of(image, patch), torch.full((2, 3, 8, 8), 5.0))
    assert torch.equal(model.seen_of(image), image[:, :, 12:20, 12:20])


@both
@pytest.mark.parametrize("sees", ["hole", "image"])
def test_the_adversarial_gradient_reaches_the_hole_alone(kind: type[Any], sees: str) -> None:
    model = built(kind, TINY | {"overlap_px": 4, "discriminator_sees": sees})
    patch = torch.rand(4, 3, 16, 16, requires_grad=True)
    model.adversarial_loss(model.score(model.seen_of(torch.rand(4, 3, 32, 32), patch))).backward()
    assert patch.grad is not None
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert (patch.grad[:, :, ~inside] == 0).all()
    assert (patch.grad[:, :, inside] != 0).any()


@pytest.mark.parametrize("kind", [CnnAutoencoder, Dcgan, Wgan])
def test_the_overlap_weight_lies_on_the_ring_and_nowhere_else(kind: type[Any]) -> None:
    """A constant error everywhere: the gradient of the squared error is the weight itself, up to a factor."""
    knobs = {"base_filters": 16, "bottleneck": 256, "overlap_px": 4, "overlap_weight": 25.0}
    model = built(kind, knobs)
    patch = torch.full((1, 3, 16, 16), 1.0, requires_grad=True)
    model.reconstruction_loss(patch, torch.zeros(1, 3, 32, 32)).backward()
    assert patch.grad is not None
    ratio = patch.grad[0] / patch.grad[0, 0, 7, 7]
    for row in range(16):
        for column in range(16):
            expected = 1.0 if 4 <= row < 12 and 4 <= column < 12 else 25.0
            assert ratio[:, row, column].tolist() == pytest.approx([expected] * 3, rel=1e-5)


@both
def test_without_overlap_the_reconstruction_is_plain_mse(kind: type[Any]) -> None:
    model = built(kind, TINY | {"overlap_px": 0})
    patch, image = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    expected = ((patch - image[:, :, 12:20, 12:20]) ** 2).sum() / (2 * 3 * 8 * 8)
    assert float(model.reconstruction_loss(patch, image)) == pytest.approx(float(expected), rel=1e-6)


# --- the game


@both
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("overlap_px", [0, 4])
def test_at_alpha_1_the_generator_is_the_autoencoder_to_the_last_bit(kind: type[Any], precision: str, overlap_px: int) -> None:
    """Dropout is on, so equal weights also mean equal random numbers; labels are noisy and the discriminator does train."""
    shared = GENERATOR | {"overlap_px": overlap_px, "precision": precision}
    plain, game = built(CnnAutoencoder, shared), built(kind, TINY | shared | {"alpha": 1.0})
    before = state_of(game.discriminator)
    for model in (plain, game):
        torch.manual_seed(5)
        for _ in range(2):
            model.train_unit(made_batches(3))
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, game.network.state_dict()[name]), name
    assert any(not torch.equal(*pair) for pair in zip(before, state_of(game.discriminator), strict=True))


@both
def test_below_alpha_1_it_is_not(kind: type[Any]) -> None:
    plain, game = built(CnnAutoencoder, GENERATOR | {"overlap_px": 0}), built(kind, TINY | {"overlap_px": 0, "alpha": 0.9})
    for model in (plain, game):
        torch.manual_seed(5)
        model.train_unit(made_batches(3))
    assert any(not torch.equal(*pair) for pair in zip(state_of(plain.network), state_of(game.network), strict=True))


@both
def test_the_loss_is_the_weighted_sum(kind: type[Any]) -> None:
    model = built(kind, TINY | {"alpha": 0.25, "discriminator_steps": 1})
    result = model.train_unit(made_batches(1))
    assert result["loss"] == pytest.approx(0.25 * result["loss_reconstruction"] + 0.75 * result["loss_adversarial"], rel=1e-5)
    assert result["loss_ratio"] == pytest.approx(abs(result["loss_discriminator"] / result["loss_adversarial"]), rel=1e-5)


@both
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_step_counts(kind: type[Any], steps: int) -> None:
    model = built(kind, TINY | {"discriminator_steps": steps})
    made: list[str] = []
    for name, optimizer in model.optimizers.items():
        optimizer.register_step_post_hook(lambda *_, name=name: made.append(name))
    model.train_unit(made_batches(4))
    assert made == (["discriminator"] * steps + ["network"]) * 4
    assert {int(state["step"]) for state in model.optimizers["discriminator"].state.values()} == {4 * steps}
    assert {int(state["step"]) for state in model.optimizers["network"].state.values()} == {4}


@both
def test_each_side_moves_its_own_weights_alone(kind: type[Any]) -> None:
    model = built(kind)
    model.set_training(True)
    batch = next(made_batches(1))
    patch = model.patch(batch.image * batch.known)
    weights = [weight.clone() for weight in model.network.parameters()]
    model.discriminator_step(model.seen_of(batch.image), model.seen_of(batch.image, patch.detach()), noise_at(0.0))
    assert all(torch.equal(*pair) for pair in zip(weights, model.network.parameters(), strict=True))
    critic = [weight.clone() for weight in model.discriminator.parameters()]
    model.generator_step(patch, batch.image)
    assert all(torch.equal(*pair) for pair in zip(critic, model.discriminator.parameters(), strict=True))
    assert any(not torch.equal(*pair) for pair in zip(weights, model.network.parameters(), strict=True))
    assert all(weight.requires_grad for weight in model.discriminator.parameters())


@both
def test_both_rates_decay(kind: type[Any]) -> None:
    knobs = {"learning_rate": 1e-3, "discriminator_learning_rate": 4e-4, "decay_factor": 0.5, "decay_epochs": 1.0}
    model = built(kind, TINY | knobs)
    image, known = torch.rand(8, 3, 32, 32), HOLE.sample(8, 32, np.random.default_rng(0))
    for epoch, factor in ((0.9, 1.0), (1.0, 0.5), (2.5, 0.25)):
        model.train_unit([Batch(image, known, epoch)])
        assert model.optimizers["network"].param_groups[0]["lr"] == 1e-3 * factor
        assert model.optimizers["discriminator"].param_groups[0]["lr"] == 4e-4 * factor


@both
@pytest.mark.parametrize("backbone", ["plain", "vgg", "inception", "resnet"])
@pytest.mark.parametrize("sees", ["hole", "image"])
def test_any_backbone_plays_on_either_view_and_keeps_known_pixels(kind: type[Any], backbone: str, sees: str) -> None:
    model = built(kind, TINY | {"backbone": backbone, "discriminator_backbone": backbone, "discriminator_sees": sees, "overlap_px": 4})
    result = model.train_unit(made_batches(1))
    assert all(math.isfinite(value) for value in result.values())
    assert set(result) == {"loss"} | set(kind.extra_metrics)
    batch = next(made_batches(1))
    filled = model.fill(batch.image, batch.known)
    visible = batch.known.expand_as(filled) > 0
    assert torch.equal(filled[visible], batch.image[visible])
    assert not torch.equal(filled[~visible], batch.image[~visible])


# --- its health


def rigged(winners: list[str], evaluations: int) -> AdversarialAutoencoder:
    """A game whose winner at each evaluation is set beforehand."""
    script = iter(winners)

    class Rigged(Dcgan):
        def winner_of(self, health: Mapping[str, float]) -> str:
            return next(script)

    model: AdversarialAutoencoder = built(Rigged, TINY | {"collapse_evaluations": evaluations})
    return model


D, G = "the discriminator", "the generator"


@pytest.mark.parametrize(
    ("winners", "collapsed"),
    [
        ([D, D, D], [0, 0, 1]),
        ([G, G, G], [0, 0, 1]),
        ([D, D, "", D, D, D], [0, 0, 0, 0, 0, 1]),
        ([D, D, G, G, D], [0, 0, 0, 0, 0]),
        (["", "", "", ""], [0, 0, 0, 0]),
        ([D, D, D, "", G], [0, 0, 1, 1, 1]),
    ],
)
def test_a_side_must_win_in_a_row(winners: list[str], collapsed: list[int]) -> None:
    model = rigged(winners, 3)
    assert [model.train_unit(made_batches(1))["collapsed"] for _ in winners] == collapsed
    last = winners[max(collapsed.index(1) if 1 in collapsed else 0, 0)]
    assert model.collapse_reason == (f"{last} won 3 evaluations in a row" if collapsed[-1] else "")


def test_the_count_survives_a_restart() -> None:
    first = rigged([D, D], 3)
    for _ in range(2):
        first.train_unit(made_batches(1))
    resumed = rigged([D], 3)
    resumed.load_state_dict(first.state_dict())
    assert resumed.train_unit(made_batches(1))["collapsed"] == 1
    again = rigged([""], 3)
    again.load_state_dict(resumed.state_dict())
    assert again.collapse_reason == resumed.collapse_reason != ""
    weights_alone = rigged([], 3)
    weights_alone.load_state_dict({"networks": resumed.state_dict()["networks"]}, weights_only=True)
    assert weights_alone.collapse_reason == ""


@both
@pytest.mark.parametrize("side", ["network", "discriminator"])
def test_a_value_that_is_not_finite_is_a_collapse(kind: type[Any], side: str) -> None:
    model = built(kind)
    with torch.no_grad():
        next(iter(model.networks[side].parameters())).fill_(float("nan"))
    assert model.train_unit(made_batches(1))["collapsed"] == 1
    assert model.collapse_reason.endswith("not finite")


@both
def test_a_checkpoint_without_the_game_is_refused(kind: type[Any]) -> None:
    model = built(kind)
    state = model.state_dict()
    del state["game"]
    with pytest.raises(CheckpointError, match="state of the game"):
        model.load_state_dict(state)


# --- bad input


@both
@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"alpha": -0.1}, r"alpha must lie in \[0, 1\], but got -0.1; 1 trains"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], but got 1.5; 1 trains"),
        ({"alpha": float("nan")}, r"alpha must lie in \[0, 1\], but got nan; 1 trains"),
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1, but got 0; use 1 or more"),
        ({"collapse_evaluations": 0}, "collapse_evaluations must be at least 1, but got 0; use 1 or more"),
        ({"discriminator_sees": "border"}, "discriminator_sees must be hole or image, but got 'border'; name one"),
        ({"discriminator_backbone": "vit"}, "must be one of plain, vgg, inception, resnet, but got 'vit'; name one"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(kind: type[Any], knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(kind, knobs)


@both
@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"overlap_px": 13}, r"at most the image's 32, but got 34; use a smaller overlap_px"),
        ({"overlap_px": -1}, "overlap_px must be at least 0, but got -1"),
        ({"backbone": "vit"}, "backbone must be one of plain, vgg, inception, resnet, but got 'vit'"),
    ],
)
def test_a_configuration_that_does_not_fit_the_image_is_refused(kind: type[Any], knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(kind, TINY | knobs)


def test_knobs_of_the_generator_are_the_autoencoders() -> None:
    assert {name: DcganConfig.__dataclass_fields__[name].default for name in CnnAutoencoderConfig.__dataclass_fields__} == {
        name: field.default for name, field in CnnAutoencoderConfig.__dataclass_fields__.items()
    }
