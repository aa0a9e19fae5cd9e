import math
from typing import Any

import pytest
import torch

from search_spaces.dcgan import OBJECTIVES, SPACE
from search_spaces.knob import Choice
from trainables.data import Mask
from trainables.dcgan import Dcgan, DcganConfig, draw_labels
from trainables.errors import ConfigError
from trainables.metrics import METRICS

DRAWS = 40_000
HARD: dict[str, Any] = {"real_label_low": 1.0, "real_label_high": 1.0, "fake_label_low": 0.0, "fake_label_high": 0.0, "label_flip": 0.0}
TINY: dict[str, Any] = {"base_filters": 16, "bottleneck": 256, "batch_images": 8, "discriminator_filters": 16}


def built(**knobs: Any) -> Dcgan:
    torch.manual_seed(0)
    return Dcgan(DcganConfig(**(TINY | knobs)), 32, Mask("centre", 8))


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


# --- labels


@pytest.mark.parametrize(("real", "low", "high"), [(True, 0.9, 1.1), (False, 0.0, 0.2)])
def test_labels_are_uniform_in_their_interval(real: bool, low: float, high: float) -> None:
    labels = draw_labels(DcganConfig(label_flip=0.0), DRAWS, real=real, noise=noise())
    assert low <= float(labels.min()) < low + 1e-3
    assert high - 1e-3 < float(labels.max()) <= high + 1e-6
    assert float(labels.mean()) == pytest.approx((low + high) / 2, abs=4 * 0.2 / math.sqrt(12 * DRAWS))
    assert float(labels.std()) == pytest.approx(0.2 / math.sqrt(12), rel=0.02)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("flip", [0.0, 0.05, 0.3, 1.0])
def test_labels_are_flipped_as_often_as_asked(real: bool, flip: float) -> None:
    labels = draw_labels(DcganConfig(label_flip=flip), DRAWS, real=real, noise=noise(1))
    as_real = labels > 0.5
    assert ((labels[as_real] >= 0.9) & (labels[as_real] <= 1.1 + 1e-6)).all()
    assert ((labels[~as_real] >= 0.0) & (labels[~as_real] <= 0.2 + 1e-6)).all()
    flipped = float((as_real != real).float().mean())
    assert flipped == pytest.approx(flip, abs=4 * math.sqrt(flip * (1 - flip) / DRAWS))


def test_equal_bounds_give_hard_labels() -> None:
    config = DcganConfig(**HARD)
    assert torch.equal(draw_labels(config, 100, real=True, noise=noise()), torch.ones(100))
    assert torch.equal(draw_labels(config, 100, real=False, noise=noise()), torch.zeros(100))


def test_labels_follow_from_their_generator_alone() -> None:
    config = DcganConfig()
    state = torch.get_rng_state()
    first = draw_labels(config, 50, real=True, noise=noise(3))
    assert torch.equal(first, draw_labels(config, 50, real=True, noise=noise(3)))
    assert not torch.equal(first, draw_labels(config, 50, real=True, noise=noise(4)))
    assert torch.equal(state, torch.get_rng_state())


# --- losses


def test_generator_losses_against_the_closed_form() -> None:
    scores = torch.tensor([-2.0, 0.0, 3.0])
    non_saturating = sum(softplus(-value) for value in scores.tolist()) / 3  # -log D
    saturating = -sum(softplus(value) for value in scores.tolist()) / 3  # log(1 - D)
    assert float(built(generator_loss="non_saturating").adversarial_loss(scores)) == pytest.approx(non_saturating, rel=1e-6)
    assert float(built(generator_loss="saturating").adversarial_loss(scores)) == pytest.approx(saturating, rel=1e-6)


def test_only_the_non_saturating_loss_keeps_its_gradient_when_the_discriminator_is_sure() -> None:
    """At score s the slopes are -(1 - D) and -D."""
    slopes = {}
    for name in ("non_saturating", "saturating"):
        score = torch.tensor([-12.0], requires_grad=True)
        built(generator_loss=name).adversarial_loss(score).backward()
        assert score.grad is not None
        slopes[name] = float(score.grad)
    probability = 1 / (1 + math.exp(12))
    assert slopes["non_saturating"] == pytest.approx(-(1 - probability), rel=1e-5)
    assert slopes["saturating"] == pytest.approx(-probability, rel=1e-4)


