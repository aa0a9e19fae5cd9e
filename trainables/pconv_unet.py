"""`pconv_unet`: a U-Net of partial convolutions that fills irregular holes and gives the whole image.

Source: `maggiordomo`, sections 3.2 and 4.2, equations 6 to 12, Figure 2 (after Liu et al. 2018, "Image Inpainting for Irregular Holes Using
Partial Convolutions"). Equation 12:

    L = L_valid + 6 L_hole + 0.05 L_perceptual + 120 (L_style_out + L_style_comp) + 0.1 L_tv

Implemented: stride-2 encoder layers of 7, 5, 5, 3, 3, ... px and 64, 128, 256, 512, 512, ... filters with batch norm and ReLU; for each a
decoder layer: features and masks doubled by their nearest neighbour, the encoder's of that size (the input image last) put beside them, a
3x3 partial convolution, batch norm and leaky ReLU; a sigmoid at the end. Training at one rate, then fine-tuning at a lower one with the
encoder's batch norm frozen. Gradients may be accumulated over parts of a batch.

Deviations:
  - Figure 2's numbers cannot be read from the text. Kernels, filters, no batch norm in the first and the last layer, and the leaky ReLU's
    slope of 0.2 are those of Liu et al. 2018.
  - The published depth of 8 suits 512 px. `depth=0` follows the image: down to 2 px where its side is a power of two, at most 8.
  - A layer with batch norm has no bias of its own: the norm's shift takes its place.
  - The fine-tuning freezes the whole of the encoder's batch norm, statistics, scale and shift.
  - The document names no optimiser here: Adam, as in its section 4.1 and in Liu et al. 2018. Neither does it give a batch size or the
    crop's: 6 images as Liu et al., an eighth of the side.
  - Each loss term: see `trainables.pconv_losses`; the features: `trainables.vgg_features`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import Metric
from trainables.model import InpaintingModel
from trainables.pconv_losses import composite, hole_loss, perceptual_loss, style_loss, total_variation_loss, valid_loss
from trainables.pconv_network import PconvNetwork, depth_of
from trainables.precision import mixed
from trainables.running_means import means
from trainables.vgg_features import FEATURE_KINDS, LEAST_PX, FeatureKind, VggFeatures

PREDICTED_TOGETHER = 32  # images, so that a large evaluation batch fits into memory

_WEIGHTS = ("valid_weight", "hole_weight", "perceptual_weight", "style_weight", "total_variation_weight")
_PERCEPTUAL = ("perceptual_epoch", "perceptual_images")


@dataclass(frozen=True)
class PconvUnetConfig:
    """Knobs of `pconv_unet`; the values are the paper's (section 4.2 unless said otherwise).

    Attributes:
        valid_weight: of the known pixels' absolute error; equation 12.
        hole_weight: of the hole's absolute error; equation 12.
        perceptual_weight: of the features' absolute difference; equation 12.
        style_weight: of the Gram matrices' absolute difference; equation 12.
        total_variation_weight: of the steps between neighbours in and around the hole; equation 12.
        perceptual_features: "imagenet" (section 3.2.2) or "random", see `trainables.vgg_features`; not used where both weights are 0.
        perceptual_epoch: from which epoch on the perceptual and style terms join; not in the source, 0 = from the start.
        perceptual_images: of a batch, chosen at random, that the perceptual and style terms look at; 0 = all, as in the source.
        learning_rate: Adam's, before the fine-tuning.
        fine_tune_learning_rate: Adam's, in the fine-tuning.
        fine_tune_epoch: from which epoch on the model is fine-tuned; 40, of 60.
        base_filters: of the first layer, doubled at each next one up to eight times; not readable in the source, Liu et al.
        depth: encoder layers; 0 = follows the image, 8 at 512 px as published.
        batch_images: images a step; not given in the source, Liu et al.
        accumulation_steps: parts that a batch is split into, one at a time in memory; not in the source.
        crop_share: greatest shift of the random crop, as a share of the image's side; section 4, no size given; 0 switches it off.
        mirror: random left-right flips; not in the source.
        precision: "bfloat16" runs the convolutions in mixed precision, "float32" does not.
    """

    valid_weight: float = 1.0
    hole_weight: float = 6.0
    perceptual_weight: float = 0.05
    style_weight: float = 120.0
    total_variation_weight: float = 0.1
    perceptual_features: FeatureKind = "imagenet"
    perceptual_epoch: float = 0.0
    perceptual_images: int = 0
    learning_rate: float = 2e-4
    fine_tune_learning_rate: float = 5e-5
    fine_tune_epoch: float = 40.0
    base_filters: int = 64
    depth: int = 0
    batch_images: int = 6
    accumulation_steps: int = 1
    crop_share: float = 0.125
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in (*_WEIGHTS, "learning_rate", "fine_tune_learning_rate", "fine_tune_epoch", "depth", *_PERCEPTUAL):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, but got {getattr(self, name)}; use 0 or more")
        for name in ("base_filters", "batch_images", "accumulation_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        for name in ("accumulation_steps", "perceptual_images"):
            if getattr(self, name) > self.batch_images:
                raise ConfigError(
                    f"{name} must be at most batch_images = {self.batch_images}, but got {getattr(self, name)}; use a smaller one"
                )
        if not 0 <= self.crop_share <= 0.5:
            raise ConfigError(f"crop_share must lie in [0, 0.5], but got {self.crop_share}; 0 switches the crop off")
        if self.perceptual_features not in FEATURE_KINDS:
            raise ConfigError(
                f"perceptual_features must be one of {', '.join(FEATURE_KINDS)}, but got {self.perceptual_features!r}; name one of these"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be float32 or bfloat16, but got {self.precision!r}; name one of these")


class PconvUnet(InpaintingModel):
    """Trains `PconvNetwork` on equation 12, then fine-tunes it."""

    Config = PconvUnetConfig
    extra_metrics = {  # noqa: RUF012 - declared a ClassVar in the base class
        "loss_valid": Metric("1", "min", "absolute error of the known pixels over the image's values, training mean, unweighted"),
        "loss_hole": Metric("1", "min", "absolute error of the hole over the image's values, training mean, unweighted"),
        "loss_perceptual": Metric("1", "min", "absolute difference of VGG-16 features, training mean, unweighted; 0 where it is not used"),
        "loss_style": Metric("1", "min", "absolute difference of their Gram matrices, training mean, unweighted; 0 where it is not used"),
        "loss_total_variation": Metric("1", "min", "absolute steps between neighbours in and around the hole, training mean, unweighted"),
    }

    def __init__(self, config: PconvUnetConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: PconvUnetConfig = config
        if self._compares_features and image_px < LEAST_PX:
            raise ConfigError(f"VGG-16's features need images of at least {LEAST_PX} px, but got {image_px}; set both their weights to 0")
        self.network = PconvNetwork(config.base_filters, depth_of(image_px, config.depth)).to(memory_format=torch.channels_last)
        self.networks = {"network": self.network}
        self.optimizers = {"network": torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)}
        self._features: VggFeatures | None = None

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror, crop_px=round(self.config.crop_share * self.image_px))

    @property
    def _compares_features(self) -> bool:
        return self.config.perceptual_weight > 0 or self.config.style_weight > 0

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        (image,) = super().network_inputs()["network"]
        return {"network": (image, torch.ones_like(image[:, :1]))}

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        if self._compares_features:
            self._vgg(self.device_of("network"))  # missing weights are told now, not at the epoch that needs them
        terms = means(self._step(batch) for batch in batches)
        return {"loss": sum(self.weight_of(name) * value for name, value in terms.items())} | terms

    def set_phase(self, epoch: float) -> None:
        """Sets the learning rate and the encoder's batch norm for a position in the training; nothing else decides over them."""
        fine_tuning = epoch >= self.config.fine_tune_epoch
        self.network.train()
        self.network.encoder.train(not fine_tuning)
        for group in self.optimizers["network"].param_groups:
            group["lr"] = self.config.fine_tune_learning_rate if fine_tuning else self.config.learning_rate

    def weight_of(self, term: str) -> float:
        """The weight of a loss term, by the name of its metric."""
        return float(getattr(self.config, f"{term.removeprefix('loss_')}_weight"))

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """One update; returns the means of the terms over the batch, scalars."""
        self.set_phase(batch.epoch)
        count = len(batch.image)
        steps = min(self.config.accumulation_steps, count)  # one of several processes has a part of the batch
        looked_at = min(self.config.perceptual_images or count, count)
        chosen = torch.zeros(count, dtype=torch.bool)
        if batch.epoch >= self.config.perceptual_epoch:
            chosen[torch.randperm(count)[:looked_at] if looked_at < count else slice(None)] = True
        self.optimizers["network"].zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        parts = zip(batch.image.tensor_split(steps), batch.known.tensor_split(steps), chosen.tensor_split(steps), strict=True)
        for image, known, chosen_here in parts:
            terms = self.loss_terms(image, known, chosen_here)
            means = {name: each.sum() / (looked_at if name in ("loss_perceptual", "loss_style") else count) for name, each in terms.items()}
            torch.stack([self.weight_of(name) * mean for name, mean in means.items()]).sum().backward()  # type: ignore[no-untyped-call]
            totals = {name: totals.get(name, 0.0) + mean.detach() for name, mean in means.items()}
        if not self.network.encoder.training:
            self._forget_gradients_of_frozen_norms()
        self.optimizers["network"].step()
        return totals

    def loss_terms(self, image: Tensor, known: Tensor, chosen: Tensor) -> dict[str, Tensor]:
        """The five terms of equation 12, unweighted, one value an image.

        Args:
            image: (B, 3, H, W) float32 in [0, 1].
            known: (B, 1, H, W) float32, 1 = known.
            chosen: (B,) bool, on the CPU: which images the perceptual and style terms look at.

        Returns:
            The terms by the names of their metrics, (B,) float32 each; perceptual and style (chosen.sum(),).
        """
        output = self.output(image * known, known)
        composited = composite(output, image, known)
        perceptual = style = torch.zeros(1, device=image.device)
        if self._compares_features and bool(chosen.any()):
            places = chosen.nonzero()[:, 0].to(image.device)
            compared = (output, composited, image) if bool(chosen.all()) else tuple(each[places] for each in (output, composited, image))
            perceptual, style = self._feature_terms(*compared)
        return {
            "loss_valid": valid_loss(output, image, known),
            "loss_hole": hole_loss(output, image, known),
            "loss_perceptual": perceptual,
            "loss_style": style,
            "loss_total_variation": total_variation_loss(composited, known),
        }

    def output(self, visible: Tensor, known: Tensor) -> Tensor:
        """The network's image, (B, 3, H, W) float32, in the precision that the knob asks for."""
        with mixed(visible.device.type, self.config.precision):
            image: Tensor = self.network(visible.contiguous(memory_format=torch.channels_last), known)
        return image

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        parts = zip(torch.split(image * known, PREDICTED_TOGETHER), torch.split(known, PREDICTED_TOGETHER), strict=True)
        return torch.cat([self.output(visible, mask) for visible, mask in parts])

    def _feature_terms(self, output: Tensor, composited: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The perceptual and the style term of images, (B,) float32 each."""
        features = self._vgg(truth.device)
        count = len(truth)
        with mixed(truth.device.type, self.config.precision):
            both = features(torch.cat([output, composited]).contiguous(memory_format=torch.channels_last))
            with torch.no_grad():
                true = features(truth.contiguous(memory_format=torch.channels_last))
        of_output, of_composited = zip(*(torch.split(level, count) for level in both), strict=True)
        return perceptual_loss(of_output, of_composited, true), style_loss(of_output, of_composited, true)

    def _vgg(self, device: torch.device | None) -> VggFeatures:
        """The features' network, loaded once; a model that only fills needs none."""
        if self._features is None:
            self._features = VggFeatures(self.config.perceptual_features)
        return self._features.to(device)

    def _forget_gradients_of_frozen_norms(self) -> None:
        for module in self.network.encoder.modules():
            if isinstance(module, _BatchNorm):  # several processes have one of their own
                for weight in module.parameters():
                    weight.grad = None
