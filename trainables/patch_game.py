"""What `pluralistic`, `progressive` and `animal_autoencoder` share: a network against least-squares discriminators that score patches.

A discriminator gives one score for each patch of an image, 1 for a true one and 0 for a made one; D minimises half the squared distances
to these labels, the network the squared distance of its own scores to 1. Everything works in [-1, 1].

Source: the least-squares game of `lsgan`, equations 2.1 and 2.2 (Mao et al. 2017, "Least Squares Generative Adversarial Networks"); scores
of patches after Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks".

Deviations: those of `trainables.reconstruction`, and
  - The network's loss has no factor of one half; its weight is a knob.
  - Three 4x4 convolutions of stride 2 and a 3x3 one, leaky ReLU of slope 0.2, no norm.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH, WON_GAP, Game, gradient_norm
from trainables.image_autoencoder import check_size
from trainables.reconstruction import ReconstructionConfig, Reconstructor, error_weights
from trainables.running_means import means

PATCH_HALVINGS = 3
LEAK = 0.2
SECOND_MOMENT = 0.999


@dataclass(frozen=True)
class PatchGameConfig(ReconstructionConfig):
    """Knobs of a least-squares game of patches.

    Attributes:
        adversarial_weight: of the adversarial losses; 0 leaves the discriminators out.
        discriminator_filters: of a discriminator's first layer, doubled at each next one.
        discriminator_learning_rate: Adam's.
        momentum: Adam's first moment, of both sides.
        collapse_evaluations: how many evaluations in a row the network must have won for the game to count as collapsed.
    """

    adversarial_weight: float = 0.01
    discriminator_filters: int = 32
    discriminator_learning_rate: float = 2e-4
    momentum: float = 0.5
    collapse_evaluations: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.adversarial_weight >= 0:
            raise ConfigError(f"adversarial_weight must be at least 0, but got {self.adversarial_weight}; 0 leaves the discriminators out")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must lie in [0, 1), but got {self.momentum}; 0.5 is usual")
        if not self.discriminator_learning_rate > 0:
            raise ConfigError(
                f"discriminator_learning_rate must be greater than 0, but got {self.discriminator_learning_rate}; use a positive value"
            )
        for name in ("discriminator_filters", "collapse_evaluations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")


def patch_discriminator(base_filters: int) -> nn.Sequential:
    """(B, 3, H, W) in [-1, 1] -> scores (B, 1, H / 8, W / 8), each of a patch of 38x38 px."""
    layers: list[nn.Module] = []
    channels = 3
    for index in range(PATCH_HALVINGS):
        filters = base_filters * 2**index
        layers += [nn.Conv2d(channels, filters, 4, 2, 1), nn.LeakyReLU(LEAK)]
        channels = filters
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, 1, 1))


class PatchGame(Reconstructor):
    """Trains discriminators and network in turn, one step each a batch; all see outputs of the same forward pass.

    A discriminator that tells all images apart has not won, since the squared distance to the label keeps its gradient. The network has won
    where the mean scores of true and made images, cut to [0, 1], are less than 0.02 apart. Figures of several discriminators are their
    means over the batches in which they take part; while none does, all figures of the game are 0.

    Attributes:
        judges: name of each discriminator, and which of `outputs` it is shown.
        sees_composites: made images hold the true known pixels, so patches count by their share of the hole.
        playing: names of the discriminators that take part in the current batch.
    """

    extra_metrics = HEALTH | GAP
    judges: ClassVar[Mapping[str, str]]
    sees_composites: ClassVar[bool]
    playing: Sequence[str] = ()

    def __init__(self, config: PatchGameConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: PatchGameConfig = config
        self.game: Game = Game(config.collapse_evaluations)

    def adopt(self, network: nn.Module) -> None:
        """Takes the network, and Adam for it; builds the discriminators."""
        super().adopt(network)
        betas = (self.config.momentum, SECOND_MOMENT)
        self.optimizers["network"] = torch.optim.Adam(network.parameters(), lr=self.config.learning_rate, betas=betas, fused=True)
        if not self.has_game:
            return
        check_size(self.image_px, 2**PATCH_HALVINGS)
        for name in self.judges:
            self.networks[name] = patch_discriminator(self.config.discriminator_filters).to(memory_format=torch.channels_last)
            rate = self.config.discriminator_learning_rate
            self.optimizers[name] = torch.optim.Adam(self.networks[name].parameters(), lr=rate, betas=betas, fused=True)

    @property
    def has_game(self) -> bool:
        """Whether discriminators are built."""
        return self.config.adversarial_weight > 0

    @property
    def discriminators(self) -> list[str]:
        """Names of the discriminators that there are."""
        return [name for name in self.judges if name in self.networks]

    def players(self, epoch: float) -> list[str]:
        """The discriminators that take part at a position in the training; all of them, unless a model has them join later for good."""
        return self.discriminators

    @abstractmethod
    def outputs(self, image: Tensor, known: Tensor) -> dict[str, Tensor]:
        """The network's training pass.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.

        Returns:
            By name: what the discriminators are shown, (B, 3, H, W) float32 in [-1, 1], and whatever else `network_loss` needs.
        """

    @abstractmethod
    def network_loss(self, outputs: Mapping[str, Tensor], image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the network minimises; the discriminators' weights get no gradient from it.

        Args:
            outputs: what `outputs` gave.
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.

        Returns:
            The loss, a scalar with its graph, and its terms before their weights, detached scalars: "loss_reconstruction",
            "loss_adversarial" where there are discriminators, and the class's own.
        """

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        inputs = super().network_inputs()
        (visible,) = inputs["network"]
        return inputs | dict.fromkeys(self.discriminators, (visible[:, :3],))

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        figures = means(self._iteration(batch) for batch in batches)
        if not self.playing:
            return dict.fromkeys(HEALTH | GAP, 0.0) | figures
        return self.game_health(figures, winner_by_gap)

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.network_loss(self.outputs(image, known), image, known)

    def visible(self, image: Tensor, known: Tensor) -> Tensor:
        """The holed image in [-1, 1] with the hole at 0 or filled by the first stage, and the location map; (B, 4, H, W) float32."""
        seen = super().visible(image, known)
        colours = signed(seen[:, :3])
        return torch.cat([colours * known if self.config.first_stage == "none" else colours, known], dim=1)

    def weighted_distance(self, output: Tensor, image: Tensor, known: Tensor) -> Tensor:
        """Mean absolute error of an output in [-1, 1] against the truth in [0, 1], weighted by `error_weights`; scalar."""
        weights = error_weights(known, self.config)
        return (weights * (output - signed(image)).abs()).sum() / (weights.sum().clamp(min=1e-12) * image.shape[1])

    def scores(self, name: str, shown: Tensor) -> Tensor:
        """A discriminator's scores of images in [-1, 1], (B, 1, h, w) float32."""
        return self.run(self.networks[name], shown)

    def patch_mean(self, values: Tensor, known: Tensor) -> Tensor:
        """Mean over the patches of each image, (B, 1, h, w) -> (B,); see `sees_composites`."""
        if not self.sees_composites:
            return values.mean((1, 2, 3))
        height, width = values.shape[-2:]
        share = functional.adaptive_avg_pool2d(1 - known, (height, width))
        return (share * values).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=1e-12)

    def frozen_scores(self, name: str, shown: Tensor) -> Tensor:
        """As `scores`, without a gradient for the discriminator."""
        self.networks[name].requires_grad_(False)
        scores = self.scores(name, shown)
        self.networks[name].requires_grad_(True)
        return scores

    def discriminator_loss(self, name: str, real: Tensor, fake: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 2.1 with the labels 1 and 0, a scalar, and the mean scores of each true and each made image, (B,)."""
        real_scores, fake_scores = self.scores(name, real), self.scores(name, fake)
        squares = self.patch_mean((real_scores - 1) ** 2, known) + self.patch_mean(fake_scores**2, known)
        return squares.mean() / 2, self.patch_mean(real_scores, known), self.patch_mean(fake_scores, known)

    def _iteration(self, batch: Batch) -> dict[str, Tensor]:
        image, known, optimizer = batch.image, batch.known, self.optimizers["network"]
        self.set_rate(optimizer, self.config.learning_rate, batch.epoch)
        self.playing = self.players(batch.epoch)
        outputs = self.outputs(image, known)
        steps = []
        for name in self.playing:
            self.set_rate(self.optimizers[name], self.config.discriminator_learning_rate, batch.epoch)
            steps.append(self._discriminator_step(name, signed(image), outputs[self.judges[name]].detach(), known))
        figures = {key: torch.stack([step[key] for step in steps]).mean() for key in (steps[0] if steps else ())}
        loss, terms = self.network_loss(outputs, image, known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures |= terms | {"loss": loss.detach(), "gradient_norm_generator": gradient_norm(self.network)}
        optimizer.step()
        return figures

    def _discriminator_step(self, name: str, real: Tensor, fake: Tensor, known: Tensor) -> dict[str, Tensor]:
        """One step of a discriminator on true and made images; its figures, detached scalars."""
        loss, real_scores, fake_scores = self.discriminator_loss(name, real, fake, known)
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        figures = {"loss_discriminator": loss.detach(), "gradient_norm_discriminator": gradient_norm(self.networks[name])}
        optimizer.step()
        return figures | label_readings(real_scores.detach(), fake_scores.detach())


def label_readings(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    """Accuracies and `GAP` of a discriminator whose scores, (B,) each, aim at 1 for true images and 0 for made ones; scalars."""
    return {
        "accuracy_real": (real_scores > 0.5).float().mean(),
        "accuracy_fake": (fake_scores < 0.5).float().mean(),
        "gap_probability": real_scores.clamp(0, 1).mean() - fake_scores.clamp(0, 1).mean(),
    }


def winner_by_gap(health: Mapping[str, float]) -> str:
    """Who has won: "the generator" where the discriminators hardly tell its images from true ones, else ""; see `PatchGame`."""
    return "the generator" if health["gap_probability"] < WON_GAP else ""


def signed(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]."""
    return image * 2 - 1
