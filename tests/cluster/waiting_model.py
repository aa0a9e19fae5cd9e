"""A user's model whose training waits where a test says, so that what happens to its host happens in mid-training."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Batch, Mask

POLL_S = 0.05


@dataclass(frozen=True)
class WaitingConfig(CnnAutoencoderConfig):
    """`gates` is a folder; epoch N, counted from 0, begins only when a file "N" is in it. Epoch 0 does not wait."""

    gates: str = ""


class Waiting(CnnAutoencoder):
    """`cnn_autoencoder` with gates between its epochs."""

    Config = WaitingConfig

    def __init__(self, config: WaitingConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.gates = Path(config.gates)

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        return super().train_unit(self._let_through(batches))

    def _let_through(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            epoch = int(batch.epoch)  # the batch tells its position in fractions of epochs
            while epoch and not (self.gates / str(epoch)).exists():
                time.sleep(POLL_S)
            yield batch
