"""What the systems of `thesis` share: a network that gets a holed image with its location map and gives an image back.

Source: `thesis`, chapter 1 (random squares in every batch), section 3.1 (the location map as fourth channel, 1 = known) and chapter 4 (its
two suggestions for the future: a loss that weighs the hole's inside, its border and an overlap differently, and a classical fill first).

Deviations:
  - The document gives no learning rate, no batch size and no number of epochs. Defaults are Adam's 1e-3 and 32 images.
  - The document trained with Keras. Initial weights, batch norm's momentum and the optimiser's other constants are torch's defaults.
  - "Same" padding at stride 2 leaves one odd pixel. Keras puts it at the bottom and right, torch at the top and left; shapes are equal.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from trainables.classical import check_method, classical_fill
from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.precision import mixed
from trainables.running_means import means

INPUT_CHANNELS = 4

FirstStage = Literal["none", "ring_mean", "telea", "navier_stokes", "biharmonic"]
Placement = Literal["as_measured", "centre", "random_square", "random_rectangle"]
PLACEMENTS: tuple[str, ...] = get_args(Placement)


@dataclass(frozen=True)
class ReconstructionConfig:
    """Knobs that all systems of `thesis` have.

    Attributes:
        first_stage: the classical fill whose result the network refines; chapter 4. "none" leaves the hole at 0.
        hole_weight: weight of the hole's squared errors, known pixels have 1; chapter 4, 1 = the plain mean.
        border_weight: factor for the pixels near the hole's border, on either side; chapter 4, 1 = the plain mean.
        border_px: how far that border reaches into the hole; not given in the source.
        overlap_px: how far it reaches into the known pixels; chapter 4 ("overlap ... a bit"), no width given, 0 = none.
        train_placement: where the holes are in training, if not where they are in measuring; section 1.1, a random square.
        train_hole_px: their side in training, a rectangle's longest; 0 = as in measuring.
        learning_rate: Adam's; not given in the source.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        batch_images: images a step; not given in the source.
        mirror: random left-right flips; not in the source.
        precision: "bfloat16" runs the convolutions in mixed precision, "float32" does not.
    """

    first_stage: FirstStage = "none"
    hole_weight: float = 1.0
    border_weight: float = 1.0
    border_px: int = 1
    overlap_px: int = 0
    train_placement: Placement = "as_measured"
    train_hole_px: int = 0
    learning_rate: float = 1e-3
    decay_factor: float = 1.0
    decay_epochs: float = 10.0
    batch_images: int = 32
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_method("first_stage", self.first_stage, "none")
        if self.train_placement not in PLACEMENTS:
            raise ConfigError(
                f"train_placement must be one of {', '.join(PLACEMENTS)}, but got {self.train_placement!r}; name one of these"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be float32 or bfloat16, but got {self.precision!r}; name one of these")
        for name in ("hole_weight", "border_weight", "border_px", "overlap_px", "train_hole_px"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, but got {getattr(self, name)}; use 0 or more")
        for name in ("learning_rate", "decay_factor", "decay_epochs", "batch_images"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be greater than 0, but got {getattr(self, name)}; use a positive value")


class Reconstructor(InpaintingModel):
    """Trains `network`, (B, 4, H, W) holed image and location map -> an output, on a loss that the subclass defines."""

    Config: ClassVar[type[Any]] = ReconstructionConfig
    network: nn.Module

    def __init__(self, config: ReconstructionConfig, image_px: int, mask: Mask) -> None:
        """Checks what the shared knobs ask for; the subclass builds its network and calls `adopt`.

        Args:
            config: the knobs.
            image_px: side of the images.
            mask: where the holes will be in measuring.

        Raises:
            ConfigError: holes for training that do not fit the images, or have no side.
        """
        super().__init__(config, image_px, mask)
        self.config: ReconstructionConfig = config
        check_training_side(config, mask)
        self.training_mask.check(image_px)

    def adopt(self, network: nn.Module) -> None:
        """Takes the network, and Adam for it."""
        self.network = network.to(memory_format=torch.channels_last)
        self.networks["network"] = self.network
        self.optimizers["network"] = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate, fused=True)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror)

    @property
    def training_mask(self) -> Mask:
        config = self.config
        if config.train_placement == "as_measured" and not config.train_hole_px:
            return self.mask
        kind = self.mask.kind if config.train_placement == "as_measured" else config.train_placement
        return Mask(kind, config.train_hole_px or self.mask.hole_px, self.mask.ratio_low, self.mask.ratio_high)

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        device = next(self.network.parameters()).device
        return {"network": (torch.zeros(1, INPUT_CHANNELS, self.image_px, self.image_px, device=device),)}

    @abstractmethod
    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the network minimises on one batch.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.

        Returns:
            The loss, a scalar with its graph, and further figures to report, detached scalars.
        """

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.network.train()
        return means(self._step(batch) for batch in batches)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """One update; its figures, detached scalars."""
        optimizer = self.optimizers["network"]
        self.set_rate(optimizer, self.config.learning_rate, batch.epoch)
        loss, figures = self.loss(batch.image, batch.known)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {"loss": loss.detach()} | figures

    def set_rate(self, optimizer: Optimizer, initial: float, epoch: float) -> None:
        """Sets an optimiser's learning rate, decayed from `initial`, for a position in the training."""
        for group in optimizer.param_groups:
            group["lr"] = initial * self.config.decay_factor ** (epoch // self.config.decay_epochs)

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return self.output(image, known)

    def output(self, image: Tensor, known: Tensor) -> Tensor:
        """The network's image for a holed one, float32; only the known pixels of `image` are read."""
        return self.run(self.network, self.visible(image, known))

    def visible(self, image: Tensor, known: Tensor) -> Tensor:
        """What the network sees, (B, 4, H, W) float32: the image, its hole zeroed or filled by the first stage, and the location map."""
        holed = image * known
        if self.config.first_stage != "none":
            holed = classical_fill(self.config.first_stage, holed, known)
        return torch.cat([holed, known], dim=1)

    def run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """A network's output in the precision that the knob asks for, float32."""
        with mixed(inputs[0].device.type, self.config.precision):
            output: Tensor = network(*(entry.contiguous(memory_format=torch.channels_last) for entry in inputs))
        return output.float()

    def weighted_error(self, output: Tensor, image: Tensor, known: Tensor) -> Tensor:
        """Mean squared error over image and channels, weighted by `error_weights`; scalar."""
        weights = error_weights(known, self.config)
        return (weights * (output - image) ** 2).sum() / (weights.sum().clamp(min=1e-12) * image.shape[1])


def error_weights(known: Tensor, config: ReconstructionConfig) -> Tensor:
    """The weight of each pixel's squared error.

    Args:
        known: (B, 1, H, W) float32, 1 = known.
        config: hole_weight, border_weight, border_px and overlap_px count.

    Returns:
        (B, 1, H, W) float32: 1 where known, `hole_weight` in the hole; times `border_weight` in the hole's outermost `border_px` pixels and
        in the `overlap_px` known pixels around it. Distances are those of a king on a chessboard.
    """
    weights = known + config.hole_weight * (1 - known)
    if config.border_weight == 1:
        return weights
    border = _grown(known, config.border_px) * (1 - known) + _grown(1 - known, config.overlap_px) * known
    return weights * (1 + (config.border_weight - 1) * border)


def _grown(region: Tensor, width_px: int) -> Tensor:
    """A region with everything within `width_px` of it; 0 gives nothing."""
    if width_px == 0:
        return torch.zeros_like(region)
    return functional.max_pool2d(region, 2 * width_px + 1, stride=1, padding=width_px)


def convolution(channels: int, filters: int, filter_px: int, stride: int = 1) -> nn.Conv2d:
    """A convolution with "same" padding: sides are divided by the stride, rounded up."""
    return nn.Conv2d(channels, filters, filter_px, stride, filter_px // 2)


def transposed_convolution(channels: int, filters: int, filter_px: int) -> nn.ConvTranspose2d:
    """A transposed convolution of stride 2 with "same" padding: sides are doubled."""
    return nn.ConvTranspose2d(channels, filters, filter_px, 2, filter_px // 2, output_padding=1)


def check_training_side(config: ReconstructionConfig, mask: Mask) -> None:
    """Raises ConfigError where irregular holes, which have no side, would need one, or would be given one."""
    if not mask.is_irregular:
        return
    if config.train_placement == "as_measured" and config.train_hole_px:
        raise ConfigError(
            f"train_hole_px must be 0 for holes of kind {mask.kind}, but got {config.train_hole_px}; they have no side, "
            "choose a train_placement with squares"
        )
    if config.train_placement != "as_measured" and not config.train_hole_px:
        raise ConfigError(
            f"train_hole_px must be greater than 0 for squares in training, but got 0; the measured holes of kind {mask.kind} have no side"
        )


def check_filter(name: str, filter_px: int) -> None:
    """Raises ConfigError for a filter whose side is not odd."""
    if filter_px < 1 or filter_px % 2 == 0:
        raise ConfigError(f"{name} must be odd and at least 1, but got {filter_px}; use 3, 5 or 7")
