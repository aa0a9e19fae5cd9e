"""How much faster the density models fill a hole by keeping what they know than by computing the whole image for each value.

    python -m benchmarks.decoding [--images 4] [--repetitions 3]

Each model fills the 8x8 centre of 32x32 images with 256 levels, fast and slowly in turn, in one process and one thread. The recurrent
models of van den Oord et al. are smaller than theirs, which favours the slow decoder: there is less to save. Weights are untrained.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.trainables.density_reference import decode_slowly
from trainables.data import Mask
from trainables.density import COLOURS, LEVELS, Decoding, DensityNetwork, fill_in_raster_order
from trainables.diagonal_bilstm import DiagonalBilstmConfig, DiagonalBilstmNetwork
from trainables.flat_row_lstm import FlatRowLstmConfig, FlatRowLstmNetwork
from trainables.pixel_cnn import PixelCnnConfig, PixelCnnNetwork
from trainables.row_lstm import RowLstmConfig, RowLstmNetwork

IMAGE_PX = 32
GOAL = 20.0
RULE = Decoding("argmax")
NETWORKS: dict[str, Callable[[], DensityNetwork]] = {
    "pixel_cnn": lambda: PixelCnnNetwork(PixelCnnConfig()),
    "flat_row_lstm": lambda: FlatRowLstmNetwork(FlatRowLstmConfig(embedding=64)),
    "row_lstm": lambda: RowLstmNetwork(RowLstmConfig(hidden=32, layers=3, output_features=64)),
    "diagonal_bilstm": lambda: DiagonalBilstmNetwork(DiagonalBilstmConfig(hidden=32, layers=3, output_features=64)),
}


@dataclass(frozen=True)
class Timing:
    """What one model took.

    Attributes:
        slow_s: CPU seconds of each slow run.
        fast_s: CPU seconds of each fast run, in the same order.
        agreement: share of the hole's values on which both agree.
    """

    slow_s: list[float]
    fast_s: list[float]
    agreement: float

    @property
    def ratios(self) -> list[float]:
        """Slow over fast, each pair of neighbouring runs."""
        return [slow / fast for slow, fast in zip(self.slow_s, self.fast_s, strict=True)]


@torch.no_grad()
def measured(network: DensityNetwork, images: int, repetitions: int) -> Timing:
    network.eval()
    hole = Mask("centre", 8).sample(images, IMAGE_PX, np.random.default_rng(0))[:, 0] < 0.5
    values = torch.randint(LEVELS, (images, COLOURS, IMAGE_PX, IMAGE_PX), generator=torch.Generator().manual_seed(0))
    values = values.masked_fill(hole[:, None], 0)
    fast = values.clone()
    fill(network, fast, hole)  # the first call of an operation is slower than the next
    slow_s, fast_s = [], []
    slow = values
    for _ in range(repetitions):
        fast, slow = values.clone(), values.clone()
        fast_s.append(seconds(partial(fill, network, fast, hole)))
        slow_s.append(seconds(partial(decode_slowly, network, slow, hole, RULE)))
    inside = hole[:, None].expand_as(values)
    return Timing(slow_s, fast_s, float((fast[inside] == slow[inside]).double().mean()))


def fill(network: DensityNetwork, values: Tensor, hole: Tensor) -> None:
    fill_in_raster_order(network.reader(values), values, hole, RULE)


def seconds(run: Callable[[], None]) -> float:
    """CPU time, which other processes on the machine do not lengthen."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="images filled at once (default 4)")
    parser.add_argument("--repetitions", type=int, default=3, help="pairs of runs a model (default 3)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{arguments.images} images of {IMAGE_PX}x{IMAGE_PX}, hole 8x8; one thread's CPU time")
    print(f"medians of {arguments.repetitions} interleaved pairs")
    print(f"{'model':<18}{'slow s':>9}{'fast s':>9}{'ratio':>8}  {'least to greatest':<20}{'same values':>12}  goal {GOAL:g}x")
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        timing = measured(build(), arguments.images, arguments.repetitions)
        ratio = statistics.median(timing.ratios)
        spread = f"{min(timing.ratios):.0f} to {max(timing.ratios):.0f}"
        line = f"{name:<18}{statistics.median(timing.slow_s):>9.2f}{statistics.median(timing.fast_s):>9.3f}{ratio:>7.0f}x"
        print(f"{line}  {spread:<20}{timing.agreement:>11.1%}  {'reached' if ratio >= GOAL else 'missed'}", flush=True)


if __name__ == "__main__":
    main()
