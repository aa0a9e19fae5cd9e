"""`patch_autoencoder`: the encoder of `image_autoencoder`, and a decoder that gives the hole alone.

Source: `thesis`, section 3.2.1: the loss L = 1/n^2 sum (R - R')^2 over the hole, n = 12, after Burlin et al. 2017; the known pixels are
kept as they are.

Deviations: those of `trainables.reconstruction`, and
  - The section has no table of layers. Here the encoder is that of Table 3.2; a dense layer brings it to the latent vector of Table 3.5's
    size and another one to a square of a quarter of the patch's side; the last two transposed convolutions and the last convolution of
    Table 3.3 follow.
  - The location map tells the network where in the image its patch belongs; the document does not say whether this model gets it.
  - The loss is a mean over the channels too, a third of the formula.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.image_autoencoder import SHRINKING, check_size, growing, image_encoder
from trainables.reconstruction import ReconstructionConfig, Reconstructor, check_filter, convolution, error_weights

SEED_SHRINKING = 4


@dataclass(frozen=True)
class PatchAutoencoderConfig(ReconstructionConfig):
    """Knobs of `patch_autoencoder`; the values are the document's (Tables 3.2, 3.3 and 3.5).

    `overlap_px` widens the predicted patch: with it the network predicts a ring of known pixels too. The patch keeps the measured hole's
    size where `train_hole_px` is smaller, and then covers known pixels below and to the right.

    Attributes:
        latent: width of the latent vector; Table 3.5.
        base_filters: of the first convolution; the others have 2, 4 and 8 times as many.
        filter_px: side of every filter; odd.
    """

    latent: int = 1024
    base_filters: int = 32
    filter_px: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter("filter_px", self.filter_px)
        for name in ("latent", "base_filters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if not self.hole_weight and not self.overlap_px:
            raise ConfigError(f"hole_weight must be greater than 0 without an overlap, but got {self.hole_weight}; nothing would be learnt")


class PatchNetwork(nn.Module):
    """Encoder, latent vector and decoder: a holed image and its location map in, the patch out."""

    def __init__(self, config: PatchAutoencoderConfig, image_px: int, patch_px: int) -> None:
        super().__init__()
        filters, coarse_px, seed_px = 8 * config.base_filters, image_px // SHRINKING, patch_px // SEED_SHRINKING
        self.encoder = image_encoder(config.base_filters, config.filter_px)
        self.inner = nn.Sequential(
            nn.Flatten(),
            nn.Linear(filters * coarse_px**2, config.latent),
            nn.ReLU(),
            nn.Linear(config.latent, filters * seed_px**2),
            nn.ReLU(),
            nn.Unflatten(1, (filters, seed_px, seed_px)),
        )
        widths = [filters, filters // 2, filters // 4]
        self.decoder = nn.Sequential(*growing(widths, config.filter_px), convolution(widths[-1], 3, config.filter_px), nn.Sigmoid())

    def forward(self, visible: Tensor) -> Tensor:
        """(B, 4, H, W) float32 -> (B, 3, P, P) in [0, 1]."""
        seed = self.inner(self.encoder(visible))  # (B, 8 * base_filters, P / 4, P / 4)
        patch: Tensor = self.decoder(seed)
        return patch


class PatchAutoencoder(Reconstructor):
    """Trains `PatchNetwork` on the squared error of the hole, and of the overlap around it where that is on."""

    Config = PatchAutoencoderConfig
    masks = frozenset({"centre", "random_square"})

    def __init__(self, config: PatchAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: PatchAutoencoderConfig = config
        self.patch_px = mask.hole_px + 2 * config.overlap_px
        check_size(image_px, SHRINKING)
        if config.train_hole_px > mask.hole_px:
            raise ConfigError(
                f"train_hole_px must be at most hole_px = {mask.hole_px}, but got {config.train_hole_px}; the patch must cover the hole"
            )
        if self.patch_px % SEED_SHRINKING:
            raise ConfigError(
                f"hole_px + 2 * overlap_px must be a multiple of {SEED_SHRINKING}, but got {self.patch_px}; it is doubled twice"
            )
        self.adopt(PatchNetwork(config, image_px, self.patch_px))

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        corner, margin = hole_corners(known), self.config.overlap_px
        truth = cut_squares(image, corner, self.patch_px, margin)
        weights = cut_squares(error_weights(known, self.config), corner, self.patch_px, margin)
        error = (weights * (self.output(image, known) - truth) ** 2).sum()
        return error / (weights.sum().clamp(min=1e-12) * image.shape[1]), {}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        hole_px, margin = self.mask.hole_px, self.config.overlap_px
        patch = self.output(image, known)[:, :, margin : margin + hole_px, margin : margin + hole_px]
        return paste_squares(image, patch, hole_corners(known))


def hole_corners(known: Tensor) -> Tensor:
    """First row and column of each image's square hole: (B, 1, H, W) float32, 1 = known -> (B, 2) int64."""
    hole = known[:, 0] < 0.5
    return torch.stack([hole.any(2).int().argmax(1), hole.any(1).int().argmax(1)], dim=1)


def cut_squares(image: Tensor, corner: Tensor, side_px: int, margin_px: int) -> Tensor:
    """Cuts one square out of each image.

    Args:
        image: (B, C, H, W).
        corner: (B, 2) int64, first row and column of each hole.
        side_px: of the square.
        margin_px: how far the square begins above and left of the hole.

    Returns:
        (B, C, side_px, side_px), 0 outside the image.
    """
    beyond_px = margin_px + side_px  # a square may reach over the edge by less than its side
    padded = functional.pad(image, (margin_px, beyond_px, margin_px, beyond_px))
    batch, rows, columns = _indices(corner, side_px)
    return padded.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def paste_squares(image: Tensor, patch: Tensor, corner: Tensor) -> Tensor:
    """A copy of the images (B, C, H, W) with each patch (B, C, P, P) at its corner (B, 2) int64."""
    pasted = image.permute(0, 2, 3, 1).clone()
    batch, rows, columns = _indices(corner, patch.shape[-1])
    pasted[batch, rows, columns] = patch.permute(0, 2, 3, 1)
    return pasted.permute(0, 3, 1, 2)


def _indices(corner: Tensor, side_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of each image's square: image (B, 1, 1), rows (B, P, 1), columns (B, 1, P)."""
    reach = torch.arange(side_px, device=corner.device)
    batch = torch.arange(len(corner), device=corner.device)
    return batch[:, None, None], (corner[:, :1] + reach)[:, :, None], (corner[:, 1:] + reach)[:, None, :]
