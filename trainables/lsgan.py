"""`lsgan`: a generative adversarial network learns whole images; a hole is filled by searching the latent values that explain the rest.

Source: `lsgan`, sections 2.2 and 2.3, chapter 3: images of 64x64x3 in (-1, 1), batches of 32, Adam, least squares.

Implemented: the networks of `trainables.lsgan_networks`, the losses of `trainables.gan_losses`, both networks in turn on the same batch,
and the search of `trainables.latent_search` with lambda = 10. No hole is seen in training; known pixels are pasted over what is generated.

Deviations: those of these three modules, and
  - Learning rates, Adam's momentum, the rate of the dropout and the search's step and momentum are not given.
  - "Trained for 100,000 epochs" on 20,000 images; 100,000 batches of 32 are 160 epochs. The budget of a sweep decides here.
  - The distribution of the latent values is not given: uniform in [-1, 1], to which the search clips them.
  - All steps of the discriminator in one iteration look at the same generated images, and so does the generator's step.
  - The Wasserstein loss keeps Adam, where its authors have RMSprop; its discriminator's batch norm has no trained scale, as in `wgan`.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainables.completion_gan import signed
from trainables.context_encoder import initialise
from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.game import Game, gradient_norm
from trainables.gan_losses import GAN_HEALTH, GanLoss, LeastSquares, NonSaturating, Wasserstein
from trainables.latent_search import Descent, contextual_loss, importance_weights, search, starting_points
from trainables.lsgan_networks import Discriminator, Generator
from trainables.model import InpaintingModel
from trainables.precision import mixed
from trainables.running_means import means
from trainables.shared_training import REUSED
from trainables.wgan import clip_weights

LOSSES = ("least_squares", "non_saturating", "wasserstein")
SEARCHED_AT_ONCE = 50  # images, which bounds the memory of a search
SECOND_MOMENT = 0.999
SEARCH_KNOBS = (
    "perceptual_weight",
    "search_step",
    "search_momentum",
    "search_steps",
    "search_restarts",
    "z_bound",
    "importance_px",
)


@dataclass(frozen=True)
class LsganConfig:
    """Knobs of `lsgan`; the values are the document's where it has them.

    Attributes:
        latent: latent values; section 2.2.3.1.
        base_filters: the generator's at 32x32 of 64 px; 8 times as many at 4x4, half as many in the discriminator. Table 2.1.
        loss: "least_squares", "non_saturating" or "wasserstein"; sections 2.2.3.2 and 2.2.3.3.
        fake_label: a of the least squares, for generated images; not given, its reference [18]'s.
        real_label: b of the least squares, for true images; likewise.
        target_label: c of the least squares, what the generator wants; likewise.
        clip_bound: greatest size of a weight of the discriminator; for "wasserstein" alone, not in the source.
        dropout: after each hidden layer of the generator, probability; Table 2.1 has it without a value. 0 = off.
        discriminator_batch_norm: after each of its convolutions but the first; not given.
        learning_rate: Adam's for the generator; "kept low", not given.
        discriminator_learning_rate: Adam's for the discriminator; likewise.
        adam_momentum: beta 1 of both; not given, DCGAN's.
        batch_images: images a step, at least 2 for batch norm; section 3.3.3.
        discriminator_steps: for each step of the generator; not given.
        perceptual_weight: lambda; section 2.3, chosen from 5 to 10.
        search_step: what the search multiplies its gradient by; not given.
        search_momentum: how much of its last move the search repeats; not given.
        search_steps: moves of a search; section 2.2.3, "the loss flattens after 100 iterations".
        search_restarts: starting points of a search, the best result counts; not in the source.
        z_bound: greatest size of a latent value in the search, 1 as in training; section 2.2.3.2 clips without a value.
        importance_px: side of the window that weighs known pixels by how much hole is near; odd, 0 = all alike.
        collapse_evaluations: how many evaluations in a row one side must have won for the game to count as collapsed.
        mirror: random left-right flips; not in the source.
        precision: "bfloat16" runs the networks in mixed precision, "float32" does not.
    """

    latent: int = 100
    base_filters: int = 128
    loss: Literal["least_squares", "non_saturating", "wasserstein"] = "least_squares"
    fake_label: float = 0.0
    real_label: float = 1.0
    target_label: float = 1.0
    clip_bound: float = 0.01
    dropout: float = 0.25
    discriminator_batch_norm: bool = True
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    adam_momentum: float = 0.5
    batch_images: int = 32
    discriminator_steps: int = 1
    perceptual_weight: float = 10.0
    search_step: float = 1e-3
    search_momentum: float = 0.9
    search_steps: int = 100
    search_restarts: int = 1
    z_bound: float = 1.0
    importance_px: int = 0
    collapse_evaluations: int = 3
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name, allowed in (("loss", LOSSES), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, but got {getattr(self, name)!r}; name one of these")
        if self.fake_label == self.real_label:
            raise ConfigError(f"fake_label and real_label must differ, but both are {self.real_label}; 0 and 1 are usual")
        if self.base_filters < 2 or self.base_filters % 2:
            raise ConfigError(f"base_filters must be even, but got {self.base_filters}; the discriminator has half of them")
        least = {"latent": 1, "batch_images": 2, "discriminator_steps": 1, "search_steps": 1, "search_restarts": 1}
        for name, bound in (least | {"collapse_evaluations": 1, "perceptual_weight": 0, "importance_px": 0}).items():
            if not getattr(self, name) >= bound:
                raise ConfigError(f"{name} must be at least {bound}, but got {getattr(self, name)}; use {bound} or more")
        for name in ("clip_bound", "learning_rate", "discriminator_learning_rate", "search_step", "z_bound"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be greater than 0, but got {getattr(self, name)}; use a positive value")
        for name in ("dropout", "adam_momentum", "search_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), but got {getattr(self, name)}; 0 switches it off")
        if self.importance_px and self.importance_px % 2 == 0:
            raise ConfigError(f"importance_px must be odd or 0, but got {self.importance_px}; a window has a middle pixel")


def loss_of(config: LsganConfig) -> GanLoss:
    """The loss that the knobs ask for."""
    if config.loss == "least_squares":
        return LeastSquares(config.fake_label, config.real_label, config.target_label)
    return NonSaturating() if config.loss == "non_saturating" else Wasserstein()


class Lsgan(InpaintingModel):
    """Trains generator and discriminator in turn, one step of the generator a batch. Who wins: see the loss in `trainables.gan_losses`."""

    Config = LsganConfig
    extra_metrics = GAN_HEALTH | REUSED
    shares_training = True

    def __init__(self, config: LsganConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: LsganConfig = config
        self.objective = loss_of(config)
        self.networks["generator"] = Generator(config.latent, config.base_filters, config.dropout, image_px)
        self.networks["discriminator"] = Discriminator(
            config.base_filters // 2, image_px, batch_norm=config.discriminator_batch_norm, norm_affine=config.loss != "wasserstein"
        )
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
        for name, rate in rates.items():
            network = self.networks[name].apply(initialise).to(memory_format=torch.channels_last)
            self.optimizers[name] = torch.optim.Adam(network.parameters(), lr=rate, betas=(config.adam_momentum, SECOND_MOMENT), fused=True)
        self.game: Game = Game(config.collapse_evaluations)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror)

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        latent = torch.zeros(1, self.config.latent, device=self.device_of("generator"))
        return super().network_inputs() | {"generator": (latent,)}

    def training_knobs(self, epoch: float) -> dict[str, Any]:
        """All but those of the search."""
        return {name: value for name, value in dataclasses.asdict(self.config).items() if name not in SEARCH_KNOBS}

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        return self.game_health(means(self.play(batch.image) for batch in batches), self.objective.winner)

    def play(self, image: Tensor) -> dict[str, Tensor]:
        """One iteration on true images (B, 3, H, W) in [0, 1]: the discriminator's steps, then one of the generator; detached scalars."""
        fake, real = self.generate(self.draw(len(image), image.device)), signed(image)
        figures: dict[str, Tensor] = {}
        for _ in range(self.config.discriminator_steps):
            figures = self._discriminator_step(real, fake.detach())
        return figures | self._generator_step(fake)

    def draw(self, count: int, device: torch.device) -> Tensor:
        """Latent values uniform in [-1, 1] from torch's default generator, (count, latent) float32."""
        return (torch.rand(count, self.config.latent, device="cpu") * 2 - 1).to(device)

    def generate(self, latent: Tensor) -> Tensor:
        """(B, latent) -> images (B, 3, H, W) float32 in [-1, 1]."""
        return self.run("generator", latent)

    def score(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the discriminator's scores, (B,) float32."""
        return self.run("discriminator", image.contiguous(memory_format=torch.channels_last))

    def run(self, name: str, inputs: Tensor) -> Tensor:
        """A network's output, float32, computed in the precision that the knob asks for."""
        with mixed(inputs.device.type, self.config.precision):
            outputs: Tensor = self.networks[name](inputs)
        return outputs.float()

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return self.complete(image, known)

    def complete(self, image: Tensor, known: Tensor) -> Tensor:
        """What the generator makes of each image's z_hat, (B, 3, H, W) float32 in [0, 1]; the networks must be in evaluation mode."""
        parts = [slice(start, start + SEARCHED_AT_ONCE) for start in range(0, len(image), SEARCHED_AT_ONCE)]
        with torch.no_grad():
            return torch.cat([(self.generate(self.search(image[part], known[part])) + 1) / 2 for part in parts])

    def search(self, image: Tensor, known: Tensor) -> Tensor:
        """z_hat of each image, (B, latent); its starting points are the same for all images.

        Args:
            image: (B, 3, H, W) float32 in [0, 1]; only its known pixels count.
            known: (B, 1, H, W) float32, 1 = known.
        """
        config = self.config
        seen, weights = signed(image), importance_weights(known, config.importance_px)

        def loss(latent: Tensor) -> Tensor:
            generated = self.generate(latent)
            contextual = contextual_loss(generated, seen, weights)
            if config.perceptual_weight == 0:
                return contextual
            return contextual + config.perceptual_weight * self.objective.perceptual(self.score(generated))

        points = starting_points(config.search_restarts, config.latent, config.z_bound).to(image.device)
        descent = Descent(config.search_steps, config.search_step, config.search_momentum, config.z_bound)
        return search(loss, points[:, None].expand(-1, len(image), -1), descent)

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """From the first starting points of a search, in evaluation mode."""
        self.set_training(False)
        points = starting_points(count, self.config.latent, 1.0)
        return (self.generate(points.to(self.device_of("generator"))) + 1) / 2

    def _discriminator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step on true and on generated images, (B, 3, H, W) in [-1, 1]; its figures, detached scalars."""
        real_scores, fake_scores = self.score(real), self.score(fake)
        loss = self.objective.discriminator(real_scores, fake_scores)
        figures = {"loss_discriminator": loss.detach()} | self.step("discriminator", loss)
        if self.config.loss == "wasserstein":
            clip_weights(self.networks["discriminator"], self.config.clip_bound)
        return figures | self.objective.readings(real_scores.detach(), fake_scores.detach())

    def _generator_step(self, fake: Tensor) -> dict[str, Tensor]:
        """One step on generated images with their graph; its figures, detached scalars."""
        discriminator = self.networks["discriminator"].requires_grad_(False)
        loss = self.objective.generator(self.score(fake))
        discriminator.requires_grad_(True)
        return {"loss": loss.detach(), "loss_adversarial": loss.detach()} | self.step("generator", loss)

    def step(self, name: str, loss: Tensor) -> dict[str, Tensor]:
        """One step of a network's optimiser; the norm of the gradient, a detached scalar."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = gradient_norm(self.networks[name])
        optimizer.step()
        return {f"gradient_norm_{name}": norm}
