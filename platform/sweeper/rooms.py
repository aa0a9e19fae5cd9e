"""What the engine needs of the rooms beside it, handed in by whoever knows them all.

The engine imports neither `trainables` nor `search_spaces`; it sees this.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Knob(Protocol):
    """A documented knob; `search_spaces.knob` has the two kinds."""

    @property
    def paper(self) -> Any:
        """The source's value."""
        ...

    @property
    def unit(self) -> str:
        """The unit; empty where it has none."""
        ...

    @property
    def source(self) -> str:
        """Where the value stands."""
        ...

    @property
    def reason(self) -> str:
        """Why these bounds."""
        ...

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        ...

    def holds(self, value: Any) -> bool:
        """Whether a value is allowed."""
        ...


class TrainingSession(Protocol):
    """One training run that can be saved and continued; `trainables.Session` is the one."""

    @property
    def steps(self) -> int:
        """How many steps are done."""
        ...

    @property
    def epoch(self) -> float:
        """How many times the training split was seen."""
        ...

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        ...

    @property
    def memory_gib(self) -> float:
        """Greatest memory since the session was opened."""
        ...

    @property
    def collapse_reason(self) -> str:
        """Why an adversarial game is over; empty while it is not."""
        ...

    def step(self) -> dict[str, float]:
        """Trains one step and measures on the validation split."""
        ...

    def save(self, folder: Path) -> None:
        """Writes a checkpoint."""
        ...

    def load(self, folder: Path) -> None:
        """Continues from a checkpoint."""
        ...

    def restore_best(self) -> None:
        """Puts the best step's weights back."""
        ...

    def evaluate(self, split: str) -> dict[str, float]:
        """Measures on a split."""
        ...

    def evaluate_with_fills(self, split: str) -> tuple[dict[str, float], bytes]:
        """The same, and a file with what was made of the split's first images; empty where there is none."""
        ...

    def close(self) -> None:
        """Ends the processes that it has started; it is of no use any more."""
        ...


@dataclass(frozen=True)
class Rooms:
    """The neighbours of the engine, as functions and tables.

    Every function must be importable by name on a worker (a module-level function), since Ray sends it there.

    Attributes:
        models: import path of each registered model.
        spaces: knobs of each registered model.
        metrics: "min" or "max" for every validation metric.
        data_names: the named image sets.
        mask_kinds: the kinds of hole.
        open_session: (request) -> a `TrainingSession`; runs on a worker.
        check: (model, knobs, data, mask, processes) -> None; raises where the model cannot be built so, or not be trained by so many
            processes. Touches no data.
        prepare: (data, mask) -> facts of the data: counts, fingerprint, skipped files, the plain fill's metrics and fills.
        layers: (model, knobs, data, mask) -> the layer table, one mapping of plain values a row; raises where the model gives none. Touches
            no data.
        picture: (request, checkpoint folder, file) -> None; writes a picture grid of the model of a checkpoint.
        code: (model) -> a text that changes with the code that a model's results follow from.
        extra_metrics: (model) -> "min" or "max" for the validation metrics that this model alone has.
        free_gpu_gib: () -> GiB that are free on a worker's GPUs, on that with the least; what the worker itself has set aside is free.
        user_errors: root errors of the neighbours, to be shown without a traceback.
    """

    models: Mapping[str, str]
    spaces: Mapping[str, Mapping[str, Knob]]
    metrics: Mapping[str, str]
    data_names: tuple[str, ...]
    mask_kinds: tuple[str, ...]
    open_session: Callable[["SessionRequest"], TrainingSession]
    check: Callable[[str, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], int], None]
    prepare: Callable[[Mapping[str, Any], Mapping[str, Any]], "DataFacts"]
    layers: Callable[[str, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], list[dict[str, Any]]]
    picture: Callable[["SessionRequest", Path, Path], None]
    code: Callable[[str], str]
    extra_metrics: Callable[[str], Mapping[str, str]]
    free_gpu_gib: Callable[[], float]
    user_errors: tuple[type[Exception], ...]


@dataclass(frozen=True)
class SessionRequest:
    """Everything that defines one training run.

    Attributes:
        model: registered name or "module:Class".
        knobs: the full configuration.
        data: fields of an image source.
        mask: fields of a mask.
        seed: of weights, order, holes, dropout and augmentation.
        objective: the validation metric that chooses the best step.
        step_images: training images a step; None = one epoch.
        device: "cpu" or "cuda".
        threads: CPU threads; None = leave as it is.
        processes: that train together, each on its part of every batch, with its share of the threads and, on GPUs, one of them.
        prepared: where the driver has the prepared images; empty = whoever opens the session looks for them, and prepares them.
        fingerprint: that those must have; empty = any.
    """

    model: str
    knobs: Mapping[str, Any]
    data: Mapping[str, Any]
    mask: Mapping[str, Any]
    seed: int
    objective: str
    step_images: int | None = None
    device: str = "cpu"
    threads: int | None = None
    processes: int = 1
    prepared: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class DataFacts:
    """What preparing the data told.

    Attributes:
        counts: images in each split.
        fingerprint: changes when any prepared pixel changes.
        skipped: names of files that did not decode.
        baseline: metrics of the plain ring-mean fill: "validation" and "test" -> metric -> value.
        prepared: where the prepared images lie on the driver's machine.
        fills: a file with the plain fill's of the first test images, and those images; empty where there is none.
    """

    counts: Mapping[str, int]
    fingerprint: str
    skipped: tuple[str, ...]
    baseline: Mapping[str, Mapping[str, float]]
    prepared: str = ""
    fills: bytes = b""
