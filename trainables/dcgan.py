"""`dcgan`: `cnn_autoencoder` trained against a discriminator that gives the probability of an image being true.

Source: `beyond_cnns`, sections Deep Convolutional GANs and Learning Tricks.

Implemented: L = alpha * L_rec + (1 - alpha) * L_disc with L_disc = -log D(filled); separate batches for true and filled images; soft and
noisy labels (true 0.9 to 1.1, filled 0 to 0.2, sometimes exchanged); maximising log D or minimising log(1 - D); the hole or the whole
image for the discriminator; the overlap trick.

Deviations: those of `trainables.adversarial`, and
  - The document gives no share of exchanged labels; 0.05 here. An exchanged label is drawn from the other class's interval.
  - One discriminator step adds the losses of the true and of the filled images, in separate forward passes or in a common one. The two
    differ through batch norm alone, which takes its statistics from what goes through together.
  - A label above 1 lets the cross-entropy fall without bound as the score grows; labels drawn around 1 pull it back on average.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainables.adversarial import AdversarialAutoencoder, AdversarialConfig
from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH, probability_readings, winner_by_probability

MOMENTUM = (0.5, 0.999)  # Adam's for the discriminator, after the document's reference [26]


@dataclass(frozen=True)
class DcganConfig(AdversarialConfig):
    """Knobs of `dcgan`; the values are the paper's (section Learning Tricks unless said otherwise).

    Attributes:
        separate_batches: true and filled images go through the discriminator apart.
        real_label_low: least label of a true image; 1 without the trick.
        real_label_high: greatest label of a true image; 1 without the trick.
        fake_label_low: least label of a filled image.
        fake_label_high: greatest label of a filled image; 0 without the trick.
        label_flip: probability of a label from the other class; "occasionally", not given in the source.
        generator_loss: "non_saturating" maximises log D, "saturating" minimises log(1 - D).
    """

    separate_batches: bool = True
    real_label_low: float = 0.9
    real_label_high: float = 1.1
    fake_label_low: float = 0.0
    fake_label_high: float = 0.2
    label_flip: float = 0.05
    generator_loss: Literal["non_saturating", "saturating"] = "non_saturating"

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in ("real", "fake"):
            low, high = getattr(self, f"{kind}_label_low"), getattr(self, f"{kind}_label_high")
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ConfigError(
                    f"{kind}_label_low <= {kind}_label_high must hold, but got ({low}, {high}); exchange them, or use equal values"
                )
        if not 0 <= self.label_flip <= 1:
            raise ConfigError(f"label_flip must lie in [0, 1], but got {self.label_flip}; 0 switches it off")
        if self.generator_loss not in ("non_saturating", "saturating"):
            raise ConfigError(f"generator_loss must be non_saturating or saturating, but got {self.generator_loss!r}; name one of these")


class Dcgan(AdversarialAutoencoder):
    """Cross-entropy on probabilities; who wins: see `trainables.game.winner_by_probability`."""

    Config = DcganConfig
    extra_metrics = HEALTH | GAP

    def __init__(self, config: DcganConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask, batch_norm=config.discriminator_batch_norm)
        self.config: DcganConfig = config
        self.optimizers["discriminator"] = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_learning_rate, betas=MOMENTUM, fused=True
        )

    def discriminator_loss(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        if self.config.separate_batches:
            real_scores, fake_scores = self.score_both(real, fake)
        else:
            real_scores, fake_scores = self.score(torch.cat([real, fake])).chunk(2)
        real_labels = draw_labels(self.config, len(real), real=True, noise=noise).to(real.device)
        fake_labels = draw_labels(self.config, len(fake), real=False, noise=noise).to(real.device)
        cross_entropy = functional.binary_cross_entropy_with_logits
        return cross_entropy(real_scores, real_labels) + cross_entropy(fake_scores, fake_labels), real_scores, fake_scores

    def adversarial_loss(self, scores: Tensor) -> Tensor:
        """-log D, or log(1 - D), with D the logistic function of the score."""
        if self.config.generator_loss == "non_saturating":
            return -functional.logsigmoid(scores).mean()
        return functional.logsigmoid(-scores).mean()

    def readings(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        return probability_readings(real_scores, fake_scores)

    def winner_of(self, health: Mapping[str, float]) -> str:
        return winner_by_probability(health)


def draw_labels(config: DcganConfig, count: int, *, real: bool, noise: torch.Generator) -> Tensor:
    """Labels of one class: uniform in its interval, in the other class's where the label is flipped.

    Args:
        config: holds the intervals and the probability of a flip.
        count: how many.
        real: for true images.
        noise: a CPU generator, the only source of randomness.

    Returns:
        (count,) float32.
    """
    as_real = (torch.rand(count, generator=noise) >= config.label_flip) == real
    place = torch.rand(count, generator=noise)
    real_labels = config.real_label_low + place * (config.real_label_high - config.real_label_low)
    fake_labels = config.fake_label_low + place * (config.fake_label_high - config.fake_label_low)
    return torch.where(as_real, real_labels, fake_labels)
