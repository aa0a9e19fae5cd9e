"""Models of a user for tests of training in several processes: one whose second process goes wrong, one that tells what each drew."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed

from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import Metric

NAME = "tests.trainables.fateful_processes:FatefulProcesses"


@dataclass(frozen=True)
class FatefulProcessesConfig(CnnAutoencoderConfig):
    """`fate` befalls the second process in its second step: "die", "hang", "raise"; "refuse": it does not open; "well": nothing."""

    fate: str = "well"


class FatefulProcesses(CnnAutoencoder):
    """`cnn_autoencoder` that reports the mean over the processes of `drawn`, a number that each has drawn, of `rank` and of `images`."""

    Config = FatefulProcessesConfig
    extra_metrics: ClassVar[Mapping[str, Metric]] = {
        "drawn": Metric("1", "min", "a random number"),
        "rank": Metric("1", "min", "of the process"),
        "images": Metric("1", "min", "that the process was given"),
    }

    def __init__(self, config: FatefulProcessesConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.fate = config.fate
        self.optimizers = {"network": torch.optim.SGD(self.network.parameters(), lr=0.05, momentum=0.9)}  # Adam turns rounding into steps
        if self.fate == "refuse" and self._rank == 1:
            raise ConfigError("fate must not be 'refuse', but it is; choose another")

    @property
    def _rank(self) -> int:
        return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.images = 0
        drawn = float(torch.rand(()))
        return super().train_unit(self._watched(batches)) | {"drawn": drawn, "rank": float(self._rank), "images": float(self.images)}

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.images += len(batch.image)
            if batch.epoch >= 1 and self._rank == 1:
                if self.fate == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.fate == "hang":
                    threading.Event().wait()
                if self.fate == "raise":
                    raise RuntimeError("a bug\nin the model")
            yield batch
