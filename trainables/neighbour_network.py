"""`neighbour_network`: a small network that predicts a pixel from the 24 pixels around it.

Source: `animal_faces`, section 7.2. A photograph is divided into 5x5 windows, and each window into its three colours; a network predicts
the middle from the 24 values around it, the same for all colours. Adam, rate 0.001. Training loss 3.5912; squared error on another
photograph 7.946 (red), 10.499 (green), 18.468 (blue).

Implemented: the same with fully connected layers and ReLU, on the mean squared error.

Deviations:
  - Number and width of the layers, activation, batch size and number of steps are not given in the source.
  - A training step looks at `positions` random windows of each image of a batch, in all three colours, drawn again every time. The document
    trains on all windows of one photograph and tests on another.
  - `origin` = "mean" counts levels from the mean of the neighbours, so that the network need not learn that brightness does not matter.
  - Filling holes: see `trainables.peel`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.peel import LEVELS, NeighbourModel, offsets
from trainables.precision import mixed
from trainables.running_means import Means

MID_GREY = 0.5


@dataclass(frozen=True)
class NeighbourNetworkConfig:
    """Knobs of `neighbour_network`; the values are the document's.

    Attributes:
        window_px: side of the window, odd; section 7.2, 5.
        hidden: units of each hidden layer; not given in the source.
        depth: number of hidden layers; not given in the source.
        origin: what levels are counted from, mid-"grey" or the "mean" of the neighbours; not given in the source.
        positions: pixels of each image that a step looks at; not given in the source.
        learning_rate: Adam's; section 7.2.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        batch_images: images a step; not given in the source.
        precision: "bfloat16" trains in mixed precision; filling and measuring are float32 always.
    """

    window_px: int = 5
    hidden: int = 64
    depth: int = 2
    origin: Literal["grey", "mean"] = "grey"
    positions: int = 256
    learning_rate: float = 1e-3
    decay_factor: float = 1.0
    decay_epochs: float = 3.0
    batch_images: int = 32
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.window_px < 3 or self.window_px % 2 == 0:
            raise ConfigError(f"window_px must be odd and at least 3, but got {self.window_px}; use 5 for example")
        for name in ("hidden", "depth", "positions", "batch_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        for name in ("learning_rate", "decay_factor", "decay_epochs"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, but got {getattr(self, name)}; use a positive number")
        for name, allowed in (("origin", ("grey", "mean")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be {' or '.join(allowed)}, but got {getattr(self, name)!r}; name one of these")


class MiddleNetwork(nn.Module):
    """The neighbours of a window in, its middle out."""

    def __init__(self, config: NeighbourNetworkConfig) -> None:
        super().__init__()
        self.origin = config.origin
        layers: list[nn.Module] = []
        inputs = config.window_px**2 - 1
        for _ in range(config.depth):
            layers += [nn.Linear(inputs, config.hidden), nn.ReLU()]
            inputs = config.hidden
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, neighbours: Tensor) -> Tensor:
        """(N, K) float32 in [0, 1] -> (N,) float32; the layers work in [-1, 1]."""
        origin = neighbours.mean(1, keepdim=True) if self.origin == "mean" else torch.full_like(neighbours[:, :1], MID_GREY)
        step: Tensor = self.layers(2 * (neighbours - origin))  # (N, 1)
        return (origin + step.float() / 2)[:, 0]


class NeighbourNetwork(NeighbourModel):
    """Trains `MiddleNetwork` on the squared error of random windows."""

    Config = NeighbourNetworkConfig

    def __init__(self, config: NeighbourNetworkConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask, config.window_px)
        self.config: NeighbourNetworkConfig = config
        self.network = MiddleNetwork(config)
        self.networks = {"network": self.network}
        self.optimizers = {"network": torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)}

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        """One step of Adam a batch.

        Returns:
            "loss": mean squared error in squared levels, mean over steps.
        """
        optimizer = self.optimizers["network"]
        self.network.train()
        losses = Means()
        for batch in batches:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * self.config.decay_factor ** (batch.epoch // self.config.decay_epochs)
            neighbours, middles = self.drawn(batch.image)
            with mixed(neighbours.device.type, self.config.precision):
                estimates = self.network(neighbours)
            loss = functional.mse_loss(estimates, middles)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.add({"loss": loss})
        return {"loss": losses.result()["loss"] * LEVELS**2}

    @torch.no_grad()
    def estimate(self, neighbours: Tensor) -> Tensor:
        middles: Tensor = self.network(neighbours.T)
        return middles

    def drawn(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Random windows that lie inside the images.

        Args:
            image: (B, 3, H, W) float32 in [0, 1].

        Returns:
            (N, K) and (N,), N = B * positions * 3.
        """
        count, _, height, width = image.shape
        reach = self.window_px // 2
        images = torch.arange(count).repeat_interleave(self.config.positions)
        rows = torch.randint(reach, height - reach, images.shape)
        columns = torch.randint(reach, width - reach, images.shape)
        places = ((images * height + rows) * width + columns).to(image.device)
        around = (offsets(self.window_px) * torch.tensor([width, 1])).sum(1).to(image.device)
        pixels = image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])  # (B * H * W, 3)
        neighbours = pixels[places[:, None] + around].transpose(1, 2)  # (B * positions, 3, K)
        return neighbours.flatten(0, 1), pixels[places].flatten()
