import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.knob import Choice
from search_spaces.wgan import OBJECTIVES, SPACE
from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import METRICS
from trainables.wgan import Wgan, WganConfig, clip_weights, gradient_penalty

TINY: dict[str, Any] = {"base_filters": 16, "bottleneck": 256, "batch_images": 8, "discriminator_filters": 16, "discriminator_steps": 3}


def built(**knobs: Any) -> Wgan:
    torch.manual_seed(0)
    return Wgan(WganConfig(**(TINY | knobs)), 32, Mask("centre", 8))


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made_batches(count: int) -> list[Batch]:
    known = Mask("centre", 8).sample(8, 32, np.random.default_rng(0))
    return [Batch(torch.rand(8, 3, 32, 32, generator=noise(index)), known, index / count) for index in range(count)]


class LinearCritic(nn.Module):
    """Score = w . x, whose gradient is w everywhere."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) @ self.weights


class QuadraticCritic(nn.Module):
    """Score = |x|^2 / 2, whose gradient is x: it shows at which points the penalty looks."""

    def forward(self, image: Tensor) -> Tensor:
        return (image.flatten(1) ** 2).sum(1) / 2


# --- clipping


@pytest.mark.parametrize("bound", [0.003, 0.01, 0.1])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_critic_weights_lie_within_the_bound_after_every_step(bound: float, batch_norm: bool) -> None:
    """Looked at whenever a score is asked for after the first step, that is after each of the critic's steps."""
    model = built(clip_bound=bound, discriminator_learning_rate=1e-2, discriminator_batch_norm=batch_norm)
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    def look(*_: Any) -> None:
        if steps:
            greatest.append(max(weight.abs().max().item() for weight in model.discriminator.parameters()))

    greatest: list[float] = []
    model.optimizers["discriminator"].register_step_post_hook(count)
    model.discriminator.head.register_forward_pre_hook(look)
    model.train_unit(made_batches(3))
    assert steps == 9
    assert len(greatest) >= 9
    assert max(greatest) <= np.float32(bound)
    assert max(weight.abs().max().item() for weight in model.discriminator.parameters()) == pytest.approx(bound)


def test_the_penalty_clips_nothing() -> None:
    model = built(lipschitz="penalty")
    model.train_unit(made_batches(2))
    assert max(weight.abs().max().item() for weight in model.discriminator.parameters()) > 0.05


def test_the_generator_is_never_clipped() -> None:
    model = built()
    model.train_unit(made_batches(2))
    assert max(weight.abs().max().item() for weight in model.network.parameters()) > 0.05


def test_clipping_leaves_small_weights_alone() -> None:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.02, -3.0]]))
        layer.bias.fill_(0.05)
    clip_weights(layer, 0.1)
    assert layer.weight.tolist()[0] == pytest.approx([0.1, -0.02, -0.1])
    assert layer.bias.item() == pytest.approx(0.05)


# --- gradient penalty


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic_in_closed_form(norm: float) -> None:
    direction = torch.randn(3 * 4 * 4, generator=noise(1))
    critic = LinearCritic(norm * direction / direction.norm())
    real, fake = torch.rand(5, 3, 4, 4, generator=noise(2)), torch.rand(5, 3, 4, 4, generator=noise(3))
    assert gradient_penalty(critic, real, fake, noise()).item() == pytest.approx((norm - 1) ** 2, abs=1e-6)


def test_slope_of_the_penalty_in_closed_form() -> None:
    """d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|."""
    critic = LinearCritic(2 * torch.randn(12, generator=noise(1)))
    gradient_penalty(critic, torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2), noise()).backward()
    norm = critic.weights.detach().norm()
    assert critic.weights.grad is not None
    torch.testing.assert_close(critic.weights.grad, 2 * (norm - 1) * critic.weights.detach() / norm)


def test_the_penalty_looks_between_true_and_filled() -> None:
    """True images are a, filled ones 0: at the point t a the gradient is t a, so one image gives (t |a| - 1)^2 with its own t in [0, 1]."""
    real = torch.zeros(2000, 1, 1, 1) + 1.0
    expected_uniform = 1 / 3  # mean of (t - 1)^2
    penalty = gradient_penalty(QuadraticCritic(), real, torch.zeros_like(real), noise())
    assert penalty.item() == pytest.approx(expected_uniform, abs=4 * math.sqrt(4 / 45 / 2000))


def test_the_penalty_enters_with_its_weight() -> None:
    """The same critic with weights 0 and 10: the losses differ by ten penalties, drawn with the same noise."""
    real, fake = torch.rand(4, 3, 32, 32, generator=noise(1)), torch.rand(4, 3, 32, 32, generator=noise(2))
    losses = []
    for weight in (0.0, 10.0):
        model = built(lipschitz="penalty", penalty_weight=weight)
        losses.append(model.discriminator_loss(real, fake, noise())[0].item())
        penalty = gradient_penalty(model.discriminator, real, fake, noise()).item()
    assert losses[1] - losses[0] == pytest.approx(10 * penalty, rel=1e-4)


