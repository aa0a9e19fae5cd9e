"""A session whose training steps are recorded (`trainables.recorded`) and whose batches are made while the GPU computes.

Images are gathered into pinned memory and sent without waiting, and augmented on a stream of their own; holes that are the same for all
images are sent once. Order, holes and augmentation are those of `Session`, to the last bit. On a CPU, and as one of several processes, it
is a `Session`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.data import Batch, Images, Mask
from trainables.data.augment import Augmentation
from trainables.data.batches import _HOLES, _ORDER
from trainables.model import InpaintingModel
from trainables.recorded import record_steps
from trainables.session import _AUGMENT, _TRAIN, Session, _derived, _seeded


class RecordedSession(Session):
    """See the module's docstring.

    Attributes:
        recordings: the model's steps; none where they are not recorded.
    """

    def __init__(self, model: InpaintingModel, images: Images, **settings: Any) -> None:
        """As `Session`."""
        super().__init__(model, images, **settings)
        self._stream = BatchStream(images.train, model.training_mask, model.augmentation, model.batch_images, self.seed, self.device)
        self.recordings = record_steps(model) if self.parallel.world == 1 else []

    def train(self) -> dict[str, float]:
        if self.device.type != "cuda" or self.parallel.world > 1:
            return super().train()
        seen = 0

        def counted() -> Iterator[Batch]:
            nonlocal seen
            generator = torch.Generator().manual_seed(_derived(self.seed, _AUGMENT, self.steps))
            for batch in self._stream.batches(self.images_seen, self.step_images, generator):
                seen += len(batch.image)
                yield batch

        with _seeded(self.seed, _TRAIN, self.steps):
            result = self.model.train_unit(counted())
        self.images_seen += seen
        self.steps += 1
        return result


@dataclasses.dataclass
class BatchStream:
    """`trainables.data.batches` with augmentation, for a GPU; a CPU gets the same batches.

    Attributes:
        images: (N, H, W, 3) uint8, the training split.
        mask: where the holes are.
        augmentation: how images are varied.
        batch_images: images a batch; at most N.
        seed: of order and holes.
        device: where the batches go.
    """

    images: np.ndarray
    mask: Mask
    augmentation: Augmentation
    batch_images: int
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        self._side: Any = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._same_holes: Tensor | None = None

    def batches(self, start_image: int, count: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yields whole batches until at least `count` images have been given.

        Args:
            start_image: how many images the stream has given before.
            count: how many more to give.
            generator: of the augmentation, on the CPU.
        """
        per_epoch = len(self.images) // self.batch_images * self.batch_images
        position, epoch, order = start_image, -1, np.empty(0, int)
        while position < start_image + count:
            if position // per_epoch != epoch:
                epoch = position // per_epoch
                order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.images))
            start = position % per_epoch
            chosen = np.sort(order[start : start + self.batch_images])
            yield self._made(chosen, position, position / per_epoch, generator)
            position += len(chosen)

    def _made(self, chosen: np.ndarray, position: int, epoch: float, generator: torch.Generator) -> Batch:
        """One batch. What the device still has to do for earlier ones is not waited for."""
        if self._side is None:
            return Batch(self._image(chosen, generator), self._known(len(chosen), position), epoch)
        with torch.cuda.stream(self._side):
            image, known = self._image(chosen, generator), self._known(len(chosen), position)
        asking = torch.cuda.current_stream(self.device)
        asking.wait_stream(self._side)
        for part in (image, known):
            part.record_stream(asking)  # its memory is not given to the next batch before this one is read
        return Batch(image, known, epoch)

    def _image(self, chosen: np.ndarray, generator: torch.Generator) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1], channels-last in memory, augmented."""
        pixels = torch.empty((len(chosen), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=self._side is not None)
        np.take(self.images, chosen, axis=0, out=pixels.numpy())
        image = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        return self.augmentation.apply(image, generator)

    def _known(self, count: int, position: int) -> Tensor:
        """(B, 1, H, W) float32, 1 = known; the same tensor each time where all holes are the same."""
        if self._same_holes is not None:
            return self._same_holes
        known = self.mask.sample(count, self.images.shape[1], np.random.default_rng([self.seed, _HOLES, position]))
        if self._side is not None:
            known = known.pin_memory().to(self.device, non_blocking=True)
        if self.mask.kind == "centre":
            self._same_holes = known
        return known
