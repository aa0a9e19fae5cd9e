"""The rooms beside the engine as this installation has them: the models of `trainables`, the knobs of `search_spaces`.

The functions here run on workers too, where Ray finds them by name.
"""

import copy
import dataclasses
import gc
import hashlib
import math
import pickle
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from search_spaces import SPACES
from sweeper.cli.uncompiled import bring_compiler_back, compiler_left_out
from sweeper.rooms import DataFacts, Rooms, SessionRequest, TrainingSession
from sweeper.source_code import SourceCode
from trainables import METRICS, MODELS, ConfigError, ImageSource, InpaintingError, Mask, Session, TeamSession
from trainables.data import MASK_KINDS, PUBLISHABLE, READERS, SPLITS, batches, open_images
from trainables.fill_record import FillRecord
from trainables.layers import layer_table
from trainables.model import InpaintingModel, build_config
from trainables.parallel import Parallel
from trainables.pictures import picture_grid, sample_grid
from trainables.recorded_session import RecordedSession
from trainables.registry import load_model
from trainables.ring_mean import ring_mean_fill
from trainables.session import evaluate
from trainables.shared_training import code_version

PICTURE_IMAGES = 8
TIMED_BATCHES = 5
MEASURED_S = 20.0
_layer_tables: dict[bytes, list[dict[str, Any]]] = {}


def open_trial(request: SessionRequest) -> TrainingSession:
    """A training session for one configuration, in as many processes as the trial was given."""
    if request.processes == 1:
        return open_session(request)
    return TeamSession.open(
        request.model,
        request.knobs,
        ImageSource(**request.data),
        Mask(**request.mask),
        processes=request.processes,
        seed=request.seed,
        device=request.device,
        objective=request.objective,
        step_images=request.step_images,
        threads=None if request.threads is None else max(1, request.threads // request.processes),
    )


def open_session(request: SessionRequest) -> Session:
    """A training session for one configuration in this process, with the threads that the trial was given, recorded on a GPU."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    if request.model not in MODELS:
        bring_compiler_back()
    return RecordedSession.open(
        request.model,
        request.knobs,
        ImageSource(**request.data, prepared=request.prepared or None, fingerprint=request.fingerprint or None),
        Mask(**request.mask),
        seed=request.seed,
        device=request.device,
        objective=request.objective,
        step_images=request.step_images,
        share_stages=True,
    )


def check(model: str, knobs: Mapping[str, Any], data: Mapping[str, Any], mask: Mapping[str, Any], processes: int) -> None:
    """Builds a model without memory for its weights.

    Raises:
        ConfigError: a configuration that the model refuses, a user's own model that cannot be built at all, a batch that no
            training split of the asked-for size fills, or one that the processes cannot share.
    """
    source = ImageSource(**data)
    source.check()
    built = _built(model, knobs, source.image_px, mask)
    if source.train is not None and built.batch_images > source.train:
        raise ConfigError(f"batch_images must be at most data.train = {source.train}, but got {built.batch_images}; use a smaller batch")
    Parallel(world=processes).check(built)


def layers(model: str, knobs: Mapping[str, Any], data: Mapping[str, Any], mask: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layer table of a model, read without memory for its weights; of `data` the images' side is all that counts.

    Raises:
        ConfigError: a configuration that the model refuses, or a user's own model whose networks cannot be called so.
    """
    built = _built(model, knobs, data["image_px"], mask)
    try:
        with _light(model):
            seen = _fingerprint(built)
            table = None if seen is None else _layer_tables.get(seen)
            if table is None:
                table = [dataclasses.asdict(row) for row in layer_table(built)]
                if seen is not None:
                    _layer_tables[seen] = table
            return copy.deepcopy(table)
    except InpaintingError:
        raise
    except Exception as error:  # a user's own network may raise anything
        raise ConfigError(
            f"the networks of model {model!r} must take what its network_inputs() gives, on the meta device, but raised "
            f"{type(error).__name__} ({error}); override network_inputs"
        ) from error


def _fingerprint(model: InpaintingModel) -> bytes | None:
    """What a model's layer table follows from, its networks with all their settings and what they take; None where it cannot be told.

    Many configurations differ in rates alone. To read a table takes from 50 ms to 2 s, a fingerprint some milliseconds.
    """
    try:
        return hashlib.sha256(pickle.dumps((model.networks, model.network_inputs()))).digest()
    except (pickle.PicklingError, AttributeError, TypeError):  # a network that holds a function without a name
        return None


def data_folder(data_dir: str | None) -> Path:
    """The folder of the named sets and the prepared arrays."""
    return ImageSource("photos", data_dir=data_dir).folder


def data_bytes(data: Mapping[str, Any]) -> int:
    """Size of a set's prepared arrays as trials read them."""
    images = open_images(ImageSource(**data))
    return sum(int(getattr(images, split).nbytes) for split in SPLITS)


def first_mask(model: str) -> str:
    """The first kind of hole that a model fills."""
    fills = load_model(model).masks
    return next((kind for kind in MASK_KINDS if kind in fills), MASK_KINDS[0])


def _built(model: str, knobs: Mapping[str, Any], image_px: int, mask: Mapping[str, Any]) -> InpaintingModel:
    """A model without memory for its weights; whatever a user's own one raises is told as a ConfigError."""
    kind = load_model(model)
    try:
        with torch.device("meta"), _light(model):
            return kind(build_config(kind, knobs), image_px, Mask(**mask))
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, InpaintingError):
            raise
        raise ConfigError(f"model {model!r} must build with {dict(knobs)}, but raised {type(error).__name__} ({error}); mend it") from error


