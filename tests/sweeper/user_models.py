"""Models as a user would bring them in, "user_models:Class": they go wrong where the knob `fate` says so."""

import math
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import Metric

GREED_GIB = 6
ENDED_WITHIN_S = 60
LOOK_S = 0.05


@dataclass(frozen=True)
class FatefulConfig(CnnAutoencoderConfig):
    """`fate` says how training goes:

    "well": as it should; "nan": the weights are lost before the second epoch; "blind": what it fills in is not finite, though the
    loss is; "refuse": the model does not open on a worker; "crash": an error that nobody expected, in the first step; "collapse": the
    model says in the second epoch that going on is of no use; "hungry": there is never enough memory; "crowded": there is too little in
    the second epoch, until the file `mark` says that it happened; "greedy": it takes real memory there until it is ended, likewise once;
    "patient": it waits there until the file `mark` is there.
    """

    fate: str = "well"
    mark: str = ""


class Fateful(CnnAutoencoder):
    """`cnn_autoencoder` with a fate; tells which process trained it."""

    Config = FatefulConfig
    extra_metrics: ClassVar[Mapping[str, Metric]] = {
        "pid": Metric("1", "min", "the worker's process"),
        "collapsed": Metric("1", "min", "whether training is over"),
    }

    def __init__(self, config: FatefulConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.fate = config.fate
        self.mark = config.mark
        on_a_worker = torch.get_default_device().type != "meta"
        if self.fate == "refuse" and on_a_worker:
            raise ConfigError("fate must not be 'refuse', but it is; choose another")

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        if self.fate == "crash":
            raise RuntimeError("a bug in the model")
        if self.fate == "hungry":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: tried 2 TiB")
        result = super().train_unit(self._watched(batches)) | {"pid": float(os.getpid())}
        return result | {"collapsed": float(bool(self.collapse_reason))}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        filled = super().predict(image, known)
        return filled * math.nan if self.fate == "blind" else filled

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.fate == "nan" and batch.epoch >= 1:
                with torch.no_grad():
                    for weight in self.network.parameters():
                        weight.fill_(math.nan)
            if self.fate == "crowded" and batch.epoch >= 1 and not Path(self.mark).exists():
                Path(self.mark).touch()
                raise MemoryError
            if self.fate == "greedy" and batch.epoch >= 1 and not Path(self.mark).exists():
                Path(self.mark).touch()
                taken = [torch.ones(2**28) for _ in range(GREED_GIB)]
                time.sleep(ENDED_WITHIN_S)
                raise RuntimeError(f"nobody has ended a process that took {len(taken)} GiB")
            while self.fate == "patient" and batch.epoch >= 1 and not Path(self.mark).exists():
                time.sleep(LOOK_S)
            if self.fate == "collapse" and batch.epoch >= 1:
                self.collapse_reason = "one side won"
            yield batch


class Paired(CnnAutoencoder):
    """Its network takes image and hole apart, and it does not say so in `network_inputs`."""

    def __init__(self, config: CnnAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.networks = {"network": PairedNetwork(self.network)}

    def patch(self, visible: Tensor) -> Tensor:
        patch: Tensor = self.networks["network"](visible, visible)
        return patch


class PairedNetwork(nn.Module):
    """A network of two arguments."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, visible: Tensor, known: Tensor) -> Tensor:
        patch: Tensor = self.inner(visible)
        return patch


@dataclass(frozen=True)
class OrphanedConfig(CnnAutoencoderConfig):
    """`folder` is where processes leave their ids."""

    folder: str = ""


class Orphaned(CnnAutoencoder):
    """Of the processes that train it, one kills the worker that leads them in the second epoch, the first time."""

    Config = OrphanedConfig

    def __init__(self, config: OrphanedConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.folder = Path(config.folder)

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        (self.folder / f"{os.getpid()}").touch()
        return super().train_unit(self._watched(batches))

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if batch.epoch >= 1 and torch.distributed.get_rank() == 1 and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                os.kill(os.getppid(), signal.SIGKILL)
            yield batch


class NoModel:
    """Not an `InpaintingModel`."""
