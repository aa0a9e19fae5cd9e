"""What the density models share: levels, decoding rules, filling in raster order, likelihood.

A density model writes the probability of an image as a product over its pixels in raster order, and within a pixel over red, green and
blue: p(x) = prod_i p(R_i | x_<i) p(G_i | x_<i, R_i) p(B_i | x_<i, R_i, G_i). A hole is filled greedily: its values are set one after
the other, each from the conditional of everything before it, and are then taken as known.

Notation:
    B: images, H, W: height and width, L: levels (256), N: images with a hole at the pixel at hand.
    values: (B, 3, H, W) int64 in [0, L), an image in levels.
    colour: 0 red, 1 green, 2 blue.

Source: `beyond_cnns`, section Density Based Models: The Idea (factorisation, greedy filling in raster order).
Deviations: besides the most probable level, the mean of the distribution and a draw from it can be taken.
"""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Augmentation, Batch, Mask
from trainables.data.batches import to_tensor
from trainables.errors import ConfigError
from trainables.metrics import Metric
from trainables.model import InpaintingModel
from trainables.precision import mixed

LEVELS = 256
COLOURS = 3
LIKELIHOOD_IMAGES = 200
LIKELIHOOD_BATCH = 20
BITS_PER_DIM = Metric(
    "bits", "min", f"negative log2-likelihood a colour value of the whole image, mean over the split's first {LIKELIHOOD_IMAGES} images"
)

Rule = Literal["argmax", "mean", "sample"]


def to_levels(image: Tensor, levels: int = LEVELS) -> Tensor:
    """(B, 3, H, W) float32 in [0, 1] -> values."""
    return (image * (levels - 1)).round().long()


def to_image(values: Tensor, levels: int = LEVELS) -> Tensor:
    """Values -> (B, 3, H, W) float32 in [0, 1]."""
    return values.float() / (levels - 1)


