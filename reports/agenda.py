"""In which order sweeps fill the tables, and what each will take: the cheapest first, none before those whose training it takes over.

What a sweep will take, in this order: what a finished sweep of the same spec and budget took, as the store has it; else the training images
that it will see, times what an image took the same model; else times `PIXEL_NS`. The last two count one trial at a time and no early stop.
"""

import heapq
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from reports.errors import ReportError
from reports.freshness import Today
from reports.selection import FINISHED, Sweep
from reports.table import Filled
from reports.wanted import Lack, lacks, spec_of
from sweeper.spec import Spec

# What training took a pixel of an image, in nanoseconds on one core of an AMD EPYC (Zen 3), with the knobs of the shipped specs.
PIXEL_NS = {
    "animal_autoencoder": 1_300,
    "cnn_autoencoder": 2_800,
    "completion_gan": 35_000,
    "context_encoder": 2_200,
    "cvae": 3_800,
    "dcgan": 2_900,
    "diagonal_bilstm": 65_000,
    "direct_cnn": 35_000,
    "flat_row_lstm": 30_000,
    "image_autoencoder": 7_500,
    "lsgan": 1_700,
    "lsgan_autoencoder": 1_700,
    "neighbour_network": 110,
    "patch_autoencoder": 3_300,
    "pconv_unet": 5_500,
    "pixel_cnn": 970,
    "pixel_regression": 150,
    "pluralistic": 10_000,
    "progressive": 8_400,
    "row_lstm": 54_000,
    "wgan": 4_100,
}
OTHER_PIXEL_NS = 2_800  # a model of a user's own
FEWEST_IMAGES = 500  # a run that has seen fewer says more of its measurements than of its training
UNKNOWN_IMAGES = 10_000


@dataclass(frozen=True)
class Cost:
    """What a sweep will take.

    Attributes:
        wall_s: seconds.
        basis: how that is known, in words.
    """

    wall_s: float
    basis: str


@dataclass(frozen=True)
class Task:
    """A sweep to run.

    Attributes:
        sweep: its spec.
        lacks: what it computes.
        cost: what it will take.
    """

    sweep: str
    lacks: tuple[Lack, ...]
    cost: Cost

    @property
    def tables(self) -> list[str]:
        """The tables and figures that it fills."""
        return list(dict.fromkeys(lack.table for lack in self.lacks))

    @property
    def missing(self) -> int:
        """How much of it is missing; the rest is stale."""
        return sum(not lack.stale for lack in self.lacks)


def agenda(parts: Sequence[Filled], sweeps: Sequence[Sweep], today: Today) -> tuple[list[Task], list[Lack]]:
    """What has to be run for some tables and figures.

    Args:
        parts: tables, layer tables and figures over epochs.
        sweeps: of the store, the newest first.
        today: says what is stale.

    Returns:
        The sweeps in the order in which they run, and what no sweep of the tables' files computes.

    Raises:
        ReportError: sweeps that wait for each other.
        SpecError: a spec that is not there, or cannot be read.
    """
    wanted: dict[str, list[Lack]] = {}
    left = []
    for part in parts:
        for lack in lacks(part, sweeps, today):
            if lack.sweep:
                wanted.setdefault(lack.sweep, []).append(lack)
            else:
                left.append(lack)
    tasks = {name: Task(name, tuple(found), cost(name, spec_of(name), sweeps)) for name, found in wanted.items()}
    return _ordered(tasks, parts), left


def _ordered(tasks: dict[str, Task], parts: Sequence[Filled]) -> list[Task]:
    """The cheapest first of those that wait for nothing, by name where they are equal."""
    after: dict[str, set[str]] = {name: set(spec_of(name).warm_start.sweeps) for name in tasks}
    for part in parts:
        for name, others in part.after.items():
            after.setdefault(name, set()).update(others)
    sorter = TopologicalSorter({name: after[name] & tasks.keys() for name in tasks})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ReportError(f"'after' must not go round, but got {' after '.join(error.args[1])}; mend it in the table files") from error
    ready: list[tuple[float, str]] = []
    order = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (tasks[name].cost.wall_s, name))
        _, name = heapq.heappop(ready)
        order.append(tasks[name])
        sorter.done(name)
    return order


def cost(name: str, spec: Spec, sweeps: Sequence[Sweep]) -> Cost:
    """What a sweep will take.

    Args:
        name: the spec's name or path.
        spec: what will run.
        sweeps: of the store, the newest first.
    """
    for sweep in sweeps:
        took_s = sweep.row.metrics.get("spent_wall_s", 0.0)
        same = (sweep.tag("sweep.spec"), sweep.tag("sweep.budget")) == (Path(name).stem, spec.budget.model_dump_json())
        if same and sweep.tag("sweep.state") == FINISHED and took_s > 0:
            return Cost(took_s, f"as {sweep.row.name} took")
    images = _images(spec, sweeps)
    paces = {model: _image_s(model, spec.data.image_px, sweeps) for model in spec.models}
    known = [pace for pace in paces.values() if pace is not None]
    if len(known) == len(paces):
        return Cost(images * statistics.fmean(known), f"{images:,.0f} images at the pace of {', '.join(paces)} so far")
    pixel_ns = statistics.fmean(PIXEL_NS.get(model, OTHER_PIXEL_NS) for model in spec.models)
    return Cost(images * spec.data.image_px**2 * pixel_ns / 1e9, f"{images:,.0f} images, roughly")


def _images(spec: Spec, sweeps: Sequence[Sweep]) -> float:
    """Training images that all trials and final runs see."""
    train = spec.data.train
    if train is None:
        seen = [sweep.counts["train"] for sweep in sweeps if sweep.tag("sweep.data") == spec.data.name and "train" in sweep.counts]
        train = max(seen, default=UNKNOWN_IMAGES)
    trials = spec.budget.trials
    finals = spec.seeds * (trials if spec.finals == "every" else min(spec.finalists, trials)) * spec.retrain
    return spec.budget.epochs * train * (trials + finals)


def _image_s(model: str, image_px: int, sweeps: Sequence[Sweep]) -> float | None:
    """Seconds that a training image of a size took a model, measurements included, over all its runs; None where they say too little."""
    images = took_s = 0.0
    for sweep in sweeps:
        side = sweep.tag("sweep.image_px")
        for run in sweep.trials:
            seen, wall_s = run.metrics.get("images_seen", 0.0), run.metrics.get("wall_s", 0.0)
            if run.model == model and seen >= FEWEST_IMAGES and wall_s > 0 and side:
                images += seen * (int(side) / image_px) ** 2
                took_s += wall_s
    return took_s / images if images else None
