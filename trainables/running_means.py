"""Means of figures over the iterations of a training step.

Each figure is one sum, not a list of scalars to be averaged at the end: thousands of small tensors that live on between the large ones of
each iteration keep the C library from using the large ones' memory again, and a step of some thousand iterations grows by gigabytes.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Means:
    """Running means by name."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Takes scalars in; a name may be missing in some iterations, whose mean is then over the others."""
        for name, value in figures.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=torch.float64, device=value.device)
                self._counts[name] = 0
            self._sums[name] += value.detach()
            self._counts[name] += 1

    def result(self) -> dict[str, float]:
        """The means so far; empty where nothing came in."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


def means(seen: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """The means over iterations, each of which is asked for only when the one before is counted."""
    running = Means()
    for figures in seen:
        running.add(figures)
    return running.result()
