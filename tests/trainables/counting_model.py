"""A model of one colour that counts how often it is trained: for tests of shared training."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.data import Batch, Mask
from trainables.metrics import Metric
from trainables.model import InpaintingModel
from trainables.shared_training import REUSED

NAME = "tests.trainables.counting_model:Counting"


@dataclass(frozen=True)
class CountingConfig:
    """`rate` is for training, `taste` for filling alone, `width` is of a network that is trained from the second epoch on."""

    rate: float = 0.5
    taste: float = 0.0
    width: int = 2
    diverge: bool = False
    batch_images: int = 8


class Counting(InpaintingModel):
    """Moves one colour towards the images' mean, with noise from torch's default generator."""

    Config = CountingConfig
    shares_training = True
    extra_metrics: ClassVar[Mapping[str, Metric]] = REUSED | {"noise": Metric("1", "min", "what was drawn")}
    units: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, config: CountingConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.networks = {"early": nn.Linear(1, 3), "late": nn.Linear(1, config.width)}
        self.optimizers = {name: torch.optim.Adam(network.parameters()) for name, network in self.networks.items()}

    def training_knobs(self, epoch: float) -> dict[str, Any]:
        unused = {"taste"} | (set() if epoch >= 1 else {"width"})
        return {name: value for name, value in dataclasses.asdict(self.config).items() if name not in unused}

    def trained_networks(self, epoch: float) -> tuple[str, ...]:
        return ("early",) if epoch < 1 else ("early", "late")

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.units.append(dataclasses.asdict(self.config))
        noise = 0.0
        for batch in batches:
            noise = float(torch.rand(1))
            for name in self.trained_networks(batch.epoch):
                network, optimizer = self.networks[name], self.optimizers[name]
                optimizer.param_groups[0]["lr"] = self.config.rate
                loss = (network(torch.ones(1, 1)) - batch.image.mean() - noise).square().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return {"loss": float("nan") if self.config.diverge else 1.0, "noise": noise}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        colour: Tensor = self.networks["early"](torch.ones(1, 1)) + self.config.taste
        return colour[:, :, None, None].expand_as(image)


class OtherCounting(Counting):
    """Another class with the same training."""
