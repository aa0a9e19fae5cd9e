"""`context_encoder`: an image with a square hole squeezed into one vector, which unfolds into the patch; trained against a discriminator.

Source: `maggiordomo`, sections 3.1, 3.1.1 and 4.1, Figure 1 (after Pathak et al. 2016, "Context Encoders: Feature Learning by Inpainting").
Images of 128x128, a centre hole of 56x56, a predicted patch of 64x64. With M = 1 where known:

    L = 0.999 * ||(1 - M) (x - F(M x))||^2 + 0.001 * L_adv

Implemented: 4x4 convolutions of stride 2 down to 4x4, one more to the latent vector, transposed ones up to the patch, tanh; everything in
[-1, 1] with the hole at 0; a discriminator of the same layers on the patch; both trained in turn on the same batch; Adam at two rates.
The number of halvings follows the size: filters are 8 times the base in the deepest layer and half as many in each one before it, at least
the base. That is 64, 64, 128, 256, 512 at 128 px, and 64, 128, 256, 512 for a patch of 64 px, as printed in Figure 1.

Deviations:
  - A hole of 56 and a patch of 64 fit together if the patch reaches 4 px over the hole on each side. The band of section 3.1.1, 4 px along
    the patch's border, is then exactly this overlap, whose truth the network has seen; so do Pathak et al. With `overlap_px` = 0 the
    patch is the hole and the band lies inside it.
  - Equation 3 sums the squared error over the hole; here it is the mean over the patch with its overlap, times the band's weights.
  - "Batch normalization after each convolution": as in DCGAN, not after the first layer of encoder and discriminator, where it would take
    away the colours' scale, nor after the outputs.
  - Equation 4 lets the generator minimise log(1 - D); it minimises -log D, which keeps its gradient when the discriminator is sure.
  - The sigmoid is inside the loss. Initial weights (normal, 0.02) and Adam's momentum (0.5) are not given: DCGAN's.
  - The size of the random crops is not given; see `crop_px`.
  - Any image and patch whose side is 4 to 7 px times a power of 2; the last convolution covers what is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH, Game, gradient_norm, probability_readings, winner_by_probability
from trainables.model import InpaintingModel
from trainables.precision import mixed
from trainables.running_means import means

COARSEST_PX = 4
DEEPEST = 8  # filters of the deepest layer over the base
LEAK = 0.2
INITIAL_STD = 0.02
MOMENTUM = (0.5, 0.999)


@dataclass(frozen=True)
class ContextEncoderConfig:
    """Knobs of `context_encoder`; the values are the document's (section 3.1 unless said otherwise).

    Attributes:
        latent: width of the latent vector.
        base_filters: filters of the generator's first layer; Figure 1.
        discriminator_filters: of the discriminator's first layer; "analogous to the encoder".
        adversarial_weight: share of the adversarial loss, the squared error has the rest; equation 5. 0 = squared error alone.
        overlap_px: how far the patch reaches over the hole on each side; (64 - 56) / 2, sections 3.1 and 4.1.
        border_px: width of the band along the patch's border that weighs more; section 3.1.1.
        border_weight: of the squared error in that band, elsewhere 1; section 3.1.1.
        learning_rate: Adam's for the generator; section 4.1.
        discriminator_learning_rate: Adam's for the discriminator; section 4.1.
        decay_factor: what both rates are multiplied by; not in the source, 1 = no decay.
        decay_epochs: after how many epochs each time; not in the source.
        batch_images: images a step, at least 2 for batch norm; section 4.1.
        crop_px: greatest shift of a training image, mirrored at the edge; section 4, no size given. 0 = off.
        mirror: random left-right flips; not in the source.
        collapse_evaluations: how many evaluations in a row one side must have won for the game to count as collapsed.
        precision: "bfloat16" runs the convolutions in mixed precision, "float32" does not.
    """

    latent: int = 4000
    base_filters: int = 64
    discriminator_filters: int = 64
    adversarial_weight: float = 0.001
    overlap_px: int = 4
    border_px: int = 4
    border_weight: float = 10.0
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 1e-4
    decay_factor: float = 1.0
    decay_epochs: float = 10.0
    batch_images: int = 64
    crop_px: int = 8
    mirror: bool = False
    collapse_evaluations: int = 3
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.adversarial_weight <= 1:
            raise ConfigError(
                f"adversarial_weight must lie in [0, 1], but got {self.adversarial_weight}; 0 trains on the squared error alone"
            )
        sizes = {"latent": 1, "base_filters": 1, "discriminator_filters": 1, "batch_images": 2, "collapse_evaluations": 1}
        for name, least in (sizes | {"overlap_px": 0, "border_px": 0, "border_weight": 0}).items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, but got {getattr(self, name)}; use {least} or more")


class Generator(nn.Module):
    """Encoder, latent vector and decoder: an image in, the patch out."""

    def __init__(self, config: ContextEncoderConfig, image_px: int, patch_px: int) -> None:
        super().__init__()
        (halvings, left_px), (doublings, seed_px) = ladder(image_px), ladder(patch_px)
        top = DEEPEST * config.base_filters
        narrow = nn.Conv2d(top, config.latent, left_px, bias=False)
        self.encoder = nn.Sequential(*shrinking(config.base_filters, halvings), narrow, nn.BatchNorm2d(config.latent), nn.LeakyReLU(LEAK))
        layers = [nn.ConvTranspose2d(config.latent, top, seed_px, bias=False), nn.BatchNorm2d(top), nn.ReLU()]
        filters = widths(config.base_filters, doublings)[::-1]
        for wide, narrower in pairwise(filters):
            layers += [nn.ConvTranspose2d(wide, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(filters[-1], 3, 4, 2, 1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1], hole at 0 -> (B, 3, P, P) in [-1, 1]."""
        latent: Tensor = self.encoder(image)  # (B, latent, 1, 1)
        patch: Tensor = self.decoder(latent)
        return patch


