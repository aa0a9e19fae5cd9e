"""One training run, step by step: a model, its images and its holes, restorable to the last bit.

    session = Session.open("cnn_autoencoder", {"bottleneck": 256}, ImageSource("photos"), Mask("centre", 8), seed=0)
    for _ in range(10):
        print(session.step()["l2_hole"])

A step is one epoch, or a fixed number of images. The randomness of step k comes from (seed, k) alone, so a run restored from a
checkpoint goes on exactly as if it had never stopped.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from trainables.data import Batch, Images, ImageSource, Mask, batches, open_images, to_tensor
from trainables.errors import CheckpointError, ConfigError
from trainables.fill_record import FillRecord
from trainables.hole_bins import BinMeter
from trainables.memory import PeakMemory
from trainables.metrics import METRICS, measure
from trainables.model import InpaintingModel, build_config
from trainables.parallel import ALONE, Parallel
from trainables.realism import RealismMeter
from trainables.registry import load_model
from trainables.shared_training import SharedTraining
from trainables.stage_cache import FOLDER, StageCache

EVALUATION_BATCH = 500
EVALUATION_SEED = 20_24
CHECKPOINT_FILE = "checkpoint.pt"
_INITIALISE, _TRAIN, _AUGMENT = 1, 2, 3

Fill = Callable[[Tensor, Tensor], Tensor]
MeasureMore = Callable[[Tensor, Tensor, int], dict[str, Tensor]]


class Session:
    """Trains one model; see the module's docstring.

    Attributes:
        model: the model in training.
        images: its data.
        seed: of initial weights, order, holes, dropout and augmentation.
        steps: how many steps are done.
        images_seen: how many training images the model has been given.
        best: the best step so far by `objective`: {"step", "value", "state"}; None before the first finite one.
    """

    def __init__(
        self,
        model: InpaintingModel,
        images: Images,
        *,
        seed: int,
        device: torch.device,
        objective: str = "l2_hole",
        step_images: int | None = None,
        parallel: Parallel = ALONE,
    ) -> None:
        """Takes over a model that is freshly built.

        Args:
            model: built under `Session.open`'s seeding, or by hand.
            images: its data.
            seed: see the class.
            device: where training runs.
            objective: the validation metric that chooses the best step.
            step_images: training images a step; None = one epoch.
            parallel: this process among those that train the model together; see `trainables.parallel`.

        Raises:
            ConfigError: a batch larger than the training split or not divisible by the processes, a step of no image, or an objective that
                is not measured.
        """
        metrics = METRICS | dict(model.extra_metrics)
        if objective not in metrics:
            raise ConfigError(f"objective must be one of {', '.join(metrics)}, but got {objective!r}; name one of these")
        if metrics[objective].mode == "one":
            raise ConfigError(f"objective must be a metric to minimise or maximise, but {objective!r} is best at 1; use realism_gap")
        if step_images is not None and step_images < 1:
            raise ConfigError(f"step_images must be at least 1, but got {step_images}; leave it out for one epoch a step")
        if model.batch_images > len(images.train):
            raise ConfigError(
                f"batch_images must be at most the {len(images.train)} training images, but got {model.batch_images}; use a smaller batch"
            )
        parallel.check(model)
        self.model = model
        self.images = images
        self.parallel = parallel
        self.seed = seed
        self.device = device
        self.objective = objective
        self.minimise = metrics[objective].mode == "min"
        self.epoch_images = len(images.train) // model.batch_images * model.batch_images
        self.step_images = step_images or self.epoch_images
        self.steps = 0
        self.images_seen = 0
        self.best: dict[str, Any] | None = None
        self._memory = PeakMemory(device)
        self._as_trained = True  # from the start, with these settings alone
        self._shared: SharedTraining | None = None
        if model.shares_training and parallel.world == 1:
            self._shared = SharedTraining(
                model, images, seed=seed, device=device, step_images=self.step_images, epoch_images=self.epoch_images
            )
        parallel.prepare(model)
        model.to(device)

    @classmethod
    def open(
        cls,
        model: str,
        knobs: Mapping[str, Any],
        source: ImageSource,
        mask: Mask,
        *,
        seed: int = 0,
        device: str = "cpu",
        objective: str = "l2_hole",
        step_images: int | None = None,
        share_stages: bool = False,
        parallel: Parallel = ALONE,
    ) -> Self:
        """Builds model and data from their names.

        Args:
            model: a key of `trainables.registry.MODELS`, or "module:Class".
            knobs: values that differ from the model's `Config` defaults.
            source: which images.
            mask: where the holes are.
            seed: see the class.
            device: "cpu", "cuda", "cuda:1", ...
            objective: the validation metric that chooses the best step.
            step_images: training images a step; None = one epoch.
            share_stages: take over steps that other trials have trained, and leave them this one's; see `trainables.shared_training`.
                Processes that train together never do.
            parallel: this process among those that train the model together; see `trainables.parallel`.

        Raises:
            ConfigError: a knob, mask or size that does not fit.
            DataError: images that cannot be had.
        """
        kind = load_model(model)
        config = build_config(kind, knobs)
        images = open_images(source)
        with _seeded(seed, _INITIALISE, 0):
            built = kind(config, source.image_px, mask)
        session = cls(
            built, images, seed=seed, device=torch.device(device), objective=objective, step_images=step_images, parallel=parallel
        )
        if share_stages and session._shared is not None:
            session._shared.use(StageCache(source.folder / FOLDER))
        return session

    @property
    def epoch(self) -> float:
        """How many times the model has seen the training split."""
        return self.images_seen / self.epoch_images

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return self.model.parameters

    @property
    def memory_gib(self) -> float:
        """Greatest memory in GiB since the session was opened: of the GPU where it trains on one, else of the process."""
        return self._memory.peak_gib()

    @property
    def collapse_reason(self) -> str:
        """Why an adversarial game is over; empty while it is not."""
        return self.model.collapse_reason

    def step(self) -> dict[str, float]:
        """Trains one step, then measures on the validation split.

        Returns:
            The model's training metrics, all of `METRICS` on the validation split, "train_l2_hole" (as many training images,
            measured the same way), "epoch" and "images_seen". Where the loss is not finite: "loss", "epoch" and "images_seen" alone, and
            "collapsed" from the models that have it. Models that share their training add "reused", 1 where this step was taken over.
            Of several processes only the one that leads measures.
        """
        result = self._advance()
        result |= {"epoch": self.epoch, "images_seen": float(self.images_seen)}
        if not math.isfinite(result["loss"]) or not self.parallel.leads:
            return {name: result[name] for name in ("loss", "epoch", "images_seen", "collapsed", "reused") if name in result}
        result |= self.evaluate("validation")
        probe = self.images.train[: len(self.images.validation)]
        result["train_l2_hole"] = evaluate(self.model.fill, probe, self.model.mask, self.device, only="l2_hole")["l2_hole"]
        self._keep_best(result[self.objective])
        return result

    def evaluate(self, split: str) -> dict[str, float]:
        """All of `METRICS` on a split, holes the same at every call, and what the model measures on its own."""
        return self._measured(split, None)

    def evaluate_with_fills(self, split: str) -> tuple[dict[str, float], bytes]:
        """`evaluate`, and what the model made of the split's first images on the way, as a file; see `trainables.fill_record`."""
        record = FillRecord(self.model.image_px)
        return self._measured(split, record), record.to_npz(self.images.fingerprint)

    def restore_best(self) -> None:
        """Puts the weights of the best step back; the optimisers are left as they are."""
        if self.best is not None:
            self.model.load_state_dict(self.best["state"], weights_only=True)
            self._as_trained = False

    def close(self) -> None:
        """Nothing to end: this session is in one process, the caller's; see `trainables.team`."""

    def save(self, folder: Path) -> None:
        """Writes `checkpoint.pt` into a folder."""
        state = {
            "model": self.model.state_dict(),
            "steps": self.steps,
            "images_seen": self.images_seen,
            "seed": self.seed,
            "best": self.best,
            "stage": self._stage_key(),
        }
        torch.save(state, Path(folder) / CHECKPOINT_FILE)

    def load(self, folder: Path) -> None:
        """Continues from `save`.

        Raises:
            CheckpointError: a file that is missing, truncated, or of another model.
        """
        path = Path(folder) / CHECKPOINT_FILE
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            weights, steps, seen, best = state["model"], state["steps"], state["images_seen"], state["best"]
        except Exception as error:  # torch names no common root for a damaged file: zip, pickle, EOF and runtime errors all occur
            raise CheckpointError(f"{path} must be a whole checkpoint, but reading it failed ({error}); use the one before it") from error
        self.model.load_state_dict(weights)
        self.steps, self.images_seen, self.best = steps, seen, best
        self._as_trained = True
        self._as_trained = state.get("stage") == self._stage_key()

    def _measured(self, split: str, record: FillRecord | None) -> dict[str, float]:
        images = getattr(self.images, split)
        measured = evaluate(self.model.fill, images, self.model.mask, self.device, measure_more=self.model.measure_fills, record=record)
        return measured | self.model.measure_split(images, self.device)

    def _advance(self) -> dict[str, float]:
        """One step of training; models that share theirs may take it over."""
        if self._shared is None:
            return self._train() | ({"reused": 0.0} if self.model.shares_training else {})
        if not self._as_trained:
            return self._train() | {"reused": 0.0}
        steps = self.steps + 1
        seen = self.images_seen + math.ceil(self.step_images / self.model.batch_images) * self.model.batch_images
        result = self._shared.step(steps, seen, self._train)
        self.steps, self.images_seen = steps, seen
        return result

    def _train(self) -> dict[str, float]:
        """One step of training."""
        stream = batches(
            self.images.train,
            self.model.training_mask,
            batch_images=self.model.batch_images,
            start_image=self.images_seen,
            count=self.step_images,
            seed=self.seed,
            device=self.device,
        )
        seen = 0

        def augmented() -> Any:
            nonlocal seen
            generator = torch.Generator().manual_seed(_derived(self.seed, _AUGMENT, self.steps))
            for batch in stream:
                seen += len(batch.image)
                whole = Batch(self.model.augmentation.apply(batch.image, generator), batch.known, batch.epoch)
                yield self.parallel.part(whole)

        own_draws = () if self.parallel.leads else (self.parallel.rank,)
        with _seeded(self.seed, _TRAIN, self.steps, *own_draws), self.parallel.together(self.model):
            result: dict[str, float] = self.parallel.agreed(self.model.train_unit(augmented()))
        self.images_seen += seen
        self.steps += 1
        return result

    def _stage_key(self) -> str:
        """Names the state as trained from the start with this session's settings; "" where nothing is shared."""
        return self._shared.key(self.steps, self.images_seen) if self._shared is not None and self._as_trained else ""

    def _keep_best(self, value: float) -> None:
        better = self.best is None or (value < self.best["value"] if self.minimise else value > self.best["value"])
        if math.isfinite(value) and better:
            networks = {
                name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in network.state_dict().items()}
                for name, network in self.model.networks.items()
            }
            self.best = {"step": self.steps, "value": value, "state": {"networks": networks}}


