"""What `dcgan` and `wgan` share: a generator and a discriminator that train in turn.

The generator is `cnn_autoencoder`'s network with all its knobs, so the models differ in the loss alone. One iteration takes one batch:
the generator fills it once, the discriminator takes its steps on the true and the filled images, then the generator takes one step.

Source: `beyond_cnns`, sections Deep Convolutional GANs to Reducing Continuity Errors:

    L = alpha * L_rec + (1 - alpha) * L_disc

Deviations:
  - L_disc is a mean over the batch where the document sums, so that alpha does not depend on the batch size.
  - All discriminator steps of an iteration look at the same batch; the document does not say.
  - The network of the discriminator: see `trainables.discriminator`.
  - The generator's colours are unbounded and reach the discriminator unclipped: a clipped colour would give no gradient.

At alpha = 1 the generator gets no adversarial gradient and its random numbers are those of `cnn_autoencoder`: the discriminator is built
after it, holds no dropout, and draws its noise from a generator of its own, seeded by the position in the training.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.backbones import BACKBONES, Backbone, Style
from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Batch, Mask
from trainables.discriminator import Discriminator, leaky_relu
from trainables.errors import ConfigError
from trainables.game import HEALTH, Game, gradient_norm, noise_at
from trainables.precision import mixed
from trainables.running_means import means


@dataclass(frozen=True)
class AdversarialConfig(CnnAutoencoderConfig):
    """Knobs of `cnn_autoencoder` and of the game; the values are the paper's (section Deep Convolutional GANs unless said otherwise).

    Attributes:
        alpha: share of the reconstruction loss; not given in the source, 0.999 is its reference [13]'s. 1 = plain squared error.
        discriminator_steps: of the discriminator for each of the generator; 1 in `dcgan`, section WGANs has 10.
        discriminator_learning_rate: not given in the source; decays as the generator's.
        discriminator_backbone: "plain" is the six stride-2 convolutions; the others are in `trainables.backbones`.
        discriminator_filters: of its first stage; "reduced", not given in the source.
        discriminator_batch_norm: after every convolution but the first of "plain"; not given in the source.
        discriminator_sees: the "hole", or the whole composited "image"; section Reducing Continuity Errors.
        collapse_evaluations: how many evaluations in a row one side must have won for the game to count as collapsed.
    """

    alpha: float = 0.999
    discriminator_steps: int = 1
    discriminator_learning_rate: float = 2e-4
    discriminator_backbone: Backbone = "plain"
    discriminator_filters: int = 32
    discriminator_batch_norm: bool = True
    discriminator_sees: Literal["hole", "image"] = "hole"
    collapse_evaluations: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must lie in [0, 1], but got {self.alpha}; 1 trains on the squared error alone")
        for name in ("discriminator_steps", "collapse_evaluations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if self.discriminator_sees not in ("hole", "image"):
            raise ConfigError(f"discriminator_sees must be hole or image, but got {self.discriminator_sees!r}; name one of these")
        if self.discriminator_backbone not in BACKBONES:
            raise ConfigError(
                f"discriminator_backbone must be one of {', '.join(BACKBONES)}, but got {self.discriminator_backbone!r}; name one of these"
            )


class AdversarialAutoencoder(CnnAutoencoder):
    """`cnn_autoencoder` with a discriminator; a subclass says what either side minimises and when the game is lost."""

    Config = AdversarialConfig
    extra_metrics = HEALTH

    def __init__(self, config: AdversarialConfig, image_px: int, mask: Mask, *, batch_norm: bool, norm_affine: bool = True) -> None:
        """Builds the generator first, then the discriminator; the subclass adds the discriminator's optimiser.

        Args:
            config: the knobs.
            image_px: side of the images.
            mask: where the holes will be.
            batch_norm: whether the discriminator has it.
            norm_affine: whether that has a trained scale and shift.

        Raises:
            ConfigError: a configuration that fits neither the image size nor the mask.
        """
        super().__init__(config, image_px, mask)
        self.config: AdversarialConfig = config
        side_px = image_px if config.discriminator_sees == "image" else mask.hole_px
        style = Style(activation=leaky_relu, batch_norm=batch_norm, norm_affine=norm_affine)
        discriminator = Discriminator(config.discriminator_backbone, config.discriminator_filters, side_px, style)
        self.discriminator = discriminator.to(memory_format=torch.channels_last)
        self.networks["discriminator"] = self.discriminator
        self.game: Game = Game(config.collapse_evaluations)

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What the discriminator minimises.

        Args:
            real: (B, 3, S, S) float32, what it sees of true images.
            fake: the same shape, of filled ones.
            noise: the only source of randomness.

        Returns:
            The loss, and the scores of `real` and `fake`, (B,) float32 each.
        """

    @abstractmethod
    def adversarial_loss(self, scores: Tensor) -> Tensor:
        """L_disc, what the generator minimises: scalar, from the scores of its images, (B,) float32."""

    @abstractmethod
    def readings(self, real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
        """ "accuracy_real", "accuracy_fake" and the subclass's own figures of one discriminator step; scalars."""

    @abstractmethod
    def winner_of(self, health: Mapping[str, float]) -> str:
        """Which side has won the game by the means of a training step: "the discriminator", "the generator", or "" for neither."""

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        return self.game_health(means(self._iteration(batch) for batch in batches), self.winner_of)

    def discriminator_step(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """One step of the discriminator on what it sees of true and of filled images; returns its figures, scalars."""
        optimizer = self.optimizers["discriminator"]
        loss, real_scores, fake_scores = self.discriminator_loss(real, fake, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures = {"loss_discriminator": loss.detach(), "gradient_norm_discriminator": gradient_norm(self.discriminator)}
        optimizer.step()
        fake_scores = fake_scores.detach()
        return figures | {"loss_adversarial": self.adversarial_loss(fake_scores)} | self.readings(real_scores.detach(), fake_scores)

    def generator_step(self, patch: Tensor, image: Tensor) -> dict[str, Tensor]:
        """One step of the generator.

        Args:
            patch: (B, 3, P, P) float32, its output for this batch, with its graph.
            image: (B, 3, H, W) float32 in [0, 1], the truth.

        Returns:
            Its figures, scalars; "loss_adversarial" only where it counts.
        """
        optimizer, alpha = self.optimizers["network"], self.config.alpha
        reconstruction = self.reconstruction_loss(patch, image)
        figures = {"loss_reconstruction": reconstruction.detach()}
        loss = reconstruction
        if alpha < 1:
            self.discriminator.requires_grad_(False)
            adversarial = self.adversarial_loss(self.score(self.seen_of(image, patch)))
            self.discriminator.requires_grad_(True)
            figures["loss_adversarial"] = adversarial.detach()
            loss = alpha * reconstruction + (1 - alpha) * adversarial
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures |= {"loss": loss.detach(), "gradient_norm_generator": gradient_norm(self.network)}
        optimizer.step()
        return figures

    def score(self, seen: Tensor) -> Tensor:
        """The discriminator's scores, (B,) float32, in the precision that the knob asks for."""
        with mixed(seen.device.type, self.config.precision):
            scores: Tensor = self.discriminator(seen.contiguous(memory_format=torch.channels_last))
        return scores.float()

    def score_both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """As `score` of each, one after the other."""
        with mixed(real.device.type, self.config.precision):
            real_scores, fake_scores = self.discriminator.both(
                real.contiguous(memory_format=torch.channels_last), fake.contiguous(memory_format=torch.channels_last)
            )
        return real_scores.float(), fake_scores.float()

    def seen_of(self, image: Tensor, patch: Tensor | None = None) -> Tensor:
        """What the discriminator sees of images, true or filled: the hole, or the image. The overlap around the hole is never filled in.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            patch: (B, 3, P, P) float32, the generator's output; None = the true images themselves.
        """
        start, hole_px, margin = self.mask.centre_start(self.image_px), self.mask.hole_px, self.config.overlap_px
        if patch is not None:
            image = image.clone()
            image[:, :, start : start + hole_px, start : start + hole_px] = patch[
                :, :, margin : margin + hole_px, margin : margin + hole_px
            ]
        if self.config.discriminator_sees == "image":
            return image
        return image[:, :, start : start + hole_px, start : start + hole_px]

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        side_px = self.image_px if self.config.discriminator_sees == "image" else self.mask.hole_px
        seen = torch.zeros(1, 3, side_px, side_px, device=self.device_of("discriminator"))
        return super().network_inputs() | {"discriminator": (seen,)}

    def _iteration(self, batch: Batch) -> dict[str, Tensor]:
        self.set_rate(self.optimizers["network"], self.config.learning_rate, batch.epoch)
        self.set_rate(self.optimizers["discriminator"], self.config.discriminator_learning_rate, batch.epoch)
        patch = self.patch(batch.image * batch.known)
        real, fake = self.seen_of(batch.image), self.seen_of(batch.image, patch.detach())
        noise = noise_at(batch.epoch)
        figures: dict[str, Tensor] = {}
        for _ in range(self.config.discriminator_steps):
            figures = self.discriminator_step(real, fake, noise)
        return figures | self.generator_step(patch, batch.image)