def discriminator_network(base_filters: int, patch_px: int) -> nn.Sequential:
    """The encoder's layers and a last convolution to one value: (B, 3, P, P) in [-1, 1] -> (B, 1, 1, 1), the logit of a true patch."""
    halvings, left_px = ladder(patch_px)
    return nn.Sequential(*shrinking(base_filters, halvings), nn.Conv2d(DEEPEST * base_filters, 1, left_px))


def ladder(side_px: int) -> tuple[int, int]:
    """How often a side can be halved without passing below 4 px, and what is left of it."""
    halvings = 0
    while side_px % 2 == 0 and side_px // 2 >= COARSEST_PX:
        halvings, side_px = halvings + 1, side_px // 2
    return halvings, side_px


def widths(base_filters: int, layers: int) -> list[int]:
    """Filters of each layer, the deepest last: 8 times the base, half as many in each one before it, at least the base."""
    return [max(DEEPEST * base_filters // 2**above, base_filters) for above in range(layers - 1, -1, -1)]


def shrinking(base_filters: int, layers: int) -> list[nn.Module]:
    """4x4 convolutions of stride 2, each with batch norm but the first, and leaky ReLU."""
    modules: list[nn.Module] = []
    channels = 3
    for index, filters in enumerate(widths(base_filters, layers)):
        modules.append(nn.Conv2d(channels, filters, 4, 2, 1, bias=index == 0))
        modules += ([nn.BatchNorm2d(filters)] if index else []) + [nn.LeakyReLU(LEAK)]
        channels = filters
    return modules


def border_weights(patch_px: int, border_px: int, border_weight: float) -> Tensor:
    """Weights of the squared error: `border_weight` in a band of `border_px` along the border, 1 elsewhere; (1, 1, P, P) float32."""
    weights = torch.full((1, 1, patch_px, patch_px), float(border_weight))
    weights[:, :, border_px : patch_px - border_px, border_px : patch_px - border_px] = 1
    return weights


class ContextEncoder(InpaintingModel):
    """Trains generator and discriminator in turn, one step each a batch.

    Who wins: see `trainables.game.winner_by_probability`.
    """

    Config = ContextEncoderConfig
    masks = frozenset({"centre"})
    extra_metrics = HEALTH | GAP

    def __init__(self, config: ContextEncoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: ContextEncoderConfig = config
        self.patch_px = mask.hole_px + 2 * config.overlap_px
        self.start_px = mask.centre_start(image_px) - config.overlap_px
        self._check(image_px)
        generator = Generator(config, image_px, self.patch_px)
        discriminator = discriminator_network(config.discriminator_filters, self.patch_px)
        self.networks = {"generator": generator, "discriminator": discriminator}
        self.rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
        for name, rate in self.rates.items():
            self.networks[name].apply(initialise).to(memory_format=torch.channels_last)
            self.optimizers[name] = torch.optim.Adam(self.networks[name].parameters(), lr=rate, betas=MOMENTUM, fused=True)
        self.weights = border_weights(self.patch_px, config.border_px, config.border_weight)
        self.game: Game = Game(config.collapse_evaluations)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror, crop_px=self.config.crop_px)

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        patch = torch.zeros(1, 3, self.patch_px, self.patch_px, device=self.device_of("discriminator"))
        return super().network_inputs() | {"discriminator": (patch,)}

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        return self.game_health(means(self._iteration(batch) for batch in batches), winner_by_probability)

    def _iteration(self, batch: Batch) -> dict[str, Tensor]:
        self._set_rates(batch.epoch)
        patch, truth = self.patch(batch.image, batch.known), self.square(batch.image)
        return self.discriminator_step(truth, patch.detach()) | self.generator_step(patch, truth)

    def discriminator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator on true and on predicted patches, (B, 3, P, P) in [-1, 1]; its figures, detached scalars."""
        real_scores, fake_scores = self.score(real), self.score(fake)
        loss = functional.softplus(-real_scores).mean() + functional.softplus(fake_scores).mean()  # -log D and -log(1 - D)
        self._step("discriminator", loss)
        figures = {"loss_discriminator": loss.detach(), "gradient_norm_discriminator": gradient_norm(self.networks["discriminator"])}
        return figures | probability_readings(real_scores.detach(), fake_scores.detach())

    def generator_step(self, patch: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """One step of the generator on its patches, with their graph; its figures, detached scalars."""
        loss, terms = self.generator_loss(patch, truth)
        self._step("generator", loss)
        return terms | {"loss": loss.detach(), "gradient_norm_generator": gradient_norm(self.networks["generator"])}

    def generator_loss(self, patch: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L of predicted patches against true ones, (B, 3, P, P) in [-1, 1], and both of its terms, detached scalars.

        A term of weight 0 is no part of L. The discriminator's weights get no gradient.
        """
        weight = self.config.adversarial_weight
        reconstruction = (self.weights.to(patch.device) * (patch - truth) ** 2).mean()
        discriminator = self.networks["discriminator"].requires_grad_(False)
        adversarial = functional.softplus(-self.score(patch if weight > 0 else patch.detach())).mean()  # -log D
        discriminator.requires_grad_(True)
        loss = reconstruction if weight == 0 else adversarial if weight == 1 else (1 - weight) * reconstruction + weight * adversarial
        return loss, {"loss_reconstruction": reconstruction.detach(), "loss_adversarial": adversarial.detach()}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        filled = image.clone()
        self._place(filled)[:] = (self.patch(image, known) + 1) / 2
        return filled

    def patch(self, image: Tensor, known: Tensor) -> Tensor:
        """What the generator makes of images in [0, 1] with their holes at medium intensity: (B, 3, P, P) float32 in [-1, 1]."""
        return self._run("generator", (image * 2 - 1) * known)

    def square(self, image: Tensor) -> Tensor:
        """The truth of the patch, cut out of (B, 3, H, W) in [0, 1]: (B, 3, P, P) in [-1, 1]."""
        return self._place(image) * 2 - 1

    def score(self, patch: Tensor) -> Tensor:
        """The discriminator's logits, (B,) float32."""
        return self._run("discriminator", patch).flatten()

    def _check(self, image_px: int) -> None:
        """Raises ConfigError where image, hole, overlap and band do not fit together."""
        if self.patch_px > image_px:
            raise ConfigError(
                f"hole_px + 2 * overlap_px must be at most image_px = {image_px}, but got {self.patch_px}; use a smaller hole or overlap"
            )
        for what, side_px in (("the image size", image_px), ("hole_px + 2 * overlap_px", self.patch_px)):
            halvings, left_px = ladder(side_px)
            if not halvings or left_px >= 2 * COARSEST_PX:
                raise ConfigError(
                    f"{what} must be 4, 5, 6 or 7 px doubled at least once, but got {side_px}; use 32, 48, 64, 96 or 128 for example"
                )
        if 2 * self.config.border_px > self.patch_px:
            raise ConfigError(
                f"border_px must be at most half the patch's {self.patch_px} px, but got {self.config.border_px}; use a narrower band"
            )

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _run(self, name: str, inputs: Tensor) -> Tensor:
        """A network's output, float32, computed in the precision that the knob asks for."""
        with mixed(inputs.device.type, self.config.precision):
            outputs: Tensor = self.networks[name](inputs.contiguous(memory_format=torch.channels_last))
        return outputs.float()

    def _place(self, image: Tensor) -> Tensor:
        """The patch's place in images, a view: (B, 3, P, P)."""
        end = self.start_px + self.patch_px
        return image[:, :, self.start_px : end, self.start_px : end]

    def _set_rates(self, epoch: float) -> None:
        decay = self.config.decay_factor ** (epoch // self.config.decay_epochs)
        for name, rate in self.rates.items():
            self.optimizers[name].param_groups[0]["lr"] = rate * decay


def initialise(module: nn.Module) -> None:
    """DCGAN's initial weights: normal with a standard deviation of 0.02, around 1 for a batch norm's scale; biases are 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d) and module.weight is not None:
        nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
