"""One of several processes that train one model together: each takes its part of every batch, and gradients are averaged.

Every process opens the same session: the same seed gives the same weights, order, holes and augmentation. Of each batch process r of n
takes images r, r + n, r + 2n, ... In each backward pass every gradient is replaced by its mean over the processes, so that whatever comes
after (clipping, norms, the optimiser's step) sees the gradient of the whole batch, and weights stay equal to the last bit. Batch norm takes
its statistics from the whole batch too (`trainables.synchronised_norm`). `trainables.team` starts such processes and leads them.

The result is that of one process with the same batch, up to rounding, where a loss is a mean over the images. What differs:
  - A loss that is divided by something of the batch, as by the hole's size summed over it, is divided by that of each part.
  - Knobs that count images of a batch, as `perceptual_images`, count those of each part.
  - Draws inside a model (dropout, noise, places) follow from (seed, step, process): they can be repeated, but are others than those of one
    process.
  - A model's training figures are the means over the processes of each one's own; whether a game has collapsed is process 0's verdict.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from trainables.data import Batch
from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.synchronised_norm import synchronise_norms

RENDEZVOUS_FILE = "rendezvous"
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
_JUDGED = "collapsed"  # one verdict, which goes with the reason that process 0 gives


@dataclass(frozen=True)
class Parallel:
    """This process among those that train together; the whole of them where `world` is 1, and then nothing here does anything.

    Attributes:
        rank: number of this process, from 0; process 0 alone measures and saves.
        world: how many processes there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process measures and saves."""
        return self.rank == 0

    def check(self, model: InpaintingModel) -> None:
        """Whether a model can be trained by so many processes.

        Raises:
            ConfigError: a model that does not learn by averaged gradients, or a batch that cannot be split evenly.
        """
        if self.world == 1:
            return
        name = type(model).__name__
        if not (model.splits_batches and model.optimizers):
            raise ConfigError(
                f"{name} must be trained by one process, since it learns by more than the mean gradient of a batch, but got "
                f"processes = {self.world}; use one"
            )
        if model.batch_images % self.world:
            raise ConfigError(
                f"batch_images of {name} must be divisible by processes = {self.world}, but got {model.batch_images}; use a multiple"
            )

    def prepare(self, model: InpaintingModel) -> None:
        """Makes batch norm see the whole batch; names of weights and the weights themselves stay."""
        if self.world > 1:
            for name, network in model.networks.items():
                model.networks[name] = synchronise_norms(network)

    def part(self, batch: Batch) -> Batch:
        """This process's images of a batch."""
        mine = slice(self.rank, None, self.world)
        return batch if self.world == 1 else Batch(batch.image[mine], batch.known[mine], batch.epoch)

    @contextmanager
    def together(self, model: InpaintingModel) -> Iterator[None]:
        """Training for the length of a `with`: begins with process 0's weights, and averages every gradient as it comes out of a backward
        pass. The model must not learn outside of it."""
        if self.world == 1:
            yield
            return
        for network in model.networks.values():
            for value in network.state_dict().values():
                _take_over(value)
        weights = {id(weight): weight for network in model.networks.values() for weight in network.parameters()}
        hooks = [_on_gradient(weight) for weight in weights.values()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def agreed(self, figures: dict[str, float]) -> dict[str, float]:
        """Means over the processes of a training step's figures; a name may be missing in some."""
        if self.world == 1:
            return figures
        each: list[dict[str, float]] = [{} for _ in range(self.world)]
        torch.distributed.all_gather_object(each, figures)
        known = {name: [own[name] for own in each if name in own] for own in each for name in own}
        means = {name: sum(values) / len(values) for name, values in known.items()}
        return means | ({_JUDGED: each[0][_JUDGED]} if _JUDGED in each[0] else {})


ALONE = Parallel()


def join(parallel: Parallel, folder: Path, device: str, timeout_s: float) -> None:
    """Joins the group of processes; returns once all of them are there. The device of a GPU's process is the one that it sees.

    Args:
        parallel: who this process is.
        folder: on a disk of this machine, empty, the same for all.
        device: "cpu" or "cuda".
        timeout_s: how long a process waits for the others, here and at each gradient, before it raises; NCCL's ends the process instead.

    Raises:
        RuntimeError: the others did not come in time.
    """
    torch.distributed.init_process_group(
        BACKENDS[torch.device(device).type],
        init_method=f"file://{folder / RENDEZVOUS_FILE}",
        rank=parallel.rank,
        world_size=parallel.world,
        timeout=timedelta(seconds=timeout_s),
    )


def _on_gradient(weight: Tensor) -> RemovableHandle:
    """Averages a weight's gradient whenever it has changed; one that is frozen now may be thawed later."""
    trained = weight.requires_grad
    weight.requires_grad_(True)
    hook: RemovableHandle = weight.register_post_accumulate_grad_hook(_average_gradient)  # type: ignore[no-untyped-call]
    weight.requires_grad_(trained)
    return hook


@torch.no_grad()
def _average_gradient(weight: Tensor) -> None:
    """Where gradients are accumulated over several backward passes, what was averaged before is the same everywhere and stays as it is."""
    if weight.grad is None:
        return
    whole = weight.grad.contiguous()  # the layout in memory may be another one
    torch.distributed.all_reduce(whole)
    weight.grad.copy_(whole / torch.distributed.get_world_size())


@torch.no_grad()
def _take_over(value: Tensor) -> None:
    """Process 0's value, in place."""
    whole = value.contiguous()
    torch.distributed.broadcast(whole, src=0)
    value.copy_(whole)
