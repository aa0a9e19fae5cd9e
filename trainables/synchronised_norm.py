"""Batch norm over the parts of a batch that several processes hold.

On GPUs it is torch's `SyncBatchNorm`, which knows no CPU; there the same is computed here from differentiable means over the processes, so
that training on several CPUs is training on several GPUs. The parts must be of equal size.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SynchronisedNorm(nn.SyncBatchNorm):
    """Batch norm of one to three dimensions; in evaluation mode it asks nobody."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> "SynchronisedNorm":
        """Takes over a layer with its weights and statistics, which stay the same tensors."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, weight in norm.named_parameters():
            setattr(made, name, weight)
        for name, statistic in norm.named_buffers():
            setattr(made, name, statistic)
        return made.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of torch's own argument
        """(B, C, ...) -> the same shape."""
        if input.is_cuda or not self.training:
            normed: Tensor = super().forward(input)
            return normed
        places = [place for place in range(input.dim()) if place != 1]
        shape = [1, -1, *(1 for _ in places[1:])]
        value = input.to(torch.promote_types(input.dtype, torch.float32))
        mean = _Mean.apply(value.mean(places))  # (C,)
        centred = value - mean.view(shape)
        variance = _Mean.apply(centred.square().mean(places))  # (C,)
        self._track(mean.detach(), variance.detach(), input.numel() // input.shape[1] * torch.distributed.get_world_size())
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Moves the running statistics towards those of a batch, the variance's without bias, as `BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / max(count - 1, 1), share)


class _Mean(torch.autograd.Function):
    """Mean over the processes. Every loss that follows from it counts, so its gradient is the mean of their gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        whole = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(whole)
        return whole / torch.distributed.get_world_size()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return _Mean.apply(gradient)


def synchronise_norms(network: nn.Module) -> nn.Module:
    """The network with every batch norm replaced in place; where it is one itself, its replacement."""
    if isinstance(network, _BatchNorm):
        return SynchronisedNorm.of(network)
    for name, child in list(network.named_children()):
        setattr(network, name, synchronise_norms(child))
    return network
