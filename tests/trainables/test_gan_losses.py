import math

import pytest
import torch
from torch import Tensor

from trainables.game import HEALTH
from trainables.gan_losses import GAN_HEALTH, LeastSquares, NonSaturating, Wasserstein

REAL, FAKE = torch.tensor([0.5, 1.5]), torch.tensor([-1.0, 0.0, 2.0])
LOSSES = pytest.mark.parametrize("loss", [LeastSquares(), LeastSquares(-1.0, 1.0, 0.0), NonSaturating(), Wasserstein()])


def log_logistic(score: float) -> float:
    return -math.log1p(math.exp(-score))


# --- closed forms


def test_least_squares_by_hand() -> None:
    """a = 0, b = 1, c = 1: (0.25 + 0.25) / 2 / 2 + (1 + 0 + 4) / 3 / 2, and (4 + 1 + 1) / 3 / 2."""
    loss = LeastSquares()
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(0.125 + 5 / 6)
    assert float(loss.generator(FAKE)) == pytest.approx(1.0)
    assert loss.perceptual(FAKE).tolist() == pytest.approx([2.0, 0.5, 0.5])


def test_least_squares_with_other_labels_by_hand() -> None:
    """a = -1, b = 1, c = 0: (0.25 + 0.25) / 4 + (0 + 1 + 9) / 6, and (1 + 0 + 4) / 6."""
    loss = LeastSquares(-1.0, 1.0, 0.0)
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(0.125 + 10 / 6)
    assert float(loss.generator(FAKE)) == pytest.approx(5 / 6)


def test_the_printed_square_is_not_what_is_minimised() -> None:
    """E[D(x) - b^2] would be least for a score of minus infinity."""
    loss = LeastSquares()
    low, right = torch.tensor([-100.0]), torch.tensor([1.0])
    nothing = torch.tensor([0.0])
    assert float(loss.discriminator(low, nothing)) > float(loss.discriminator(right, nothing)) == 0


def test_non_saturating_by_hand() -> None:
    loss = NonSaturating()
    expected = -(log_logistic(0.5) + log_logistic(1.5)) / 2 - (log_logistic(1.0) + log_logistic(0.0) + log_logistic(-2.0)) / 3
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(expected)
    assert float(loss.generator(FAKE)) == pytest.approx(-(log_logistic(-1.0) + log_logistic(0.0) + log_logistic(2.0)) / 3)


def test_the_perceptual_loss_of_probabilities_is_the_sources() -> None:
    """log(1 - D), D the logistic function of the score."""
    probability = 1 / (1 + torch.exp(-FAKE.double()))
    torch.testing.assert_close(NonSaturating().perceptual(FAKE).double(), torch.log(1 - probability), atol=1e-6, rtol=0)


def test_wasserstein_by_hand() -> None:
    loss = Wasserstein()
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(1 / 3 - 1)
    assert float(loss.generator(FAKE)) == pytest.approx(-1 / 3)
    assert loss.perceptual(FAKE).tolist() == [1.0, 0.0, -2.0]


@LOSSES
def test_the_perceptual_loss_has_a_slope_for_the_least_real_images(loss: LeastSquares | NonSaturating | Wasserstein) -> None:
    """And it points to higher scores."""
    score = torch.tensor([-3.0, -0.5], requires_grad=True)
    (slope,) = torch.autograd.grad(loss.perceptual(score).sum(), score)
    assert bool((slope < -0.01).all())


@LOSSES
def test_the_perceptual_loss_of_one_image_is_its_own(loss: LeastSquares | NonSaturating | Wasserstein) -> None:
    assert loss.perceptual(FAKE)[:1].tolist() == loss.perceptual(FAKE[:1]).tolist()


# --- what is read of the scores


def reading(loss: LeastSquares | NonSaturating | Wasserstein, real: Tensor, fake: Tensor) -> dict[str, float]:
    return {name: float(value) for name, value in loss.readings(real, fake).items()}


def test_readings_by_hand() -> None:
    """The middle is 0.5 between labels 0 and 1, 0 between -1 and 1, 0 for logits, and between the means 1 and 1 / 3 for Wasserstein."""
    third = 1 / 3
    assert reading(LeastSquares(), REAL, FAKE) == pytest.approx({"accuracy_real": 0.5, "accuracy_fake": 2 / 3, "score_gap": 2 / 3})
    assert reading(LeastSquares(-1.0, 1.0), REAL, FAKE) == pytest.approx({"accuracy_real": 1, "accuracy_fake": third, "score_gap": third})
    logistic = (math.exp(log_logistic(0.5)) + math.exp(log_logistic(1.5))) / 2 - (1 / (1 + math.e) + 0.5 + 1 / (1 + math.exp(-2))) / 3
    assert reading(NonSaturating(), REAL, FAKE) == pytest.approx({"accuracy_real": 1, "accuracy_fake": third, "score_gap": logistic})
    assert reading(Wasserstein(), REAL, FAKE) == pytest.approx({"accuracy_real": 0.5, "accuracy_fake": 2 / 3, "score_gap": 2 / 3})


HEALTHY = {"accuracy_real": 0.8, "accuracy_fake": 0.7, "score_gap": 0.4, "loss_discriminator": 0.15}


@LOSSES
def test_a_healthy_game_has_no_winner(loss: LeastSquares | NonSaturating | Wasserstein) -> None:
    assert loss.winner(HEALTHY) == ""


def test_who_wins_with_least_squares() -> None:
    always_right = HEALTHY | {"accuracy_real": 1.0, "accuracy_fake": 1.0}
    assert LeastSquares().winner(always_right) == ""
    assert LeastSquares().winner(HEALTHY | {"loss_discriminator": 0.009}) == "the discriminator"
    assert LeastSquares(-1.0, 1.0).winner(HEALTHY | {"loss_discriminator": 0.03}) == "the discriminator"  # of a distance of 2
    assert LeastSquares().winner(HEALTHY | {"score_gap": 0.01}) == "the generator"


def test_who_wins_with_probabilities() -> None:
    assert NonSaturating().winner(HEALTHY | {"accuracy_real": 0.99, "accuracy_fake": 1.0}) == "the discriminator"
    assert NonSaturating().winner(HEALTHY | {"score_gap": 0.01}) == "the generator"


def test_who_wins_with_the_critic() -> None:
    assert Wasserstein().winner(HEALTHY | {"accuracy_real": 1.0, "accuracy_fake": 1.0}) == ""
    assert Wasserstein().winner(HEALTHY | {"score_gap": 0.0}) == "the generator"
    assert Wasserstein().winner(HEALTHY | {"accuracy_real": 0.5, "accuracy_fake": 0.5}) == "the generator"


def test_health_is_that_of_the_other_games_without_a_reconstruction() -> None:
    assert set(GAN_HEALTH) == set(HEALTH) - {"loss_reconstruction"} | {"score_gap"}