def test_discriminator_loss_with_hard_labels_against_the_closed_form() -> None:
    model = built(**HARD, discriminator_batch_norm=False)
    real, fake = torch.rand(5, 3, 8, 8), torch.rand(5, 3, 8, 8)
    loss, real_scores, fake_scores = model.discriminator_loss(real, fake, noise())
    expected = sum(softplus(-value) for value in real_scores.tolist()) / 5 + sum(softplus(value) for value in fake_scores.tolist()) / 5
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_soft_labels_against_the_closed_form() -> None:
    """Cross-entropy of label y at score s: softplus(s) - y s. All labels of a class are equal here."""
    knobs = {"real_label_low": 0.9, "real_label_high": 0.9, "fake_label_low": 0.2, "fake_label_high": 0.2, "label_flip": 0.0}
    model = built(**knobs)
    loss, real, fake = model.discriminator_loss(torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8), noise())
    expected = sum(softplus(s) - 0.9 * s for s in real.tolist()) / 4 + sum(softplus(s) - 0.2 * s for s in fake.tolist()) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_separate_batches_differ_through_batch_norm_alone(batch_norm: bool) -> None:
    real, fake = torch.rand(6, 3, 8, 8, generator=noise(1)), 0.2 * torch.rand(6, 3, 8, 8, generator=noise(2))
    scores = []
    for separate in (True, False):
        model = built(discriminator_batch_norm=batch_norm, separate_batches=separate)
        model.set_training(True)
        scores.append(torch.cat(model.discriminator_loss(real, fake, noise())[1:]))
    assert torch.allclose(scores[0], scores[1], atol=1e-5) == (not batch_norm)


def test_separate_batches_have_their_own_statistics() -> None:
    """The scores of true images do not depend on the filled ones that go through apart from them."""
    real = torch.rand(6, 3, 8, 8, generator=noise(1))
    for separate in (True, False):
        scores = []
        for fake in (torch.zeros(6, 3, 8, 8), torch.rand(6, 3, 8, 8, generator=noise(2))):
            model = built(separate_batches=separate)
            model.set_training(True)
            scores.append(model.discriminator_loss(real, fake, noise())[1])
        assert torch.equal(*scores) == separate


# --- health


def test_accuracies_and_gap_by_hand() -> None:
    readings = built().readings(torch.tensor([2.0, -1.0, 0.5, 3.0]), torch.tensor([-2.0, -1.0, 0.5, -3.0]))
    assert float(readings["accuracy_real"]) == 0.75
    assert float(readings["accuracy_fake"]) == 0.75

    def logistic(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    expected = (sum(map(logistic, (2, -1, 0.5, 3))) - sum(map(logistic, (-2, -1, 0.5, -3)))) / 4
    assert float(readings["gap_probability"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("real", "fake", "gap", "winner"),
    [
        (1.0, 0.995, 0.9, "the discriminator"),
        (1.0, 0.9, 0.9, ""),
        (0.5, 0.5, 0.01, "the generator"),
        (0.99, 0.01, 0.0, "the generator"),
        (0.7, 0.6, 0.1, ""),
    ],
)
def test_who_has_won(real: float, fake: float, gap: float, winner: str) -> None:
    assert built().winner_of({"accuracy_real": real, "accuracy_fake": fake, "gap_probability": gap}) == winner


def test_the_discriminator_learns_an_easy_task() -> None:
    """True images are bright, filled ones dark: after some steps it tells all of them apart."""
    model = built(discriminator_learning_rate=2e-3, discriminator_batch_norm=False)
    model.set_training(True)
    generator = noise(5)
    for _ in range(60):
        real, fake = torch.rand(16, 3, 8, 8, generator=generator), torch.full((16, 3, 8, 8), 0.3)
        fake = fake + 0.01 * torch.rand(fake.shape, generator=generator)
        figures = model.discriminator_step(real, fake, generator)
    assert float(figures["accuracy_real"]) == float(figures["accuracy_fake"]) == 1
    assert float(figures["gap_probability"]) > 0.6


# --- bad input


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"real_label_low": 1.2}, r"real_label_low <= real_label_high must hold, but got \(1.2, 1.1\); exchange them"),
        ({"fake_label_low": 0.3}, r"fake_label_low <= fake_label_high must hold, but got \(0.3, 0.2\); exchange them"),
        ({"fake_label_high": float("nan")}, "fake_label_low <= fake_label_high must hold"),
        ({"label_flip": 1.2}, r"label_flip must lie in \[0, 1\], but got 1.2; 0 switches it off"),
        ({"generator_loss": "hinge"}, "generator_loss must be non_saturating or saturating, but got 'hinge'"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DcganConfig(**knobs)


@pytest.mark.parametrize("name", SPACE)
def test_the_ends_of_every_knob_build(name: str) -> None:
    knob = SPACE[name]
    for value in knob.values if isinstance(knob, Choice) else (knob.low, knob.high):
        built(**{name: value})


def test_the_two_objectives_are_metrics_with_their_modes() -> None:
    assert OBJECTIVES == (("l2_hole", "min"), ("realism_gap", "min"))
    assert all(METRICS[name].mode == mode for name, mode in OBJECTIVES)
