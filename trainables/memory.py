"""The greatest memory that a training run has taken."""

from pathlib import Path

import torch

GIB = 2**30
KIB_A_GIB = 2**20
_RESET_PEAK = "5"  # what Linux takes to mean: forget the greatest size of this process up to now


class PeakMemory:
    """Greatest memory from now on: what torch has allocated on a GPU, or the size of this process in main memory.

    A process that has trained before keeps what the allocator holds, so figures of runs that share a process are upper bounds. Where the
    system does not say how large a process was (it is not Linux), the figure is 0.
    """

    def __init__(self, device: torch.device) -> None:
        """Forgets what was before.

        Args:
            device: where the run trains.
        """
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)

    def peak_gib(self) -> float:
        """In GiB."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / GIB
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) / KIB_A_GIB for line in lines if line.startswith("VmHWM:")), 0.0)
