"""Trials that differ only in what comes after training, or in a later stage of it, share the training.

A step of training is a function of the code, the model's class, the knobs that its weights depend on, the images, the holes, the seed and
the step's place. These make the name of a stage in a `StageCache`; the stage is the state after the step. A model takes part by
`shares_training`; it says with `training_knobs` what its weights depend on, with `trained_networks` what training can have changed, and
with `trained_as` whose training it is.
"""

import dataclasses
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trainables.data import Images
from trainables.metrics import Metric
from trainables.model import InpaintingModel
from trainables.stage_cache import Stage, StageCache

PARTS = ("networks", "optimizers")
REUSED = {"reused": Metric("share", "max", "1 where the step was not trained but taken over from an earlier trial")}


class SharedTraining:
    """The training of one run, taken over step by step where another run has done it."""

    def __init__(
        self, model: InpaintingModel, images: Images, *, seed: int, device: torch.device, step_images: int, epoch_images: int
    ) -> None:
        """Without a cache (`use`) every step is trained.

        Args:
            model: one that shares its training, freshly built under `seed`.
            images: its data.
            seed: of everything random.
            device: where training runs.
            step_images: training images a step.
            epoch_images: training images an epoch.
        """
        self._model = model
        self._device = device
        self._epoch_images = epoch_images
        self._cache: StageCache | None = None
        self._facts = {
            "images": (images.fingerprint, len(images.train), model.image_px),
            "mask": dataclasses.asdict(model.training_mask),
            "seed": seed,
            "step_images": step_images,
            "device": device.type,
        }

    def use(self, cache: StageCache) -> None:
        """Looks for steps in a cache from now on, and leaves them there."""
        self._cache = cache

    def step(self, steps: int, images_seen: int, train: Callable[[], dict[str, float]]) -> dict[str, float]:
        """One step of training, or what came of it in an earlier run.

        Args:
            steps: how many steps are done after it.
            images_seen: how many images were given after it.
            train: trains it; gives its figures.

        Returns:
            The figures, with "reused" 1 where the step was taken over.
        """
        if self._cache is None:
            return train() | {"reused": 0.0}
        figures: dict[str, float] = {}

        def trained() -> Stage | None:
            figures.update(train())
            if not math.isfinite(figures["loss"]):
                return None
            return {"figures": dict(figures), "state": pack(self._model, self._model.trained_networks(self._last_batch(images_seen)))}

        stage, reused = self._cache.get(self.key(steps, images_seen), trained, self._device)
        if stage is not None and reused:
            unpack(self._model, stage["state"])
            figures = stage["figures"]
        return figures | {"reused": float(reused)}

    def key(self, steps: int, images_seen: int) -> str:
        """Names the state after so many steps and images."""
        epoch = self._last_batch(images_seen)
        return stage_key(
            self._model.trained_as(epoch), self._model.training_knobs(epoch), steps=steps, images_seen=images_seen, **self._facts
        )

    def _last_batch(self, images_seen: int) -> float:
        """Position of the last batch of so many images, in epochs."""
        return (images_seen - self._model.batch_images) / self._epoch_images


def pack(model: InpaintingModel, networks: Collection[str]) -> dict[str, Any]:
    """The state of a model without the networks that are not named, nor their optimisers."""
    state = model.state_dict()
    parts = {part: {name: entry for name, entry in state[part].items() if name in networks} for part in PARTS}
    return state | parts


def unpack(model: InpaintingModel, state: Mapping[str, Any]) -> None:
    """Puts a packed state into a model; the networks that it leaves out stay as they are."""
    own = model.state_dict()
    model.load_state_dict({**own, **state, **{part: own[part] | state[part] for part in PARTS}})


def stage_key(model: type, knobs: Mapping[str, Any], **facts: Any) -> str:
    """Names a stage.

    Args:
        model: the model's class.
        knobs: those that the weights depend on.
        facts: everything else that they depend on; plain values.

    Returns:
        32 hexadecimal digits, another one for other code, knobs or facts.
    """
    identity = {
        "model": f"{model.__module__}:{model.__qualname__}",
        "code": code_version(model),
        "torch": torch.__version__,
        "knobs": dict(knobs),
        "facts": facts,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache
def code_version(model: type) -> str:
    """16 hexadecimal digits that change with any line of this package, or of the files that a model's classes stand in."""
    package = Path(__file__).parent
    files = set(package.rglob("*.py"))
    for kind in model.__mro__:
        if kind.__module__.split(".")[0] not in ("builtins", "abc", "typing", "torch"):
            files.add(Path(inspect.getfile(kind)).resolve())
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