@torch.no_grad()
def evaluate(
    fill: Fill,
    images: np.ndarray,
    mask: Mask,
    device: torch.device,
    only: str | None = None,
    measure_more: MeasureMore = lambda image, known, start: {},
    record: FillRecord | None = None,
) -> dict[str, float]:
    """All of `METRICS` over images, with holes that depend on nothing but the mask and the images' places.

    Args:
        fill: (image, known) -> composited image, as `InpaintingModel.fill`.
        images: (N, H, W, 3) uint8.
        mask: where the holes are.
        device: where to compute.
        only: one metric of single images, where the others are not wanted.
        measure_more: further metrics of single images, as `InpaintingModel.measure_fills`; not asked where `only` is given.
        record: takes the fills of the first images; likewise.

    Returns:
        The mean over the images of each metric of single images, and the figures of the whole split (`trainables.realism`); for irregular
        holes, the means by hole size too (`trainables.hole_bins`).
    """
    totals: dict[str, float] = {}
    realism, bins = RealismMeter(mask, images.shape[1], device), BinMeter()
    for start in range(0, len(images), EVALUATION_BATCH):
        image = to_tensor(images[start : start + EVALUATION_BATCH], device)
        known = mask.sample(len(image), images.shape[1], np.random.default_rng([EVALUATION_SEED, start])).to(device)
        filled = fill(image, known)
        values = {only: ((filled - image) ** 2 * (1 - known)).sum((1, 2, 3))} if only == "l2_hole" else measure(filled, image, known)
        more = measure_more(image, known, start) if only is None else {}
        for name, value in (values | more).items():
            if only in (None, name):
                totals[name] = totals.get(name, 0.0) + float(value.double().sum())
        if only is None:
            realism.add(filled, image, known)
            if mask.is_irregular:
                bins.add(values, known)
            if record is not None:
                record.add(filled, image, known, values)
    means = {name: total / len(images) for name, total in totals.items()}
    return means | realism.result() | bins.result() if only is None else means


def _derived(*parts: int) -> int:
    """A 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class _seeded:  # noqa: N801 - used like a function
    """Scope in which torch's default generators are seeded from several numbers; the caller's state comes back afterwards."""

    def __init__(self, *parts: int) -> None:
        self._seed = _derived(*parts)
        self._fork = torch.random.fork_rng()

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *exception: Any) -> None:
        self._fork.__exit__(*exception)
