"""Recorded steps: on a GPU a training step is captured once as a CUDA graph and replayed for each later batch.

    session = Session.open("dcgan", {"precision": "bfloat16"}, ImageSource("photos"), Mask("centre", 8), device="cuda")
    record_steps(session.model)  # or open a `RecordedSession`, which does it, and reads its batches faster

A step of small layers is hundreds of operations of some microseconds each, and Python takes longer to ask for one than the GPU to do it. A
replay asks for all of them at once. It computes what the step computes, on the same weights, moments and statistics, which lie where they
lay; what follows from the batch is copied to where the recording read it.

How a step is captured, and when anew, is in `trainables.recorded_step`.

Recorded are all models of this package but two: `pixel_regression` hands its weights from batch to batch as a Python value and hardly
launches anything, and `classical_fill` trains nothing. Not recorded, by `is_recorded` or by what the first steps show, are further:
a first stage of OpenCV or scikit-image (`first_stage`), which computes on the CPU; the batches of `lsgan_autoencoder` whose images are
completed; batches whose draws decide which operations there are (`pconv_unet` where `perceptual_images` meets `accumulation_steps`); models
that are not of this package; trainings by several processes; everything on a CPU. These train as ever.

Source: this project's own.
"""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainables.adversarial import AdversarialAutoencoder
from trainables.cnn_autoencoder import CnnAutoencoder
from trainables.completion_gan import CompletionGan
from trainables.context_encoder import ContextEncoder
from trainables.data import Batch
from trainables.density import DensityModel, to_levels
from trainables.lsgan import Lsgan
from trainables.lsgan_autoencoder import LsganAutoencoder
from trainables.model import InpaintingModel
from trainables.neighbour_network import NeighbourNetwork
from trainables.patch_game import PatchGame
from trainables.pconv_unet import PconvUnet
from trainables.peel import LEVELS
from trainables.precision import mixed
from trainables.reconstruction import Reconstructor
from trainables.recorded_step import Phase, RecordedStep, Step
from trainables.running_means import means

_RECORDED = (
    *(AdversarialAutoencoder, CnnAutoencoder, CompletionGan, ContextEncoder, DensityModel),
    *(Lsgan, NeighbourNetwork, PatchGame, PconvUnet, Reconstructor),
)


def is_recorded(model: InpaintingModel) -> bool:
    """Whether `record_steps` does anything for a model where it is: on a GPU, and of this package; see the module's docstring."""
    weight = next((weight for network in model.networks.values() for weight in network.parameters()), None)
    own = type(model).__module__.partition(".")[0] == __name__.partition(".")[0]
    return own and isinstance(model, _RECORDED) and weight is not None and weight.device.type == "cuda"


def record_steps(model: InpaintingModel) -> list[RecordedStep]:
    """Has a model's training steps recorded from now on; a model for which `is_recorded` is false is left alone.

    Args:
        model: on the device where it will train. What its step returns is overwritten by the next step.

    Returns:
        The model's steps, one for each stage of its training; none where nothing is recorded.
    """
    if not is_recorded(model):
        return []
    if isinstance(model, DensityModel | NeighbourNetwork):
        unit, own = (_density_unit, _density_step) if isinstance(model, DensityModel) else (_neighbour_unit, _neighbour_step)
        inner = RecordedStep(model, own(model), _decaying(model))
        model.train_unit = unit(model, inner)  # type: ignore[method-assign, assignment]
        return [inner]
    if isinstance(model, Lsgan):
        return _record_play(model)
    phase: Phase = _decaying(model)
    if isinstance(model, PconvUnet):
        phase = partial(_pconv_phase, model)
    elif isinstance(model, ContextEncoder):
        phase = partial(_both_rates, model)
    elif isinstance(model, PatchGame):
        phase = partial(_players, model)
    name = "_iteration" if hasattr(model, "_iteration") else "_step"
    step = RecordedStep(model, getattr(model, name), phase)
    setattr(model, name, step)
    return [step]


def _record_play(model: Lsgan) -> list[RecordedStep]:
    """`record_steps` of the models whose step takes images alone."""
    play, nowhere = model.play, torch.empty(0)
    played = RecordedStep(model, lambda batch: play(batch.image), lambda epoch: ())
    model.play = lambda image: played(Batch(image, nowhere, 0.0))  # type: ignore[method-assign]
    if not isinstance(model, LsganAutoencoder):
        return [played]
    refined = RecordedStep(model, model._refine, partial(_all_completed, model))
    model._refine = refined  # type: ignore[method-assign]
    return [played, refined]


def _decaying(model: Any) -> Phase:
    """Learning rates that follow the position in the training."""

    def phase(epoch: float) -> Hashable:
        for name, optimizer in model.optimizers.items():
            config = model.config
            initial = config.learning_rate if name == "network" else config.discriminator_learning_rate
            for group in optimizer.param_groups:
                group["lr"] = initial * config.decay_factor ** (epoch // config.decay_epochs)
        return ()

    return phase


def _both_rates(model: ContextEncoder, epoch: float) -> Hashable:
    model._set_rates(epoch)
    return ()


def _players(model: PatchGame, epoch: float) -> Hashable:
    _decaying(model)(epoch)
    model.playing = model.players(epoch)
    return tuple(model.playing)


def _pconv_phase(model: PconvUnet, epoch: float) -> Hashable:
    model.set_phase(epoch)
    return epoch >= model.config.perceptual_epoch


def _all_completed(model: LsganAutoencoder, epoch: float) -> Hashable:
    """Whether there are all pairs; while some are still to come, a step is not the same each time."""
    return () if len(model.pairs["truth"]) >= model.config.refine_images else None


def _density_step(model: Any) -> Step:
    """What `DensityModel.train_unit` does with a batch; gives its losses."""

    def step(batch: Batch) -> list[Tensor]:
        optimizer, losses = model.optimizers["network"], []
        values = to_levels(batch.image, model.network.levels)
        steps = iter(model.losses(values))
        while (loss := model._next_loss(steps, values.device.type)) is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            model.before_step()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    return step


def _density_unit(model: Any, step: Step) -> Callable[[Iterable[Batch]], dict[str, float]]:
    """`DensityModel.train_unit` with another step."""

    def train_unit(batches: Iterable[Batch]) -> dict[str, float]:
        model.network.train()
        total, count = torch.zeros(()), 0
        for batch in batches:
            for loss in step(batch):
                total = total.to(loss.device).add_(loss)
                count += 1
        return {"loss": float(total) / max(count, 1)}

    return train_unit


def _neighbour_step(model: Any) -> Step:
    """What `NeighbourNetwork.train_unit` does with a batch."""

    def step(batch: Batch) -> dict[str, Tensor]:
        optimizer = model.optimizers["network"]
        neighbours, middles = model.drawn(batch.image)
        with mixed(neighbours.device.type, model.config.precision):
            estimates = model.network(neighbours)
        loss = functional.mse_loss(estimates, middles)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {"loss": loss.detach()}

    return step


def _neighbour_unit(model: Any, step: Step) -> Callable[[Iterable[Batch]], dict[str, float]]:
    """`NeighbourNetwork.train_unit` with another step."""

    def train_unit(batches: Iterable[Batch]) -> dict[str, float]:
        model.network.train()
        return {"loss": means(step(batch) for batch in batches)["loss"] * LEVELS**2}

    return train_unit