def centred(values: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Values as intensities in [-1, 1]; a network sees 0 where there is no image."""
    return values.to(dtype) * (2 / (levels - 1)) - 1


@dataclass(frozen=True)
class Decoding:
    """How a level is chosen from its distribution.

    Attributes:
        rule: "argmax", "mean" (rounded to a level) or "sample".
        temperature: of "sample": logits are divided by it; 1 = the model's own distribution.
        seed: of "sample".
    """

    rule: Rule = "argmax"
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("argmax", "mean", "sample"):
            raise ConfigError(f"decoding must be one of argmax, mean, sample, but got {self.rule!r}; name one of these")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, but got {self.temperature}; use decoding='argmax' for the limit 0")

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """One level an image.

        Args:
            logits: (N, L).
            uniform: (N,) float64 in [0, 1); read by "sample" alone.

        Returns:
            (N,) int64.
        """
        if self.rule == "argmax":
            return logits.argmax(1)
        if self.rule == "mean":
            levels = torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device)
            return (logits.softmax(1) @ levels).round().long()
        cumulative = (logits.double() / self.temperature).softmax(1).cumsum(1)
        target = uniform[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[1] - 1)

    def uniforms(self, values: Tensor, hole: Tensor) -> Tensor:
        """The random numbers of "sample", one a colour value, from the seed, the known pixels and the place of the hole alone.

        Args:
            values: see the module; what the hole holds is not read.
            hole: (B, H, W) bool.

        Returns:
            (B, 3, H, W) float64 in [0, 1); zeros where the rule draws nothing.
        """
        drawn = torch.zeros(values.shape, dtype=torch.float64)
        if self.rule == "sample":
            visible = values.masked_fill(hole[:, None], -1).to("cpu", torch.int16).numpy()
            for index, content in enumerate(visible):
                digest = hashlib.blake2b(np.ascontiguousarray(content).tobytes(), digest_size=8, key=str(self.seed).encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
                drawn[index] = torch.rand(values.shape[1:], dtype=torch.float64, generator=generator)
        return drawn.to(values.device)


class RasterReader(Protocol):
    """Gives conditionals of one batch of images in raster order, and keeps what it has computed on the way.

    It reads the `values` that it was built with, at and before the place asked for; these may be written between two calls, but not
    at or before a place that was asked for earlier.
    """

    def __call__(self, row: int, column: int, colour: int, images: Tensor) -> Tensor:
        """Logits of one value; places must be asked for in raster order, and within a pixel colours 0, 1, 2 each once.

        Args:
            row: of the pixel.
            column: of the pixel.
            colour: of the value.
            images: (N,) int64, the images of the batch for which it is wanted.

        Returns:
            (N, L).
        """


def fill_in_raster_order(reader: RasterReader, values: Tensor, hole: Tensor, decoding: Decoding) -> None:
    """Sets the values of every hole, one after the other, in place.

    Args:
        reader: built on `values`.
        values: see the module.
        hole: (B, H, W) bool; holes may differ between the images.
        decoding: how each level is chosen.
    """
    uniforms = decoding.uniforms(values, hole)
    for row, column in hole.any(0).nonzero().tolist():
        images = hole[:, row, column].nonzero()[:, 0]
        for colour in range(COLOURS):
            logits = reader(row, column, colour, images)
            values[images, colour, row, column] = decoding.choose(logits, uniforms[images, colour, row, column])


class DensityNetwork(nn.Module):
    """A network that gives the conditionals of all values at once, or one after the other.

    Attributes:
        levels: L.
    """

    levels: int

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Values -> logits of every value given those before it, (B, 3, H, W, L)."""

    @abstractmethod
    def reader(self, values: Tensor) -> RasterReader:
        """The same logits one value at a time, without computing anything twice."""


class DensityModel(InpaintingModel):
    """Trains a `DensityNetwork` on cross-entropy and fills holes in raster order.

    A subclass sets `network`, `networks` and `optimizers`; its `Config` has the fields `decoding`, `temperature`, `decoding_seed`,
    `learning_rate`, `decay_factor`, `decay_epochs`, `mirror`, `precision` and `batch_images`.
    """

    extra_metrics: ClassVar[Mapping[str, Metric]] = {"bits_per_dim": BITS_PER_DIM}
    network: DensityNetwork

    def __init__(self, config: Any, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.decoding = Decoding(config.decoding, config.temperature, config.decoding_seed)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(mirror=self.config.mirror)

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        values = torch.zeros(1, COLOURS, self.image_px, self.image_px, dtype=torch.long, device=self.device_of("network"))
        return {"network": (values,)}

    def losses(self, values: Tensor) -> Iterable[Tensor]:
        """Scalar losses of a batch, in nats a value; an optimiser's step is taken after each."""
        logits = self.network(values)
        yield functional.cross_entropy(logits.flatten(0, -2).float(), values.flatten())

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        optimizer = self.optimizers["network"]
        self.network.train()
        total, count = torch.zeros(()), 0  # one running sum: thousands of kept scalars would split the memory between large buffers
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * self.config.decay_factor ** (batch.epoch // self.config.decay_epochs)
            values = to_levels(batch.image, self.network.levels)
            steps = iter(self.losses(values))
            while (loss := self._next_loss(steps, values.device.type)) is not None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self.before_step()
                optimizer.step()
                total = total.to(loss.device).add_(loss.detach())
                count += 1
        return {"loss": float(total) / max(count, 1)}

    def before_step(self) -> None:
        """Called between the gradient and the optimiser's step."""

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        values = to_levels(image, self.network.levels)
        fill_in_raster_order(self.network.reader(values), values, known[:, 0] < 0.5, self.decoding)
        return to_image(values, self.network.levels)

    @torch.no_grad()
    def measure_split(self, images: np.ndarray, device: torch.device) -> dict[str, float]:
        """Bits a dimension of the first images of a split, see `BITS_PER_DIM`."""
        was_training = self.network.training
        self.network.eval()
        images = images[:LIKELIHOOD_IMAGES]
        total = 0.0
        for start in range(0, len(images), LIKELIHOOD_BATCH):
            values = to_levels(to_tensor(images[start : start + LIKELIHOOD_BATCH], device), self.network.levels)
            logits = self.network(values)
            total += float(functional.cross_entropy(logits.flatten(0, -2).float(), values.flatten(), reduction="sum"))
        self.network.train(was_training)
        return {"bits_per_dim": total / images.size / math.log(2)}

    def _next_loss(self, steps: Any, device_type: str) -> Tensor | None:
        with mixed(device_type, self.config.precision):
            loss: Tensor | None = next(steps, None)
        return loss
