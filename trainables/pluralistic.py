"""`pluralistic`: several completions of one image, drawn from a latent space of what the hole may hold.

Source: `lsgan`, section 1.2 and Table 3.2, of its reference [27] (Zheng, Cham and Cai 2019, "Pluralistic Image Completion", here "the
paper"). Two paths share an encoder and a generator. The reconstructive path, used in training alone, infers the distribution q(z) of the
hole's content from the content itself; the generative path infers a prior p(z) from the visible image. The generator makes an image from a
draw of either and the visible image's features. With I the truth, M = 1 where known and h the hole's share of the image:

    kl_weight * (KL(q || N(0, sigma(h)^2)) + KL(q || p)) + reconstruction_weight * (|R - I| + |M (G - I)|)
    + adversarial_weight * (E[(D_r(R) - D_r(I))^2] + E[(D(G) - 1)^2])

Implemented: all of it, with short and long-term attention as a knob. sigma grows from small holes to large ones. In KL(q || p) q stands
still, so that term trains the prior alone. The discriminators D_r and D, one for each path, see whole outputs.

Deviations: those of `trainables.patch_game`, and
  - The layers are a compact form of the paper's: 4 to 7 px at the coarsest instead of 8, one residual block an inference, no instance norm
    in the generator, no spectral norm, outputs at full size alone, torch's initial weights.
  - The encoder sees a fourth plane, 1 where it is shown the image.
  - sigma(h), the weights and the rates are those of the authors' published code. That takes both KL terms in both directions, with four
    times the weight; the paper's equations have one direction, and so has this.
  - KL and errors are means over the latent values and over the image's values.
  - The paper ranks draws by D and shows the best; `fill_with` = "mean" fills with the prior's mean instead.
  - `first_stage` and the weights of hole and border act on the visible image and on |R - I|; they are not the paper's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trainables.context_encoder import COARSEST_PX, ladder
from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH
from trainables.metrics import Metric, psnr_from_mse
from trainables.patch_game import PatchGame, PatchGameConfig, signed
from trainables.pluralistic_networks import ATTENDED_HALVINGS, PluralisticNetwork, drawn
from trainables.precision import mixed

SAMPLE_SEED = 27
FILLED_TOGETHER = 100


@dataclass(frozen=True)
class PluralisticConfig(PatchGameConfig):
    """Knobs of `pluralistic`; the values are the paper's, or its published code's where it gives none.

    Attributes:
        base_filters: of the encoder at full size; 32, at most 4 times as many at the coarsest.
        latent: channels of the latent map; 128.
        attention: short and long-term attention at a quarter of the image's side; section 3.
        kl_weight: of both KL terms; 20 in the published code.
        reconstruction_weight: of both absolute errors; 20 in the published code.
        adversarial_weight: of both adversarial losses; 1 in the published code, 0 leaves the discriminators out.
        samples: how many draws are ranked and measured; not given in the source.
        fill_with: the prior's "mean", or the "best" of `samples` draws by the discriminator's score, as in the paper's experiments.
        learning_rate: Adam's; the published code's.
        discriminator_learning_rate: twice the network's; the published code's.
        momentum: Adam's first moment; the published code's.
    """

    base_filters: int = 32
    latent: int = 128
    attention: bool = True
    kl_weight: float = 20.0
    reconstruction_weight: float = 20.0
    adversarial_weight: float = 1.0
    samples: int = 5
    fill_with: Literal["mean", "best"] = "best"
    learning_rate: float = 1e-4
    discriminator_learning_rate: float = 2e-4
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("base_filters", "latent", "samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        for name in ("kl_weight", "reconstruction_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, but got {getattr(self, name)}; use 0 or more")
        if self.fill_with not in ("mean", "best"):
            raise ConfigError(f"fill_with must be mean or best, but got {self.fill_with!r}; name one of these")
        if self.fill_with == "best" and not self.adversarial_weight:
            raise ConfigError('fill_with must be "mean" without discriminators, but got "best"; nothing can rank the draws')


class Pluralistic(PatchGame):
    """Trains `PluralisticNetwork` on both paths at once."""

    Config = PluralisticConfig
    extra_metrics = (
        HEALTH
        | GAP
        | {
            "loss_visible": Metric(
                "1", "min", "absolute error of the generative path's known pixels, over the image, training mean, unweighted"
            ),
            "kl_hole": Metric("nat", "min", "KL divergence of the hole's posterior from its fixed prior, a latent value, training mean"),
            "kl_visible": Metric("nat", "min", "KL divergence of the hole's posterior from the visible image's prior, likewise"),
            "psnr_hole_best": Metric("dB", "max", "psnr_hole of the best of `samples` draws of each image"),
            "psnr_hole_mean": Metric("dB", "max", "psnr_hole, mean over `samples` draws of each image"),
            "diversity_hole": Metric("1", "max", "absolute difference of two draws over the hole, mean over pairs; 0 with one draw"),
        }
    )
    judges = {"discriminator": "generated", "reconstruction_discriminator": "reconstructed"}  # noqa: RUF012 - a ClassVar in the base class
    sees_composites = False
    network: PluralisticNetwork

    def __init__(self, config: PluralisticConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: PluralisticConfig = config
        halvings, left_px = ladder(image_px)
        if halvings < ATTENDED_HALVINGS or left_px >= 2 * COARSEST_PX:
            raise ConfigError(
                f"the image size must be 4, 5, 6 or 7 px doubled at least twice, but got {image_px}; use 32, 48, 64, 96 or 128 for example"
            )
        self.adopt(PluralisticNetwork(config.base_filters, config.latent, halvings, config.attention))

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        inputs = super().network_inputs()
        (visible,) = inputs["network"]
        return inputs | {"network": (visible, torch.zeros_like(visible))}

    def outputs(self, image: Tensor, known: Tensor) -> dict[str, Tensor]:
        visible = self.visible(image, known)
        hidden = torch.cat([signed(image) * (1 - known), 1 - known], dim=1)
        with self._precision(image):
            reconstructed, generated, (mean, log_variance), prior = self.network(_last(visible), _last(hidden))
        fixed_log_variance = 2 * prior_sigma(known).log()
        return {
            "reconstructed": reconstructed.float(),
            "generated": generated.float(),
            "kl_hole": gaussian_divergence(mean, log_variance, torch.zeros_like(mean), fixed_log_variance).mean(),
            "kl_visible": gaussian_divergence(mean.detach(), log_variance.detach(), prior[0], prior[1]).mean(),
        }

    def network_loss(self, outputs: Mapping[str, Tensor], image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        reconstructed = self.weighted_distance(outputs["reconstructed"], image, known)
        visible = ((outputs["generated"] - signed(image)) * known).abs().mean()
        loss = config.kl_weight * (outputs["kl_hole"] + outputs["kl_visible"]) + config.reconstruction_weight * (reconstructed + visible)
        figures = {"loss_reconstruction": reconstructed, "loss_visible": visible}
        figures |= {name: outputs[name] for name in ("kl_hole", "kl_visible")}
        if self.discriminators:
            figures["loss_adversarial"] = self.adversarial_loss(outputs, image)
            loss = loss + config.adversarial_weight * figures["loss_adversarial"]
        return loss, {name: figure.detach() for name, figure in figures.items()}

    def adversarial_loss(self, outputs: Mapping[str, Tensor], image: Tensor) -> Tensor:
        """Both paths' adversarial losses, added; scalar."""
        generated = self.frozen_scores("discriminator", outputs["generated"])
        reconstructed = self.frozen_scores("reconstruction_discriminator", outputs["reconstructed"])
        with torch.no_grad():
            true = self.scores("reconstruction_discriminator", signed(image))
        return ((generated - 1) ** 2).mean() + ((reconstructed - true) ** 2).mean()

    def output(self, image: Tensor, known: Tensor) -> Tensor:
        """What the generator makes of the prior's mean, (B, 3, H, W) float32 in [-1, 1]."""
        with self._precision(image):
            features = self.network.features(_last(self.visible(image, known)))
            mean, _ = self.network.prior(features[-1])
            made: Tensor = self.network.generator(mean, features, known)
        return made.float()

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        parts = list(zip(torch.split(image, FILLED_TOGETHER), torch.split(known, FILLED_TOGETHER), strict=True))
        if self.config.fill_with == "mean":
            return torch.cat([(self.output(*part) + 1) / 2 for part in parts])
        return torch.cat([self._best(*part) for part in parts])

    @torch.no_grad()
    def draws(self, image: Tensor, known: Tensor, places: Sequence[int]) -> Tensor:
        """Several completions of each image.

        Args:
            image: (B, 3, H, W) float32 in [0, 1]; its pixels in the hole are not read.
            known: (B, 1, H, W) float32, 1 = known.
            places: of the images in their split, B of them; an image's noise follows from its place alone.

        Returns:
            (samples, B, 3, H, W) float32 in [0, 1], equal to `image` where known.
        """
        with self._precision(image):
            features = self.network.features(_last(self.visible(image * known, known)))
            mean, log_variance = self.network.prior(features[-1])
            noise = noise_of(places, self.config.samples, tuple(mean.shape[1:])).to(image.device)
            made = [self.network.generator(drawn(mean, log_variance, one), features, known).float() for one in noise]
        return torch.where(known > 0.5, image, (torch.stack(made) + 1) / 2)

    @torch.no_grad()
    def measure_fills(self, image: Tensor, known: Tensor, start: int) -> dict[str, Tensor]:
        values = 3 * (1 - known).sum((1, 2, 3)).clamp(min=1)
        measured: list[dict[str, Tensor]] = []
        for first in range(0, len(image), FILLED_TOGETHER):
            part = slice(first, first + FILLED_TOGETHER)
            draws = self.draws(image[part], known[part], range(start + first, start + first + len(image[part])))
            psnr = psnr_from_mse(((draws - image[part]) ** 2).sum((2, 3, 4)) / values[part])  # (samples, B); known pixels are equal
            apart = [(one - other).abs().sum((1, 2, 3)) / values[part] for one, other in combinations(draws, 2)]
            diversity = torch.stack(apart).mean(0) if apart else torch.zeros_like(psnr[0])
            measured.append({"psnr_hole_best": psnr.amax(0), "psnr_hole_mean": psnr.mean(0), "diversity_hole": diversity})
        return {name: torch.cat([part[name] for part in measured]) for name in measured[0]}

    def _best(self, image: Tensor, known: Tensor) -> Tensor:
        """The draw of each image that the discriminator likes best, composited; every image gets the same noise."""
        draws = self.draws(image, known, [0] * len(image))
        scores = torch.stack([self.scores("discriminator", signed(one)).mean((1, 2, 3)) for one in draws])  # (samples, B)
        return draws[scores.argmax(0), torch.arange(len(image), device=image.device)]

    def _precision(self, image: Tensor) -> torch.autocast:
        return mixed(image.device.type, self.config.precision)


def prior_sigma(known: Tensor) -> Tensor:
    """Standard deviation of the hole's fixed prior: 1 / (1 + exp(8 (known share - 0.8))); (B, 1, H, W) -> (B, 1, 1, 1)."""
    return torch.sigmoid(8 * (0.8 - known.mean((1, 2, 3), keepdim=True)))


def gaussian_divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance))) of each value; shapes are broadcast."""
    apart = log_variance - other_log_variance
    return 0.5 * (apart.exp() + (mean - other_mean) ** 2 * (-other_log_variance).exp() - 1 - apart)


def noise_of(places: Sequence[int], samples: int, shape: tuple[int, ...]) -> Tensor:
    """Unit Gaussian noise, (samples, B, *shape) float32; each place has its own, the same at every call."""
    drawn_at = {}
    for place in set(places):
        seed = np.random.SeedSequence((SAMPLE_SEED, place)).generate_state(1, np.uint64)[0]
        drawn_at[place] = torch.randn(samples, *shape, generator=torch.Generator().manual_seed(int(seed >> 1)))
    return torch.stack([drawn_at[place] for place in places], dim=1)


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)
