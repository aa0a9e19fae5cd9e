"""Whether trials on one node share one copy of the data, and whether a worker that trains trial after trial grows.

    python -m benchmarks.memory [--workers 1 4 8] [--train 4000] [--reused 200]

First N trials of `cnn_autoencoder` at the same time; when each has seen every training image, the kernel is asked for each worker's share
of the mapped arrays (proportional set size, `/proc/PID/smaps`): added up over the workers they are as many copies as the node holds. Then
one worker trains 200 trials of a few images, one after the other, and is asked for its size every 20.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, finish, spread
from benchmarks.processes import proportional_mib, proportional_of_mib, resident_mib, workers
from sweeper.cli.rooms import installed_rooms
from sweeper.home import Home
from sweeper.runner import run
from sweeper.validation import validate
from trainables import ImageSource
from trainables.data import SPLITS, open_images

COPIES, GROWTH_MIB = 1.1, 1.0
EVERY = 20
KNOBS = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0.0}
SMALL = 64


class Watch:
    """Implements `sweeper.recorder.Progress`; calls back when a trial has a value and when it has ended."""

    def __init__(self, on_value: Callable[[str], None], on_end: Callable[[], None] = lambda: None) -> None:
        self._on_value = on_value
        self._on_end = on_end

    def stage(self, title: str, total: int, done: int) -> None:
        """Nothing."""

    def started(self, trial: str) -> None:
        """Nothing."""

    def advanced(self, trial: str, step: int, value: float) -> None:
        """Tells."""
        self._on_value(trial)

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """Tells."""
        self._on_end()

    def note(self, text: str) -> None:
        """Worth a line here too."""
        print(text, flush=True)


def sweep(folder: Path, watch: Watch, train: int, trials: int, epochs: int, cpus: float) -> None:
    """A sweep in this process, in a home of its own."""
    folder.mkdir()
    rooms = installed_rooms()
    fields: dict[str, Any] = {
        "name": "memory",
        "model": "cnn_autoencoder",
        "data": data(train),
        "knobs": {**KNOBS, "learning_rate": {"low": 1.0e-4, "high": 1.0e-3}},
        "search": {"algorithm": "random"},
        "budget": {"trials": trials, "epochs": epochs},
        "resources": {"cpus": cpus},
        "seeds": 0,
        "pictures": 0,
    }
    with suppress(KeyboardInterrupt):
        run(validate(fields, rooms), rooms, Home(folder), watch, spec_name="memory")


def data(train: int) -> dict[str, Any]:
    return {"name": "photos", "image_px": 32, "train": train, "validation": min(train, 400), "test": 64}


def sharing(folder: Path, train: int, count: int) -> tuple[float, list[float]]:
    """Copies of the data that so many workers hold together, and each worker's own share of the memory in MiB."""
    images = open_images(ImageSource(**data(train)))
    place, size_mib = Path(images.prepared), sum(getattr(images, split).nbytes for split in SPLITS) / 2**20
    seen: set[str] = set()
    found: list[tuple[float, list[float]]] = []

    def look(trial: str) -> None:
        seen.add(trial)
        if len(seen) == count:
            processes = workers()
            held = sum(proportional_of_mib(process, place.resolve()) for process in processes)
            found.append((held / size_mib, [proportional_mib(process) for process in processes]))
            raise KeyboardInterrupt

    sweep(folder, Watch(look), train, count, 1000, (os.cpu_count() or 1) / count)
    return found[0]


def reuse(folder: Path, trials: int) -> tuple[list[float], int]:
    """Size in MiB of the worker after every 20 trials, and how many processes did the work."""
    sizes, seen, ended = [], set(), 0

    def look() -> None:
        nonlocal ended
        ended += 1
        if ended % EVERY == 0:
            processes = workers()
            seen.update(processes)
            sizes.append(max(resident_mib(process) for process in processes))

    sweep(folder, Watch(lambda trial: None, look), SMALL, trials, 1, os.cpu_count() or 1)
    return sizes, len(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--reused", type=int, default=200)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path("platform").resolve()), str(Path().resolve()), os.environ.get("PYTHONPATH", "")])
    rows, figures, bars = [], {}, []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SWEEP_DATA_DIR"] = str(Path(scratch) / "data")
        for count in given.workers:
            copies, sizes = sharing(Path(scratch) / f"shared-{count}", given.train, count)
            rows.append((f"{count} at a time: copies of the images", f"{copies:.2f}"))
            rows.append((f"{count} at a time: a worker's share of the memory, MiB", spread(sizes, 0)))
            figures[str(count)] = {"copies": copies, "share_mib": sizes}
        bars.append(Bar(f"memory: copies of the data that {given.workers[-1]} workers hold", copies, COPIES))
        sizes, processes = reuse(Path(scratch) / "reuse", given.reused)
    later = sizes[len(sizes) // 4 :]
    slope = statistics.linear_regression(range(len(later)), later)[0] * 100 / EVERY if len(later) > 1 else None
    rows.append((f"one worker, {given.reused} trials: MiB after every {EVERY}", " ".join(f"{size:.0f}" for size in sizes)))
    rows.append(("processes that did it", str(processes)))
    bars.append(Bar("memory: MiB that a worker grows every 100 trials", slope, GROWTH_MIB))
    finish("memory", ("what", "measured"), rows, bars, shared=figures, reused_mib=sizes)


if __name__ == "__main__":
    main()