def _light(model: str) -> AbstractContextManager[None]:
    """torch for looking at a model: without its compiler, but for a user's own model, which may ask for that."""
    return compiler_left_out() if model in MODELS else nullcontext()


def code(model: str) -> str:
    """Version of the code that a model's results follow from, and of torch; `reports.freshness` says what the code's version is today."""
    module = MODELS.get(model, model).partition(":")[0]
    version = SourceCode().version([module, "trainables"], leave_out=["trainables.registry"])
    return f"{version or code_version(load_model(model))}, torch {torch.__version__}"


def extra_metrics(model: str) -> dict[str, str]:
    """The validation metrics that a model alone has and that can be minimised or maximised."""
    return {name: metric.mode for name, metric in load_model(model).extra_metrics.items() if metric.mode in ("min", "max")}


def prepare(data: Mapping[str, Any], mask: Mapping[str, Any]) -> DataFacts:
    """Prepares the images on this node and measures the plain ring-mean fill on validation and test."""
    source = ImageSource(**data)
    images = open_images(source)
    counts = {split: len(getattr(images, split)) for split in SPLITS}
    records = {split: FillRecord(source.image_px) for split in ("validation", "test")}
    baseline = {
        split: evaluate(ring_mean_fill, getattr(images, split), Mask(**mask), torch.device("cpu"), record=record)
        for split, record in records.items()
    }
    fills = records["test"].to_npz(images.fingerprint, with_truth=True, publishable=source.name in PUBLISHABLE)
    return DataFacts(counts, images.fingerprint, images.skipped, baseline, images.prepared, fills)


def free_gpu_gib() -> float:
    """What is free of this process's GPUs in GiB, of that with the least; infinite where it has none, which opening a session tells."""
    if not torch.cuda.is_available():
        return math.inf
    gc.collect()  # the session before this one
    torch.cuda.empty_cache()
    gpus = range(torch.cuda.device_count())
    return min(torch.cuda.mem_get_info(gpu)[0] + torch.cuda.memory_reserved(gpu) for gpu in gpus) / 2**30


def picture(request: SessionRequest, checkpoint: Path, file: Path) -> None:
    """Writes a picture grid of a checkpoint's best step: the first validation images, with their holes, fills and truths."""
    session = open_session(request)
    session.load(checkpoint)
    session.restore_best()
    fills = {"ring mean": ring_mean_fill, request.model.rsplit(":", 1)[-1]: session.model.fill}
    picture_grid(session.images.validation[:PICTURE_IMAGES], session.model.mask, fills).save(file)


def side_by_side(models: Mapping[str, tuple[SessionRequest, Path]], file: Path, count: int, split: str, *, fills_only: bool) -> None:
    """Writes a picture grid with one column a model, each from its checkpoint's best step, on the same images and holes."""
    fills: dict[str, Any] = {"ring mean": ring_mean_fill}
    for name, (request, checkpoint) in models.items():
        session = open_session(request)
        session.load(checkpoint)
        session.restore_best()
        fills[name] = session.model.fill
    picture_grid(getattr(session.images, split)[:count], session.model.mask, fills, fills_only=fills_only).save(file)


def samples(request: SessionRequest, checkpoint: Path, file: Path, count: int) -> bool:
    """Writes images that a checkpoint's best step makes of nothing; whether the model makes any."""
    session = open_session(request)
    session.load(checkpoint)
    session.restore_best()
    made = session.model.samples(count)
    if made is not None:
        sample_grid(made.cpu()).save(file)
    return made is not None


@dataclasses.dataclass(frozen=True)
class MeasuredEpoch:
    """What an epoch of a model takes here.

    Attributes:
        train_s: seconds of its training steps.
        measure_s: seconds of its measurements on the validation split.
        share: how much of the epoch was run; the rest is extrapolated.
        parameters: of the model.
    """

    train_s: float
    measure_s: float
    share: float
    parameters: int


def measured_epoch(request: SessionRequest) -> MeasuredEpoch:
    """Runs an epoch on this machine, of a long one the batches of its first `MEASURED_S` seconds."""
    session = open_session(request)
    model, size = session.model, session.model.batch_images

    def train(count: int) -> float:
        begun_s = time.perf_counter()
        stream = batches(
            session.images.train, model.training_mask, batch_images=size, start_image=0, count=count, seed=0, device=session.device
        )
        model.train_unit(stream)
        return time.perf_counter() - begun_s

    train(size)  # the first batch also fills caches
    done, took_s = 0, 0.0
    while done < session.epoch_images and took_s < MEASURED_S:
        part = min(TIMED_BATCHES * size, session.epoch_images - done)
        took_s += train(part)
        done += part
    begun_s = time.perf_counter()
    session.evaluate("validation")
    share = done / session.epoch_images
    return MeasuredEpoch(took_s / share, time.perf_counter() - begun_s, share, model.parameters)


def installed_rooms() -> Rooms:
    """Everything the engine may use here."""
    return Rooms(
        models=MODELS,
        spaces=SPACES,
        metrics={name: metric.mode for name, metric in METRICS.items() if metric.mode in ("min", "max")},
        data_names=tuple(READERS),
        mask_kinds=MASK_KINDS,
        open_session=open_trial,
        check=check,
        prepare=prepare,
        layers=layers,
        picture=picture,
        code=code,
        extra_metrics=extra_metrics,
        free_gpu_gib=free_gpu_gib,
        user_errors=(InpaintingError,),
    )
