"""`animal_autoencoder`: an image squeezed by convolutions, pooling and two dense layers; transposed convolutions draw the hole's patch.

Source: `animal_faces`, sections 4.2 to 4.4 (the model and its training) and 6 (its two wishes: "generating all the holes with random size
and random place", and "training an Autoencoder firstly, then 'connecting' a discriminator"). With P the patch's side in pixels:

    image 128 px -> 3 times (convolution, max-pooling) -> 2 dense layers of 2048 -> log2(P) transposed convolutions -> patch P x P

Implemented: the above, which gives 4 transposed convolutions for a hole of 16 px and 5 for one of 32; the squared error over the hole; Adam
at 0.001, batches of 10. `train_placement` = "random_rectangle" trains on holes of random size and place, each inside a patch of the full
size around it, of which the hole alone counts. From `discriminator_epoch` on a discriminator judges the filled image.

Deviations: those of `trainables.patch_game`, and
  - Filters, their sides and the activations are not given: 3x3 convolutions whose filters double at each stage; ReLU; transposed 4x4
    convolutions of stride 2, whose filters halve down to `decoder_filters`, at most 8 times as many; no activation on the output.
  - How the dense layers end up in the decoder is not given: the second one's units are the channels of a map of 1x1, which the first
    transposed convolution (2x2, where the other taps of a 4x4 filter would never meet the map) doubles.
  - Holes in an exact place need no location map; here it is always a fourth channel, so that holes may be anywhere.
  - Everything works in [-1, 1] with the hole at 0, so the squared error is four times that in [0, 1].
  - With a `first_stage` the network gives what is to be added to that fill.
  - What the discriminator would look like is not said: it scores patches of a square twice as wide as the predicted patch, around the
    hole, with the true known pixels in it, so that it sees whether edges go on over the hole's border.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Augmentation, Mask
from trainables.dropout import Dropout
from trainables.errors import ConfigError
from trainables.image_autoencoder import check_size
from trainables.patch_autoencoder import cut_squares, paste_squares
from trainables.patch_game import PATCH_HALVINGS, PatchGame, PatchGameConfig, signed
from trainables.reconstruction import INPUT_CHANNELS, error_weights

WIDEST = 8  # filters of the decoder's widest layer over its last one's


@dataclass(frozen=True)
class AnimalAutoencoderConfig(PatchGameConfig):
    """Knobs of `animal_autoencoder`; the values are the document's (section 4.3 unless said otherwise).

    `overlap_px` widens the predicted patch: the known pixels within it then count in the loss too.

    Attributes:
        stages: convolutions, each followed by a max-pooling.
        base_filters: of the first stage, doubled at each next one; not given in the source.
        dense: units of each of the two dense layers.
        decoder_filters: of the last hidden transposed convolution; not given in the source.
        batch_norm: after every hidden layer, before its ReLU; not in the source.
        dropout: share of the units of both dense layers that training drops; not in the source, 0 = none.
        discriminator_epoch: from which epoch on the discriminator takes part; below 0 = never, as in the document, 0 = from the start.
        momentum: Adam's first moment, of both sides; not given in the source, Adam's own.
        batch_images: images a step; section 4.4.
        crop_px: greatest shift of a training image, mirrored at the edge; not in the source, 0 = off.
    """

    stages: int = 3
    base_filters: int = 32
    dense: int = 2048
    decoder_filters: int = 32
    batch_norm: bool = False
    dropout: float = 0.0
    discriminator_epoch: float = -1.0
    momentum: float = 0.9
    batch_images: int = 10
    crop_px: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stages", "base_filters", "dense", "decoder_filters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), but got {self.dropout}; 0 drops nothing")
        if not self.discriminator_epoch >= -1:
            raise ConfigError(f"discriminator_epoch must be at least -1, but got {self.discriminator_epoch}; -1 leaves the game out")
        if self.batch_norm and self.batch_images < 2:
            raise ConfigError(f"batch_images must be at least 2 with batch_norm, but got {self.batch_images}; use 2 or more")
        if not self.hole_weight and not self.overlap_px:
            raise ConfigError(f"hole_weight must be greater than 0 without an overlap, but got {self.hole_weight}; nothing would be learnt")


class AnimalNetwork(nn.Module):
    """Encoder, dense layers and decoder: a holed image and its location map in, the patch out."""

    def __init__(self, config: AnimalAutoencoderConfig, image_px: int, patch_px: int) -> None:
        super().__init__()
        norm, coarse_px = config.batch_norm, image_px // 2**config.stages
        channels = [INPUT_CHANNELS, *(config.base_filters * 2**stage for stage in range(config.stages))]
        encoder: list[nn.Module] = []
        for before, after in pairwise(channels):
            encoder += [nn.Conv2d(before, after, 3, padding=1, bias=not norm), *_active(after, norm, nn.BatchNorm2d), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*encoder)
        dense: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise([channels[-1] * coarse_px**2, config.dense, config.dense]):
            dense += [nn.Linear(before, after, bias=not norm), *_active(after, norm, nn.BatchNorm1d), Dropout(config.dropout)]
        self.dense = nn.Sequential(*dense, nn.Unflatten(1, (config.dense, 1, 1)))
        widths = decoder_widths(config.decoder_filters, patch_px)
        decoder: list[nn.Module] = []
        for before, after in pairwise([config.dense, *widths]):
            shape = (4, 2, 1) if decoder else (2, 2, 0)  # side, stride and padding: either doubles its map
            decoder += [nn.ConvTranspose2d(before, after, *shape, bias=not norm), *_active(after, norm, nn.BatchNorm2d)]
        self.decoder = nn.Sequential(*decoder, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1))

    def forward(self, visible: Tensor) -> Tensor:
        """(B, 4, H, W) float32, image in [-1, 1] and location map -> (B, 3, P, P)."""
        units = self.dense(self.encoder(visible))  # (B, dense, 1, 1)
        patch: Tensor = self.decoder(units)
        return patch


def _active(channels: int, norm: bool, layer: type[nn.BatchNorm1d] | type[nn.BatchNorm2d]) -> list[nn.Module]:
    return [layer(channels), nn.ReLU()] if norm else [nn.ReLU()]


def decoder_widths(last_filters: int, patch_px: int) -> list[int]:
    """Filters of the hidden transposed convolutions, one fewer than doublings from 1 px to `patch_px`."""
    hidden = int(math.log2(patch_px)) - 1
    return [last_filters * min(2**above, WIDEST) for above in reversed(range(hidden))]


class AnimalAutoencoder(PatchGame):
    """Trains `AnimalNetwork` on the squared error of the hole, and from some epoch on against a discriminator of the hole's surroundings.

    Until the discriminator joins it costs nothing: its scores are not computed, and it is as it was built.
    """

    Config = AnimalAutoencoderConfig
    masks = frozenset({"centre", "random_square", "random_rectangle"})
    judges = {"discriminator": "composite"}  # noqa: RUF012 - the base class declares it a ClassVar
    sees_composites = True

    def __init__(self, config: AnimalAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: AnimalAutoencoderConfig = config
        self.patch_px = mask.hole_px + 2 * config.overlap_px
        self._check()
        multiple = 2**PATCH_HALVINGS
        self.judged_px = min(image_px, math.ceil(2 * self.patch_px / multiple) * multiple)
        self.adopt(AnimalNetwork(config, image_px, self.patch_px))

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror, crop_px=self.config.crop_px)

    @property
    def has_game(self) -> bool:
        return super().has_game and self.config.discriminator_epoch >= 0

    def players(self, epoch: float) -> list[str]:
        return self.discriminators if epoch >= self.config.discriminator_epoch else []

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        inputs = super().network_inputs()
        for name in self.discriminators:
            (image,) = inputs[name]
            inputs[name] = (image[..., : self.judged_px, : self.judged_px],)
        return inputs

    def outputs(self, image: Tensor, known: Tensor) -> dict[str, Tensor]:
        outputs = {"patch": self.patch(image, known)}
        if self.playing:
            outputs["composite"] = self.composite(signed(image), outputs["patch"], known)
        return outputs

    def network_loss(self, outputs: Mapping[str, Tensor], image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        squared = self.squared_error(outputs["patch"], image, known)
        if not self.playing:
            return squared, {"loss_reconstruction": squared.detach()}
        shown, near = self.surroundings(outputs["composite"], known), self.surroundings(known, known)
        adversarial = self.patch_mean((self.frozen_scores("discriminator", shown) - 1) ** 2, near).mean()
        loss = squared + self.config.adversarial_weight * adversarial
        return loss, {"loss_reconstruction": squared.detach(), "loss_adversarial": adversarial.detach()}

    def discriminator_loss(self, name: str, real: Tensor, fake: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().discriminator_loss(name, *(self.surroundings(shown, known) for shown in (real, fake, known)))

    def squared_error(self, patch: Tensor, image: Tensor, known: Tensor) -> Tensor:
        """Mean squared error of patches in [-1, 1] against images in [0, 1] over the hole and its overlap; scalar."""
        margin_px = self.config.overlap_px
        counted = functional.max_pool2d(1 - known, 2 * margin_px + 1, stride=1, padding=margin_px)
        corner = corners_around(known, self.patch_px)
        weights = cut_squares(counted * error_weights(known, self.config), corner, self.patch_px, 0)
        truth = cut_squares(signed(image), corner, self.patch_px, 0)
        return (weights * (patch - truth) ** 2).sum() / (weights.sum().clamp(min=1e-12) * image.shape[1])

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return (self.composite(signed(image), self.patch(image, known), known) + 1) / 2

    def patch(self, image: Tensor, known: Tensor) -> Tensor:
        """The hole's patch for images in [0, 1], of which the known pixels alone are read: (B, 3, P, P) float32 in [-1, 1]."""
        visible = self.visible(image, known)
        hole = visible[:, :3] * (1 - known)  # 0, or what the first stage made of it
        return self.run(self.network, visible) + cut_squares(hole, corners_around(known, self.patch_px), self.patch_px, 0)

    def composite(self, image: Tensor, patch: Tensor, known: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] with their holes, and nothing else, filled from patches (B, 3, P, P)."""
        return torch.where(known > 0.5, image, paste_squares(image, patch, corners_around(known, self.patch_px)))

    def surroundings(self, image: Tensor, known: Tensor) -> Tensor:
        """The square that the discriminator judges, cut out of (B, C, H, W): (B, C, J, J)."""
        return cut_squares(image, corners_around(known, self.judged_px), self.judged_px, 0)

    def _check(self) -> None:
        """Raises ConfigError where image, stages, hole and overlap do not fit together."""
        check_size(self.image_px, 2**self.config.stages)
        if self.patch_px < 4 or self.patch_px & (self.patch_px - 1):
            raise ConfigError(
                f"hole_px + 2 * overlap_px must be a power of 2 from 4, but got {self.patch_px}; each layer doubles the map, use 16 or 32"
            )
        if self.patch_px > self.image_px:
            raise ConfigError(
                f"hole_px + 2 * overlap_px must be at most image_px = {self.image_px}, but got {self.patch_px}; use a smaller overlap"
            )
        if self.config.train_hole_px > self.mask.hole_px:
            raise ConfigError(
                f"train_hole_px must be at most hole_px = {self.mask.hole_px}, but got {self.config.train_hole_px}; "
                "the patch must cover the hole"
            )


def corners_around(known: Tensor, side_px: int) -> Tensor:
    """First row and column of a square around each image's rectangular hole, which is in its middle where the image's edge allows it.

    Args:
        known: (B, 1, H, W) float32, 1 = known.
        side_px: of the square; at most the image's.

    Returns:
        (B, 2) int64.
    """
    hole = known[:, 0] < 0.5
    corners = []
    for lines in (hole.any(2), hole.any(1)):  # rows and columns with a hole, (B, H) and (B, W)
        spare_px = side_px - lines.sum(1)
        first = lines.int().argmax(1) - torch.div(spare_px, 2, rounding_mode="floor")
        corners.append(first.clamp(0, lines.shape[1] - side_px))
    return torch.stack(corners, dim=1)
