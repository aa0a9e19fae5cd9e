"""The one training that `benchmarks.overhead` gives to every contender: `cnn_autoencoder` on photographs, a step an epoch."""

import os
from collections.abc import Mapping
from typing import Any

EPOCH_IMAGES = 320
DATA: Mapping[str, Any] = {"name": "photos", "image_px": 32, "train": EPOCH_IMAGES, "validation": 100, "test": 100}
MASK: Mapping[str, Any] = {"kind": "centre", "hole_px": 8}
FIXED: Mapping[str, Any] = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0.0}
RATES = (1.0e-4, 1.0e-2)


def learning_rates(trials: int) -> list[float]:
    """A learning rate a trial, evenly spread on a logarithmic scale."""
    low, high = RATES
    return [float(f"{low * (high / low) ** (index / max(trials - 1, 1)):.6g}") for index in range(trials)]


def threads() -> int:
    """Of each of two trainings side by side, as many as the machine has for it."""
    return max(1, (os.cpu_count() or 2) // 2)


def open_session(learning_rate: float) -> Any:
    """A session of one trial."""
    import torch

    from trainables import ImageSource, Mask, Session

    torch.set_num_threads(threads())
    knobs = dict(FIXED) | {"learning_rate": learning_rate}
    return Session.open("cnn_autoencoder", knobs, ImageSource(**DATA), Mask(**MASK), seed=0)
