"""`completion_gan`: a generator that completes the image, against a discriminator that looks at the completed hole.

Source: `thesis`, section 3.4, Tables 3.7 and 3.8. The generator's loss, with I the location map and IM the true image:

    L_G = alpha * BCE(labels, D(G(h))) + (1 - alpha) * MSE(IM * I - G(h) * I)

Implemented: both generators (seven direct convolutions, Table 3.7; 4 + 4 layers of stride 2 and a last convolution, section 3.4.1), tanh
and [-1, 1] throughout, the discriminator of Table 3.8 on the hole, and as a knob a second one on the known pixels after Iizuka et al. 2017.

Deviations: those of `trainables.reconstruction`, and
  - Table 3.8 pads CONV8 with "Zero", and its 30x30 output has no padding: none is used.
  - "The networks I designed did not have the global discriminator", but Table 3.8 begins at 32x32: the discriminator sees the image's whole
    frame with everything but the hole at 0. `discriminator_sees` = "image" shows it the composited image.
  - The hole's pixels have no share in the squared error, as printed; `hole_weight` = 1 gives them theirs.
  - The error is a mean over the weighted pixels, where the formula's divides by all.
  - The filters of the 4 + 4 layers are not given: 1, 2, 4 and 8 times `autoencoder_filters`, and back, as in Tables 3.2 and 3.6.
  - Alpha, the rates, the discriminators' optimiser (Adam, momentum 0.5), the dropout and the labels are not given. Scores stay logits
    inside the losses; the sigmoid's result is the output.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Batch, Mask
from trainables.direct_cnn import direct_network
from trainables.dropout import Dropout
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH, Game, gradient_norm, probability_readings, winner_by_probability
from trainables.image_autoencoder import check_size, growing
from trainables.reconstruction import INPUT_CHANNELS, ReconstructionConfig, Reconstructor, check_filter, convolution
from trainables.running_means import means

DIRECT_LAYERS = 6
SHRINKING = 16
DISCRIMINATOR_FILTERS = 64
MOMENTUM = (0.5, 0.999)


@dataclass(frozen=True)
class CompletionGanConfig(ReconstructionConfig):
    """Knobs of `completion_gan`; the values are the document's (section 3.4 unless said otherwise).

    Attributes:
        alpha: share of the adversarial loss; "we need to adjust alpha", not given. 0 = squared error alone, 1 = adversarial loss alone.
        generator: "direct" (Table 3.7, "worked much better") or "autoencoder" (section 3.4.1).
        filters: of each hidden layer of the direct generator; Table 3.7.
        autoencoder_filters: of the first layer of the autoencoder generator; not given in the source.
        filter_px: side of the generator's filters; odd. Table 3.7.
        hole_weight: weight of the hole's squared errors, known pixels have 1; 0 in section 3.4's formula.
        discriminator_sees: the "hole" alone, or the composited "image"; section 3.4.1.
        known_discriminator: a second discriminator for the generated known pixels; section 3.4.1, the document keeps the hole's alone.
        discriminator_steps: of the discriminators for each of the generator; not given in the source.
        discriminator_learning_rate: Adam's; not given in the source.
        discriminator_dropout: before the dense layer, probability; Table 3.8 has the layer, not the value.
        label_smoothing: how far the label of true images lies below 1; not in the source, 0 = off.
        collapse_evaluations: how many evaluations in a row one side must have won for the game to count as collapsed.
    """

    alpha: float = 0.1
    generator: Literal["direct", "autoencoder"] = "direct"
    filters: int = 64
    autoencoder_filters: int = 32
    filter_px: int = 5
    hole_weight: float = 0.0
    discriminator_sees: Literal["hole", "image"] = "hole"
    known_discriminator: bool = False
    discriminator_steps: int = 1
    discriminator_learning_rate: float = 2e-4
    discriminator_dropout: float = 0.5
    label_smoothing: float = 0.0
    collapse_evaluations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter("filter_px", self.filter_px)
        for name, least, greatest in (("alpha", 0, 1), ("discriminator_dropout", 0, 0.9), ("label_smoothing", 0, 0.5)):
            if not least <= getattr(self, name) <= greatest:
                raise ConfigError(f"{name} must lie in [{least}, {greatest}], but got {getattr(self, name)}; choose a value in that range")
        if not self.discriminator_learning_rate > 0:
            raise ConfigError(
                f"discriminator_learning_rate must be greater than 0, but got {self.discriminator_learning_rate}; use a positive value"
            )
        for name in ("filters", "autoencoder_filters", "discriminator_steps", "collapse_evaluations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        for name, allowed in (("generator", ("direct", "autoencoder")), ("discriminator_sees", ("hole", "image"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, but got {getattr(self, name)!r}; name one of these")


def autoencoder_network(base_filters: int, filter_px: int) -> nn.Sequential:
    """Section 3.4.1's first generator: (B, 4, H, W) -> (B, 3, H, W) in [-1, 1], four halvings and four doublings."""
    layers: list[nn.Module] = []
    channels = INPUT_CHANNELS
    for index in range(4):
        layers += [convolution(channels, base_filters * 2**index, filter_px, stride=2), nn.ReLU()]
        channels = base_filters * 2**index
    widths = [channels, channels, channels // 2, channels // 4, channels // 8]
    return nn.Sequential(*layers, *growing(widths, filter_px), convolution(widths[-1], 3, filter_px), nn.Tanh())


class HoleDiscriminator(nn.Module):
    """Table 3.8."""

    def __init__(self, image_px: int, dropout: float) -> None:
        super().__init__()
        filters, side_px = DISCRIMINATOR_FILTERS, image_px - 2
        layers: list[nn.Module] = [nn.Conv2d(3, filters, 3), nn.ReLU()]
        for _ in range(4):
            layers += [convolution(filters, filters, 3, stride=2), nn.ReLU()]
            side_px = math.ceil(side_px / 2)
        self.trunk = nn.Sequential(*layers, nn.Flatten(), Dropout(dropout), nn.Linear(filters * side_px**2, 1))
        self.sigmoid = nn.Sigmoid()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1] -> (B, 1), the probability of a true image."""
        probability: Tensor = self.sigmoid(self.trunk(image))
        return probability


class CompletionGan(Reconstructor):
    """Trains generator and discriminators in turn on the same batch.

    Who wins: see `trainables.game.winner_by_probability`. With a second discriminator the figures are means of both.
    """

    Config = CompletionGanConfig
    extra_metrics = HEALTH | GAP

    def __init__(self, config: CompletionGanConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: CompletionGanConfig = config
        if config.generator == "direct":
            self.adopt(direct_network(config.filters, config.filter_px, DIRECT_LAYERS, nn.Tanh()))
        else:
            check_size(image_px, SHRINKING)
            self.adopt(autoencoder_network(config.autoencoder_filters, config.filter_px))
        self.discriminators = ["discriminator", "known_discriminator"][: 1 + config.known_discriminator]
        for name in self.discriminators:
            network = HoleDiscriminator(image_px, config.discriminator_dropout).to(memory_format=torch.channels_last)
            self.networks[name] = network
            self.optimizers[name] = torch.optim.Adam(
                network.parameters(), lr=config.discriminator_learning_rate, betas=MOMENTUM, fused=True
            )
        self.game: Game = Game(config.collapse_evaluations)

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        inputs = super().network_inputs()
        (visible,) = inputs["network"]
        return inputs | dict.fromkeys(self.discriminators, (visible[:, :3],))

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        return self.game_health(means(self._iteration(batch) for batch in batches), winner_by_probability)

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss; a term whose weight is 0 is not computed into it."""
        return self.generator_loss(self.output(image, known), image, known)

    def generator_loss(self, output: Tensor, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L_G of an output in [-1, 1] against the truth (B, 3, H, W) in [0, 1], and both terms, detached scalars."""
        alpha = self.config.alpha
        squared = self.weighted_error(output, signed(image), known)
        adversarial = self._adversarial(output if alpha > 0 else output.detach(), image, known)
        loss = squared if alpha == 0 else adversarial if alpha == 1 else alpha * adversarial + (1 - alpha) * squared
        return loss, {"loss_reconstruction": squared.detach(), "loss_adversarial": adversarial.detach()}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return (self.output(image, known) + 1) / 2

    def visible(self, image: Tensor, known: Tensor) -> Tensor:
        """The holed image in [-1, 1] with the hole at 0 or filled by the first stage, and the location map; (B, 4, H, W) float32."""
        seen = super().visible(image, known)
        colours = signed(seen[:, :3])
        return torch.cat([colours * known if self.config.first_stage == "none" else colours, known], dim=1)

    def judged(self, name: str, completed: Tensor, image: Tensor, known: Tensor) -> Tensor:
        """What a discriminator sees of images.

        Args:
            name: "discriminator", which sees the hole or the composited image, or "known_discriminator", which sees the known pixels.
            completed: (B, 3, H, W) in [-1, 1], the generator's output, or the true images.
            image: (B, 3, H, W) in [0, 1], the true images.
            known: (B, 1, H, W), 1 = known.
        """
        if name == "known_discriminator":
            return completed * known
        if self.config.discriminator_sees == "image":
            return completed * (1 - known) + signed(image) * known
        return completed * (1 - known)

    def score(self, name: str, seen: Tensor) -> Tensor:
        """A discriminator's logits, (B,) float32."""
        return self.run(self.networks[name].trunk, seen).flatten()  # type: ignore[arg-type]

    def _iteration(self, batch: Batch) -> dict[str, Tensor]:
        config, optimizer = self.config, self.optimizers["network"]
        self.set_rate(optimizer, config.learning_rate, batch.epoch)
        output = self.output(batch.image, batch.known)
        steps = []
        for name in self.discriminators:
            self.set_rate(self.optimizers[name], config.discriminator_learning_rate, batch.epoch)
            real = self.judged(name, signed(batch.image), batch.image, batch.known)
            fake = self.judged(name, output.detach(), batch.image, batch.known)
            steps.append([self._discriminator_step(name, real, fake) for _ in range(config.discriminator_steps)][-1])
        figures = {key: torch.stack([step[key] for step in steps]).mean() for key in steps[0]}
        loss, terms = self.generator_loss(output, batch.image, batch.known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures |= terms | {"loss": loss.detach(), "gradient_norm_generator": gradient_norm(self.network)}
        optimizer.step()
        return figures

    def _discriminator_step(self, name: str, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step of a discriminator on true and completed images; its figures, detached scalars."""
        real_score, fake_score = self.score(name, real), self.score(name, fake)
        target = torch.full_like(real_score, 1 - self.config.label_smoothing)
        loss = functional.binary_cross_entropy_with_logits(real_score, target)
        loss = loss + functional.binary_cross_entropy_with_logits(fake_score, torch.zeros_like(fake_score))
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures = {"loss_discriminator": loss.detach(), "gradient_norm_discriminator": gradient_norm(self.networks[name])}
        optimizer.step()
        return figures | probability_readings(real_score.detach(), fake_score.detach())

    def _adversarial(self, output: Tensor, image: Tensor, known: Tensor) -> Tensor:
        """BCE of the completed images against the label of true ones, mean over the discriminators, which get no gradient; scalar."""
        losses = []
        for name in self.discriminators:
            self.networks[name].requires_grad_(False)
            scores = self.score(name, self.judged(name, output, image, known))
            losses.append(functional.binary_cross_entropy_with_logits(scores, torch.ones_like(scores)))
            self.networks[name].requires_grad_(True)
        return torch.stack(losses).mean()


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]."""
    return image * 2 - 1
