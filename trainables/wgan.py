"""`wgan`: `cnn_autoencoder` trained against a critic whose score gap estimates the Earth-Mover distance.

Source: `beyond_cnns`, sections WGANs (unbounded score, clipping, ten critic steps an iteration) and Reducing Continuity Errors (overlap,
the critic sees the whole image); its reference [20], Arjovsky et al. 2017, for clipping bound, rate and RMSprop; Gulrajani et al. 2017,
"Improved Training of Wasserstein GANs", which the document `lsgan` cites, for the gradient penalty.

Deviations: those of `trainables.adversarial`, and
  - The document writes "gradient clipping" for what its reference [20] defines as clipping the weights; weights are clipped here.
  - RMSprop moves the critic. The generator keeps Adam, as in section Results / Autoencoders; `generator_optimizer` puts it on RMSprop.
  - The critic's batch norm has no trained scale and shift: clipped to 0.01 like any weight, the scale would silence the layers.
  - With the gradient penalty the critic has no batch norm, since the penalty is defined for each image alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.adversarial import AdversarialAutoencoder, AdversarialConfig
from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.game import HEALTH
from trainables.metrics import Metric

WON_ACCURACY = 0.505


@dataclass(frozen=True)
class WganConfig(AdversarialConfig):
    """Knobs of `wgan`; the values are the paper's (section WGANs, or its reference [20], unless said otherwise).

    Attributes:
        overlap_px: section Reducing Continuity Errors.
        discriminator_steps: "we train the discriminator 10 times at each iteration".
        discriminator_learning_rate: reference [20]'s.
        discriminator_batch_norm: of the critic; with `lipschitz="clip"` alone.
        discriminator_sees: section Reducing Continuity Errors.
        lipschitz: "clip" the weights, or a gradient "penalty".
        clip_bound: greatest size of a critic's weight; reference [20]'s.
        penalty_weight: of the gradient penalty; Gulrajani et al.
        generator_optimizer: "adam", or "rmsprop" as in reference [20].
    """

    overlap_px: int = 4
    discriminator_steps: int = 10
    discriminator_learning_rate: float = 5e-5
    discriminator_sees: Literal["hole", "image"] = "image"
    lipschitz: Literal["clip", "penalty"] = "clip"
    clip_bound: float = 0.01
    penalty_weight: float = 10.0
    generator_optimizer: Literal["adam", "rmsprop"] = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lipschitz not in ("clip", "penalty"):
            raise ConfigError(f"lipschitz must be clip or penalty, but got {self.lipschitz!r}; name one of these")
        if self.generator_optimizer not in ("adam", "rmsprop"):
            raise ConfigError(f"generator_optimizer must be adam or rmsprop, but got {self.generator_optimizer!r}; name one of these")
        if not self.clip_bound > 0:
            raise ConfigError(f"clip_bound must be above 0, but got {self.clip_bound}; 0.01 is usual")
        if not self.penalty_weight >= 0:
            raise ConfigError(f"penalty_weight must be at least 0, but got {self.penalty_weight}; 10 is usual")


class Wgan(AdversarialAutoencoder):
    """The critic's score gap. "earth_mover" is the mean score of true images minus that of filled ones, up to the Lipschitz constant.

    A critic's score has no zero, so an image counts as taken for true where it scores above the middle of the two means. A critic that
    tells all images apart still gives a gradient and has not won anything; the generator has won where the critic is right about half
    of the images (below 50.5 %) or its estimate of the distance is not above 0.
    """

    Config = WganConfig
    extra_metrics = HEALTH | {"earth_mover": Metric("score", "min", "the critic's estimate of the Earth-Mover distance")}

    def __init__(self, config: WganConfig, image_px: int, mask: Mask) -> None:
        batch_norm = config.discriminator_batch_norm and config.lipschitz == "clip"
        super().__init__(config, image_px, mask, batch_norm=batch_norm, norm_affine=False)
        self.config: WganConfig = config
        if config.generator_optimizer == "rmsprop":
            self.optimizers["network"] = torch.optim.RMSprop(self.network.parameters(), lr=config.learning_rate)
        self.optimizers["discriminator"] = torch.optim.RMSprop(self.discriminator.parameters(), lr=config.discriminator_learning_rate)

    def discriminator_step(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """As inherited; with clipping, every weight ends within the bound."""
        figures = super().discriminator_step(real, fake, noise)
        if self.config.lipschitz == "clip":
            clip_weights(self.discriminator, self.config.clip_bound)
        return figures

    def discriminator_loss(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        real_scores, fake_scores = self.score_both(real, fake)
        loss = fake_scores.mean() - real_scores.mean()
        if self.config.lipschitz == "penalty":
            loss = loss + self.config.penalty_weight * gradient_penalty(self.discriminator, real, fake, noise)
        return loss, real_scores, fake_scores

    def adversarial_loss(self, scores: Tensor) -> Tensor:
        return -scores.mean()

    def readings(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        middle = (real_scores.mean() + fake_scores.mean()) / 2
        return {
            "accuracy_real": (real_scores > middle).float().mean(),
            "accuracy_fake": (fake_scores < middle).float().mean(),
            "earth_mover": real_scores.mean() - fake_scores.mean(),
        }

    def winner_of(self, health: Mapping[str, float]) -> str:
        right = (health["accuracy_real"] + health["accuracy_fake"]) / 2
        return "the generator" if right < WON_ACCURACY or health["earth_mover"] <= 0 else ""


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Brings every weight into [-bound, bound]."""
    for weight in network.parameters():
        weight.clamp_(-bound, bound)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor:
    """Mean of (|gradient of the score| - 1)^2 at random points between true and filled images, in float32.

    Args:
        critic: (B, 3, S, S) -> (B,).
        real: (B, 3, S, S) float32.
        fake: the same shape.
        noise: a CPU generator that chooses the points, one for each image.

    Returns:
        A scalar with a graph to the critic's weights.
    """
    place = torch.rand(len(real), generator=noise).to(real.device)[:, None, None, None]
    between = (place * real + (1 - place) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty
