"""What either side of a generative adversarial network minimises: least squares, non-saturating cross-entropy, Wasserstein.

D is the discriminator's unbounded score. With G(z) the generated and x the true images:

    least squares    D: E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2     G: E[(D(G(z)) - c)^2] / 2
    non-saturating   D: -E[log s(D(x))] - E[log(1 - s(D(G(z))))]         G: -E[log s(D(G(z)))], s the logistic function
    Wasserstein      D: E[D(G(z))] - E[D(x)], weights clipped            G: -E[D(G(z))]

Source: `lsgan`, section 2.2.3.2, equations 2.1 and 2.2 (after its reference [18], Mao et al. 2017); section 2.2.3.3 names the other two.

Deviations:
  - Equations 2.1, 2.2 and 2.4 print the square inside, E[D(x) - b^2]; that is no squared error, and the reference has (D(x) - b)^2.
  - Section 2.2.3.2 lets the discriminator minimise the binary cross-entropy and prints the least squares below it: here they are two
    losses, and the least squares are the default.
  - Equation 2.3 has a minus between the two logarithms and none in front; the usual cross-entropy is implemented.
  - Equation 2.4 gives one value for both sides; 2.1 and 2.2 are what each side minimises.
  - a, b and c are not given: 0, 1 and 1, as in the reference's equation 9.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from trainables.game import HEALTH, WON_ACCURACY, WON_GAP
from trainables.metrics import Metric

GAN_HEALTH: dict[str, Metric] = {name: metric for name, metric in HEALTH.items() if name != "loss_reconstruction"} | {
    "score_gap": Metric("1", "max", "mean reading of true images minus that of generated ones: label distances, probabilities or scores"),
}
WON_LOSS = 0.01
WON_CRITIC_ACCURACY = 0.505


class GanLoss(ABC):
    """What both sides minimise, what is read of their scores, and when one of them has won."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises: scalar, from scores (B,) of true and of generated images."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """What the generator minimises: scalar, from scores (B,) of generated images."""

    @abstractmethod
    def perceptual(self, fake: Tensor) -> Tensor:
        """How unreal single images look to the discriminator, (B,), lower = more real; what the latent search minimises."""

    @abstractmethod
    def readings(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """ "accuracy_real", "accuracy_fake" and "score_gap" of scores (B,) each; scalars."""

    @abstractmethod
    def winner(self, health: Mapping[str, float]) -> str:
        """Who has won by the means of a training step: "the discriminator", "the generator", or "" for neither."""


@dataclass(frozen=True)
class LeastSquares(GanLoss):
    """Squared distances to labels.

    The perceptual loss log(1 - D) needs a probability, which this score is not: clipped into (0, 1) it would have no slope where the score
    is below 0, on the least real images. The generator's own loss, (D - c)^2 / 2 of each image, is defined everywhere and stands for it.

    A discriminator that is always right still has a slope here, the reason for this loss, so accuracy decides nothing. The discriminator
    has won where its loss "goes very low" (section 2.2.3.3): below 1 % of the squared label distance, of which it would be 25 % if it could
    not tell the images apart. The generator has won where the scores' gap is below 2 % of the label distance.

    Attributes:
        fake_label: a.
        real_label: b; another one than a.
        target_label: c.
    """

    fake_label: float = 0.0
    real_label: float = 1.0
    target_label: float = 1.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - self.real_label) ** 2).mean() / 2 + ((fake - self.fake_label) ** 2).mean() / 2

    def generator(self, fake: Tensor) -> Tensor:
        return self.perceptual(fake).mean()

    def perceptual(self, fake: Tensor) -> Tensor:
        return (fake - self.target_label) ** 2 / 2

    def readings(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The score's place between the labels, 0 at a and 1 at b, and on which side of the middle it is."""
        distance = self.real_label - self.fake_label
        return _readings((real - self.fake_label) / distance, (fake - self.fake_label) / distance, 0.5)

    def winner(self, health: Mapping[str, float]) -> str:
        if health["loss_discriminator"] < WON_LOSS * (self.real_label - self.fake_label) ** 2:
            return "the discriminator"
        return "the generator" if health["score_gap"] < WON_GAP else ""


@dataclass(frozen=True)
class NonSaturating(GanLoss):
    """Cross-entropy on the score's logistic function; the perceptual loss is the source's log(1 - D). Who wins: as in `trainables.game`."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return functional.softplus(-real).mean() + functional.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return functional.softplus(-fake).mean()

    def perceptual(self, fake: Tensor) -> Tensor:
        return -functional.softplus(fake)

    def readings(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return _readings(real.sigmoid(), fake.sigmoid(), 0.5)

    def winner(self, health: Mapping[str, float]) -> str:
        if min(health["accuracy_real"], health["accuracy_fake"]) >= WON_ACCURACY:
            return "the discriminator"
        return "the generator" if health["score_gap"] < WON_GAP else ""


@dataclass(frozen=True)
class Wasserstein(GanLoss):
    """The gap of the mean scores; the perceptual loss is the score's negative.

    The score has no zero, so an image counts as taken for true above the middle of the two means. Who wins: as in `trainables.wgan`.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def perceptual(self, fake: Tensor) -> Tensor:
        return -fake

    def readings(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return _readings(real, fake, (real.mean() + fake.mean()) / 2)

    def winner(self, health: Mapping[str, float]) -> str:
        right = (health["accuracy_real"] + health["accuracy_fake"]) / 2
        return "the generator" if right < WON_CRITIC_ACCURACY or health["score_gap"] <= 0 else ""


def _readings(real: Tensor, fake: Tensor, middle: Tensor | float) -> dict[str, Tensor]:
    return {
        "accuracy_real": (real > middle).float().mean(),
        "accuracy_fake": (fake < middle).float().mean(),
        "score_gap": real.mean() - fake.mean(),
    }
