"""The toy of toy_rooms.py, whose steps wait until they are let through; a module of its own, so that workers import little."""

import dataclasses
import os
import time
from pathlib import Path

import toy_rooms

from sweeper.rooms import Rooms, SessionRequest

GATE, TRAINED = "TOY_GATE", "TOY_TRAINED"
POLL_S = 0.02


class GatedSession(toy_rooms.ToySession):
    """Trains a step once the number in the file $TOY_GATE is as great; writes each step that it has trained into the file $TOY_TRAINED."""

    def step(self) -> dict[str, float]:
        gate, trained = os.environ.get(GATE), os.environ.get(TRAINED)
        while gate and int(Path(gate).read_text() or 0) <= self.steps:
            time.sleep(POLL_S)
        metrics = super().step()
        if trained:
            with open(trained, "a") as file:
                file.write(f"{self.steps}\n")
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return metrics | {"gpus_seen": float(len(seen.split(",")) if seen else 0)}


def open_session(request: SessionRequest) -> GatedSession:
    return GatedSession(request.knobs, request.seed)


def rooms() -> Rooms:
    return dataclasses.replace(toy_rooms.toy_rooms(), open_session=open_session)
