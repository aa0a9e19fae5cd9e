"""Rooms around a model of three numbers, for tests of the engine that need many trials and no images. Nothing heavy is imported."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.knob import Choice, Interval
from sweeper.rooms import DataFacts, Rooms, SessionRequest

TRAIN_IMAGES = 10
TARGET = 10.0
CRASH_FROM, DIVERGE_FROM = 0.9, 0.8
FILE = "checkpoint.pt"
RATE = Interval(0.0, 1.0, 0.5, "", "nowhere", "a share of the way to the target")
SPACE = {
    "rate": RATE,
    "shift": Interval(-1.0, 1.0, 0.0, "", "nowhere", "what the target is missed by"),
    "count": Interval(1, 8, 2, "", "nowhere", "a whole number", kind="int"),
    "kind": Choice(("plain", "odd"), "plain", "", "nowhere", "a word"),
    "size": Choice((1, 2, 4), 1, "", "nowhere", "of the layers"),
    "fated": Choice((True, False), False, "", "nowhere", "whether great rates go wrong"),
}


class ToyError(Exception):
    """What a user of the toy may do wrong."""


class CheckpointError(ToyError):
    """A checkpoint that cannot be read."""


@dataclass
class ToySession:
    """Walks from 0 towards `TARGET`, a share of what is left a step; the loss is what is still missing.

    Where `fated` is set: a rate from `CRASH_FROM` on crashes in the first step, one from `DIVERGE_FROM` on diverges in the second.
    """

    knobs: Mapping[str, Any]
    seed: int
    place: float = 0.0
    steps: int = 0
    best: float = math.inf
    collapse_reason: str = ""
    parameters: int = 3
    memory_gib: float = 0.0

    @property
    def epoch(self) -> float:
        return float(self.steps)

    def step(self) -> dict[str, float]:
        self.steps += 1
        rate = self.knobs["rate"]
        if self.knobs["fated"] and rate >= CRASH_FROM and self.steps == 1:
            raise RuntimeError("a bug in the toy")
        if self.knobs["fated"] and CRASH_FROM > rate >= DIVERGE_FROM and self.steps == 2:
            return {"loss": math.nan, "epoch": self.epoch}
        self.place += 0.5 * rate * (TARGET - self.place)
        self.best = min(self.best, self._missing)
        return {"loss": self._missing, "epoch": self.epoch, "place": self.place, "rate": rate, **self.evaluate("validation")}

    def save(self, folder: Path) -> None:
        state = {"place": self.place, "steps": self.steps, "best": self.best}
        (Path(folder) / FILE).write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        try:
            state = json.loads((Path(folder) / FILE).read_text())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} must be whole, but is not ({error}); use the one before it") from error
        self.place, self.steps, self.best = state["place"], state["steps"], state["best"]

    def restore_best(self) -> None:
        """Every step is better than the one before: nothing to put back."""

    def evaluate(self, split: str) -> dict[str, float]:
        return {"l2_hole": self._missing, "psnr_hole": -self._missing, "size": float(self.knobs["size"])}

    def evaluate_with_fills(self, split: str) -> tuple[dict[str, float], bytes]:
        return self.evaluate(split), b""

    def close(self) -> None:
        """Nothing to end."""

    @property
    def _missing(self) -> float:
        return abs(TARGET - self.place) + abs(self.knobs["shift"])


def open_session(request: SessionRequest) -> ToySession:
    return ToySession(request.knobs, request.seed)


def check(model: str, knobs: Mapping[str, Any], data: Mapping[str, Any], mask: Mapping[str, Any], processes: int) -> None:
    """Every configuration is fine."""


def prepare(data: Mapping[str, Any], mask: Mapping[str, Any]) -> DataFacts:
    plain = {split: {"l2_hole": TARGET} for split in ("validation", "test")}
    return DataFacts({"train": TRAIN_IMAGES, "validation": 2, "test": 2}, "toy", (), plain)


def layers(model: str, knobs: Mapping[str, Any], data: Mapping[str, Any], mask: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"network": "network", "name": "0", "output": [int(knobs["size"])], "parameters": int(knobs["size"])}]


def picture(request: SessionRequest, checkpoint: Path, file: Path) -> None:
    file.write_bytes(b"")


def toy_rooms() -> Rooms:
    return Rooms(
        models={"toy": "toy_rooms:ToySession", "other": "toy_rooms:ToySession"},
        spaces={"toy": SPACE, "other": SPACE | {"rate": Interval(0.5, 1.0, 0.75, "", "nowhere", "the faster half")}},
        metrics={"l2_hole": "min", "psnr_hole": "max", "size": "min"},
        data_names=("photos",),
        mask_kinds=("centre",),
        open_session=open_session,
        check=check,
        prepare=prepare,
        layers=layers,
        picture=picture,
        code=lambda model: "toy",
        extra_metrics=lambda model: {},
        free_gpu_gib=lambda: math.inf,
        user_errors=(ToyError,),
    )
