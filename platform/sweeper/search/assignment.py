"""What a worker is given to do."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """One training run to be done.

    Attributes:
        trial: its name within the sweep.
        number: its place in the search, or the final's index.
        model: what is trained.
        knobs: the full configuration.
        seed: its seed.
        resume_from: folders of its checkpoints, the newest first; empty = from the start.
        starved: why it ran out of memory just now: it is not to be trained beside others; empty = it is to be trained.
        lost: why it lost its workers more often than is worth another; empty = it is to be trained.
    """

    trial: str
    number: int
    model: str
    knobs: dict[str, Any]
    seed: int
    resume_from: list[str] = field(default_factory=list)
    starved: str = ""
    lost: str = ""