def test_the_penalty_excludes_batch_norm() -> None:
    def norms(model: Wgan) -> int:
        return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.discriminator.modules())

    assert norms(built(lipschitz="penalty", discriminator_batch_norm=True)) == 0
    assert norms(built(lipschitz="clip", discriminator_batch_norm=True)) == 5  # six layers, none after the first
    assert norms(built(lipschitz="clip", discriminator_batch_norm=False)) == 0


def test_the_penalty_tames_a_steep_critic() -> None:
    model = built(lipschitz="penalty", discriminator_learning_rate=1e-3)
    model.set_training(True)
    with torch.no_grad():
        model.discriminator.head.weight.mul_(100)
    generator = noise(4)
    real, fake = torch.rand(8, 3, 32, 32, generator=generator), torch.rand(8, 3, 32, 32, generator=generator)
    before = gradient_penalty(model.discriminator, real, fake, noise()).item()
    for _ in range(30):
        model.discriminator_step(real, fake, generator)
    assert gradient_penalty(model.discriminator, real, fake, noise()).item() < 0.5 * before


# --- losses and health


def test_critic_loss_and_distance_by_hand() -> None:
    model = built(discriminator_batch_norm=False)
    loss, real, fake = model.discriminator_loss(torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32), noise())
    distance = sum(real.tolist()) / 4 - sum(fake.tolist()) / 4
    assert loss.item() == pytest.approx(-distance, rel=1e-5, abs=1e-9)
    assert model.readings(real, fake)["earth_mover"].item() == pytest.approx(distance, rel=1e-5, abs=1e-9)
    assert float(model.adversarial_loss(torch.tensor([1.0, -4.0, 6.0]))) == -1


def test_accuracies_stand_on_the_middle_of_the_two_means() -> None:
    """Means 10 and 6, middle 8: three of four true images lie above it, two of three filled ones below."""
    readings = built().readings(torch.tensor([12.0, 13.0, 9.0, 6.0]), torch.tensor([3.0, 5.0, 10.0]))
    assert float(readings["accuracy_real"]) == pytest.approx(0.75)
    assert float(readings["accuracy_fake"]) == pytest.approx(2 / 3)
    assert float(readings["earth_mover"]) == pytest.approx(4)


@pytest.mark.parametrize(
    ("real", "fake", "distance", "winner"),
    [(1.0, 1.0, 2.0, ""), (0.6, 0.5, 0.1, ""), (0.9, 0.1, 0.1, "the generator"), (0.7, 0.7, 0.0, "the generator")],
)
def test_who_has_won(real: float, fake: float, distance: float, winner: str) -> None:
    assert built().winner_of({"accuracy_real": real, "accuracy_fake": fake, "earth_mover": distance}) == winner


def test_the_critic_measures_a_shift() -> None:
    """Trained on images that differ by a constant, its estimate grows with the constant."""
    estimates = []
    for shift in (0.1, 0.4):
        model = built(discriminator_batch_norm=False, lipschitz="penalty", discriminator_learning_rate=5e-4, discriminator_sees="hole")
        model.set_training(True)
        generator = noise(6)
        for _ in range(60):
            real = torch.rand(16, 3, 8, 8, generator=generator) * 0.5
            figures = model.discriminator_step(real, real + shift, generator)
        estimates.append(float(figures["earth_mover"]))
    assert 0 < estimates[0] < estimates[1]


def test_rmsprop_moves_the_critic_and_the_generator_where_asked() -> None:
    assert isinstance(built().optimizers["discriminator"], torch.optim.RMSprop)
    assert isinstance(built().optimizers["network"], torch.optim.Adam)
    assert isinstance(built(generator_optimizer="rmsprop").optimizers["network"], torch.optim.RMSprop)


@pytest.mark.parametrize("lipschitz", ["clip", "penalty"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_unit_trains_in_either_precision(lipschitz: Any, precision: Any) -> None:
    result = built(lipschitz=lipschitz, precision=precision).train_unit(made_batches(2))
    assert all(math.isfinite(value) for value in result.values())


# --- bad input


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lipschitz": "spectral"}, "lipschitz must be clip or penalty, but got 'spectral'; name one of these"),
        ({"generator_optimizer": "sgd"}, "generator_optimizer must be adam or rmsprop, but got 'sgd'; name one of these"),
        ({"clip_bound": 0.0}, "clip_bound must be above 0, but got 0.0; 0.01 is usual"),
        ({"clip_bound": float("nan")}, "clip_bound must be above 0, but got nan"),
        ({"penalty_weight": -1.0}, "penalty_weight must be at least 0, but got -1.0; 10 is usual"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WganConfig(**knobs)


@pytest.mark.parametrize("name", SPACE)
def test_the_ends_of_every_knob_build(name: str) -> None:
    knob = SPACE[name]
    for value in knob.values if isinstance(knob, Choice) else (knob.low, knob.high):
        built(**{name: value})


def test_the_two_objectives_are_metrics_with_their_modes() -> None:
    assert OBJECTIVES == (("l2_hole", "min"), ("realism_gap", "min"))
    assert all(METRICS[name].mode == mode for name, mode in OBJECTIVES)
