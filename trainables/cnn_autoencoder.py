"""`cnn_autoencoder`: a convolutional encoder, a bottleneck, and a decoder that outputs the hole.

Source: `beyond_cnns`, sections Autoencoders and Results / Autoencoders, Table 1; the overlap trick from section Reducing Continuity
Errors; other encoders from section Deep Convolutional GANs. Input 32x32x3 with the 8x8 centre zeroed, output 8x8x3, squared error.

Implemented: [Conv - Conv - Pool2] x 3 or the same with stride-2 convolutions, filters doubling from 32 or 64, two fully connected or
two convolutional layers as the neck, batch norm on each layer, dropout at every activation, Adam with a decaying learning rate.

Deviations:
  - The document does not describe the decoder. Here it starts from a small square (4x4 for a hole of 8x8) and doubles it with
    4x4 transposed convolutions, halving the filters, to the size of the hole; a last 3x3 convolution gives the colours, unbounded.
  - With `downsampling="stride"` the second convolution of each stage takes the stride; the document does not say which.
  - "Dropout at every activation" (rate 0.5) is the default; `dropout_at="neck"` keeps it out of the convolutions.
  - The document gives no learning rate, decay or batch size. Defaults are Adam's 1e-3, decay by 0.5 every 3 epochs, 128 images.
  - Any image size that the three strides divide, any even centre hole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from trainables.backbones import BACKBONES, SHRINKING, STAGES, Backbone, Style, finished
from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.precision import mixed
from trainables.running_means import means

COARSEST_PATCH_PX = 4

Activation = Literal["relu", "leaky_relu", "elu", "tanh"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class CnnAutoencoderConfig:
    """Knobs of `cnn_autoencoder`; the values are the paper's (section Autoencoders unless said otherwise).

    Attributes:
        bottleneck: width of the latent vector; Table 1's best, 512.
        base_filters: filters of the first stage, doubled at each next one.
        backbone: the encoder, see `trainables.backbones`; "plain" is the document's own, section Deep Convolutional GANs has the others.
        kernel_px: side of the plain encoder's filters; odd.
        downsampling: of the plain encoder, "stride" (the paper's later choice) or "pool".
        neck: "fc" (two fully connected layers) or "conv" (two convolutions).
        activation: ReLU "consistently outperformed alternatives".
        batch_norm: on each layer; "around 15 %".
        dropout: probability; section Results / Autoencoders, 0.5, studied from 0.4 to 0.8; 0 switches it off.
        dropout_at: "every" activation, or the "neck" alone.
        learning_rate: Adam's; not given in the source.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        batch_images: images a step; not given in the source.
        overlap_px: width of the ring around the hole that is predicted too; section Reducing Continuity Errors, 4; 0 = off.
        overlap_weight: weight of that ring's squared error; "more than 20 times".
        hue: augmentation, see `trainables.data.augment`; section Dataset, no strengths given.
        saturation: likewise.
        contrast: likewise.
        blur_px: likewise.
        mirror: random left-right flips.
        precision: "bfloat16" runs the convolutions in mixed precision, "float32" does not.
    """

    bottleneck: int = 512
    base_filters: int = 32
    backbone: Backbone = "plain"
    kernel_px: int = 3
    downsampling: Literal["stride", "pool"] = "stride"
    neck: Literal["fc", "conv"] = "fc"
    activation: Activation = "relu"
    batch_norm: bool = True
    dropout: float = 0.5
    dropout_at: Literal["every", "neck"] = "every"
    learning_rate: float = 1e-3
    decay_factor: float = 0.5
    decay_epochs: float = 3.0
    batch_images: int = 128
    overlap_px: int = 0
    overlap_weight: float = 20.0
    hue: float = 0.0
    saturation: float = 0.0
    contrast: float = 0.0
    blur_px: float = 0.0
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


class PatchNetwork(nn.Module):
    """Encoder, neck and decoder: an image with a hole in, the hole's square out."""

    def __init__(self, config: CnnAutoencoderConfig, image_px: int, patch_px: int) -> None:
        super().__init__()
        coarse_px = image_px // SHRINKING
        top_filters = config.base_filters * 2 ** (STAGES - 1)
        doublings = patch_doublings(patch_px)
        seed_px = patch_px // 2**doublings
        self.encoder = BACKBONES[config.backbone](_style(config, dropout=config.dropout_at == "every"), config.base_filters)
        self.neck = _neck(config, coarse_px, top_filters, seed_px)
        self.decoder = _decoder(config, top_filters, doublings)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float32, hole zeroed -> (B, 3, patch_px, patch_px) float32."""
        features: Tensor = self.encoder(image)  # (B, 4 * base_filters, H / 8, W / 8)
        seed: Tensor = self.neck(features)  # (B, 4 * base_filters, seed_px, seed_px)
        patch: Tensor = self.decoder(seed)
        return patch


def patch_doublings(patch_px: int) -> int:
    """How many 2x steps the decoder takes from a square of at most 4 px; at least one."""
    doublings = 1
    while patch_px // 2**doublings > COARSEST_PATCH_PX and patch_px % 2 ** (doublings + 1) == 0:
        doublings += 1
    return doublings


def _style(config: CnnAutoencoderConfig, *, dropout: bool) -> Style:
    """What follows each layer, with the dropout or without it."""
    return Style(
        activation=ACTIVATIONS[config.activation],
        batch_norm=config.batch_norm,
        dropout=config.dropout if dropout else 0.0,
        kernel_px=config.kernel_px,
        downsampling=config.downsampling,
    )


def _neck(config: CnnAutoencoderConfig, coarse_px: int, filters: int, seed_px: int) -> nn.Sequential:
    """To the bottleneck and back to a square of `seed_px`."""
    style, bias = _style(config, dropout=True), not config.batch_norm
    if config.neck == "fc":
        features, seed = filters * coarse_px**2, filters * seed_px**2
        return nn.Sequential(
            nn.Flatten(),
            *finished(style, nn.Linear(features, config.bottleneck, bias=bias), config.bottleneck, nn.BatchNorm1d),
            *finished(style, nn.Linear(config.bottleneck, seed, bias=bias), seed, nn.BatchNorm1d),
            nn.Unflatten(1, (filters, seed_px, seed_px)),
        )
    narrow = nn.Conv2d(filters, config.bottleneck, coarse_px, bias=bias)  # (B, bottleneck, 1, 1)
    widen = nn.ConvTranspose2d(config.bottleneck, filters, seed_px, bias=bias)  # (B, filters, seed_px, seed_px)
    return nn.Sequential(*finished(style, narrow, config.bottleneck), *finished(style, widen, filters))


def _decoder(config: CnnAutoencoderConfig, filters: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    style = _style(config, dropout=config.dropout_at == "every")
    for _ in range(doublings):
        narrower = max(filters // 2, config.base_filters)
        layers += finished(style, nn.ConvTranspose2d(filters, narrower, 4, 2, 1, bias=not config.batch_norm), narrower)
        filters = narrower
    layers.append(nn.Conv2d(filters, 3, 3, padding=1))
    return nn.Sequential(*layers)


def overlap_weights(hole_px: int, overlap_px: int, overlap_weight: float) -> Tensor:
    """Weights of the squared error: 1 in the hole, `overlap_weight` in the ring around it, scaled to a mean of 1.

    Args:
        hole_px: side of the hole.
        overlap_px: width of the ring.
        overlap_weight: the ring's weight against the hole's.

    Returns:
        (1, 1, P, P) float32 with P = hole_px + 2 * overlap_px.
    """
    weights = torch.full((1, 1, hole_px + 2 * overlap_px, hole_px + 2 * overlap_px), float(overlap_weight))
    weights[:, :, overlap_px : overlap_px + hole_px, overlap_px : overlap_px + hole_px] = 1
    return weights / weights.mean()


class CnnAutoencoder(InpaintingModel):
    """Trains `PatchNetwork` on the squared error of the hole, and of the overlap around it where that is on."""

    Config = CnnAutoencoderConfig
    masks = frozenset({"centre"})

    def __init__(self, config: CnnAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: CnnAutoencoderConfig = config
        patch_px = mask.hole_px + 2 * config.overlap_px
        if config.backbone not in BACKBONES:
            raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}, but got {config.backbone!r}; name one of these")
        if image_px % SHRINKING:
            raise ConfigError(f"the image size must be a multiple of {SHRINKING}, but got {image_px}; the three strides must divide it")
        if config.overlap_px < 0:
            raise ConfigError(f"overlap_px must be at least 0, but got {config.overlap_px}; 0 switches the overlap off")
        if patch_px % 2:
            raise ConfigError(f"hole_px + 2 * overlap_px must be even, but got {patch_px}; the decoder doubles its size; use an even hole")
        if patch_px > image_px:
            raise ConfigError(
                f"hole_px + 2 * overlap_px must be at most the image's {image_px}, but got {patch_px}; use a smaller overlap_px or hole"
            )
        self.start_px = mask.centre_start(image_px) - config.overlap_px
        self.patch_px = patch_px
        self.network = PatchNetwork(config, image_px, patch_px).to(memory_format=torch.channels_last)
        self.networks = {"network": self.network}
        self.optimizers = {"network": torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)}
        self.weights = overlap_weights(mask.hole_px, config.overlap_px, config.overlap_weight)

    @property
    def augmentation(self) -> Augmentation:
        config = self.config
        return Augmentation(config.hue, config.saturation, config.contrast, config.blur_px, config.mirror)

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.network.train()
        return means({"loss": self._step(batch)} for batch in batches)

    def _step(self, batch: Batch) -> Tensor:
        """One update; the loss before it, a detached scalar."""
        optimizer = self.optimizers["network"]
        self.set_rate(optimizer, self.config.learning_rate, batch.epoch)
        loss = self.loss(batch.image, batch.known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    def set_rate(self, optimizer: Optimizer, initial: float, epoch: float) -> None:
        """Sets an optimiser's learning rate, decayed from `initial`, for a position in the training."""
        for group in optimizer.param_groups:
            group["lr"] = initial * self.config.decay_factor ** (epoch // self.config.decay_epochs)

    def loss(self, image: Tensor, known: Tensor) -> Tensor:
        """Weighted mean squared error of the predicted square; scalar."""
        return self.reconstruction_loss(self.patch(image * known), image)

    def reconstruction_loss(self, patch: Tensor, image: Tensor) -> Tensor:
        """Weighted mean squared error of a predicted square against the truth; scalar."""
        truth = self._square(image)
        if not self.config.overlap_px:
            return functional.mse_loss(patch, truth)
        return (self.weights.to(image.device) * (patch - truth) ** 2).mean()

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        filled = image.clone()
        end = self.start_px + self.patch_px
        filled[:, :, self.start_px : end, self.start_px : end] = self.patch(image * known)
        return filled

    def patch(self, visible: Tensor) -> Tensor:
        """The network's output for an image with a zeroed hole: the hole's square and the overlap around it, (B, 3, P, P) float32."""
        with mixed(visible.device.type, self.config.precision):
            patch: Tensor = self.network(visible.contiguous(memory_format=torch.channels_last))
        return patch.float()

    def _square(self, image: Tensor) -> Tensor:
        """The square that the network predicts, cut out of the truth."""
        end = self.start_px + self.patch_px
        return image[:, :, self.start_px : end, self.start_px : end]
