"""`progressive`: a coarse network predicts the whole missing region, a second one refines the completed image.

Source: `lsgan`, section 1.2, of its reference [4] (Chen and Hu 2018, "An Improved Method for Semantic Image Inpainting with GANs:
Progressive Inpainting"): "first predicted the full missing region ... then completed using a Refinement network".

Implemented: both networks are encoder-decoders with skip connections and dilated convolutions at the coarsest size. The first sees the
holed image and the location map; its output is pasted into the hole; the second sees this composited image and the map. Both are trained
jointly, the refinement's gradient reaches the coarse network:

    loss = coarse_weight * |coarse - truth| + refined_weight * |refined - truth| + adversarial_weight * E[(D(composite) - 1)^2]

Deviations: those of `trainables.patch_game`, and
  - `lsgan` says no more of the method than the sentence above: layers, weights, rates and sizes are this project's.
  - Two stages at full size; Chen and Hu's own stages are not told in `lsgan`.
  - The discriminator sees the refined image with the true known pixels, and a patch counts by its share of the hole.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH
from trainables.image_autoencoder import check_size
from trainables.metrics import Metric
from trainables.patch_game import LEAK, PatchGame, PatchGameConfig, signed
from trainables.precision import mixed
from trainables.reconstruction import INPUT_CHANNELS

DILATIONS = (2, 4)


@dataclass(frozen=True)
class ProgressiveConfig(PatchGameConfig):
    """Knobs of `progressive`; not given in the source unless said otherwise.

    Attributes:
        coarse_filters: of the coarse network at full size, doubled at each halving; not given in the source.
        refinement_filters: of the refinement network; likewise.
        depth: halvings of both networks; likewise.
        coarse_weight: of the coarse output's absolute error; likewise.
        refined_weight: of the refined output's absolute error; likewise.
        adversarial_weight: of the adversarial loss, 0 leaves the discriminator out; likewise.
    """

    coarse_filters: int = 32
    refinement_filters: int = 32
    depth: int = 3
    coarse_weight: float = 1.0
    refined_weight: float = 1.0
    adversarial_weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("coarse_filters", "refinement_filters", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if not self.coarse_weight >= 0:
            raise ConfigError(f"coarse_weight must be at least 0, but got {self.coarse_weight}; 0 leaves the coarse output free")
        if not self.refined_weight > 0:
            raise ConfigError(f"refined_weight must be greater than 0, but got {self.refined_weight}; it is the output that counts")


class Stage(nn.Module):
    """One of the two networks: convolutions down, two dilated ones, and up again with skip connections."""

    def __init__(self, base_filters: int, depth: int) -> None:
        super().__init__()
        widths = [base_filters * 2**level for level in range(depth + 1)]
        self.first = _convolution(INPUT_CHANNELS, base_filters)
        self.down = nn.ModuleList(_convolution(widths[level], widths[level + 1], stride=2) for level in range(depth))
        self.dilated = nn.Sequential(*(_convolution(widths[-1], widths[-1], dilation=dilation) for dilation in DILATIONS))
        self.up = nn.ModuleList(_convolution(widths[level + 1] + widths[level], widths[level]) for level in reversed(range(depth)))
        self.last = nn.Sequential(nn.Conv2d(base_filters, 3, 3, 1, 1), nn.Tanh())

    def forward(self, seen: Tensor) -> Tensor:
        """(B, 4, H, W), image in [-1, 1] and location map -> (B, 3, H, W) in [-1, 1]."""
        features = [self.first(seen)]
        for down in self.down:
            features.append(down(features[-1]))
        grown = self.dilated(features.pop())  # (B, base * 2^depth, H / 2^depth, W / 2^depth)
        for up, skipped in zip(self.up, reversed(features), strict=True):
            grown = up(torch.cat([functional.interpolate(grown, scale_factor=2.0), skipped], dim=1))
        image: Tensor = self.last(grown)
        return image


class ProgressiveNetwork(nn.Module):
    """Both stages."""

    def __init__(self, config: ProgressiveConfig) -> None:
        super().__init__()
        self.coarse = Stage(config.coarse_filters, config.depth)
        self.refinement = Stage(config.refinement_filters, config.depth)

    def forward(self, visible: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4, H, W) holed image and location map -> the coarse and the refined image, both (B, 3, H, W) in [-1, 1]."""
        holed, known = visible[:, :3], visible[:, 3:]
        coarse = self.coarse(visible)
        refined = self.refinement(torch.cat([torch.where(known > 0.5, holed, coarse.to(holed.dtype)), known], dim=1))
        return coarse, refined


def _convolution(channels: int, filters: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, dilation, dilation), nn.LeakyReLU(LEAK))


class Progressive(PatchGame):
    """Trains `ProgressiveNetwork` against a discriminator of the completed images."""

    Config = ProgressiveConfig
    extra_metrics = (
        HEALTH | GAP | {"loss_coarse": Metric("1", "min", "absolute error of the coarse output in [-1, 1], training mean, unweighted")}
    )
    judges = {"discriminator": "composite"}  # noqa: RUF012 - the base class declares it a ClassVar
    sees_composites = True

    def __init__(self, config: ProgressiveConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: ProgressiveConfig = config
        check_size(image_px, 2**config.depth)
        self.adopt(ProgressiveNetwork(config))

    def outputs(self, image: Tensor, known: Tensor) -> dict[str, Tensor]:
        coarse, refined = self.stages(image, known)
        return {"coarse": coarse, "refined": refined, "composite": torch.where(known > 0.5, signed(image), refined)}

    def network_loss(self, outputs: Mapping[str, Tensor], image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        coarse = self.weighted_distance(outputs["coarse"], image, known)
        refined = self.weighted_distance(outputs["refined"], image, known)
        loss = config.coarse_weight * coarse + config.refined_weight * refined
        figures = {"loss_coarse": coarse.detach(), "loss_reconstruction": refined.detach()}
        if self.discriminators:
            squares = (self.frozen_scores("discriminator", outputs["composite"]) - 1) ** 2
            adversarial = self.patch_mean(squares, known).mean()
            loss = loss + config.adversarial_weight * adversarial
            figures["loss_adversarial"] = adversarial.detach()
        return loss, figures

    def output(self, image: Tensor, known: Tensor) -> Tensor:
        return self.stages(image, known)[1]

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return (self.output(image, known) + 1) / 2

    def stages(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The coarse and the refined image for a holed one, (B, 3, H, W) float32 in [-1, 1]; known pixels of `image` alone are read."""
        visible = self.visible(image, known).contiguous(memory_format=torch.channels_last)
        with mixed(visible.device.type, self.config.precision):
            coarse, refined = self.network(visible)
        return coarse.float(), refined.float()
