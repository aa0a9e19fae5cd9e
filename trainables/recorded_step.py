"""One training step that is captured as a CUDA graph and replayed; which steps of which models these are is in `trainables.recorded`.

A graph holds what Python decided when it was captured. So it is used as long as all of this is the same, and captured anew otherwise:
phases of a training, who plays in a game, shapes and order in memory of a batch, training or evaluation mode of every module, and the
optimisers' state, which another one replaces when a checkpoint is loaded. The first `WARM_STEPS` batches after a change are trained
without a graph, as CUDA asks for; they are training steps like all others. Learning rates lie on the GPU and are set before a replay
where they have changed. Draws on the CPU within a step are made again for each batch (`trainables.host_tape`); those on the GPU go on from
torch's generator in a replay as they do without.

Source: this project's own; the graphs are CUDA's as PyTorch offers them.
Deviations: values are those of unrecorded steps up to rounding. A learning rate is a float32 on the GPU; optimisers that are not fused do
on the GPU what they otherwise compute in Python; and the order of sums that atomic additions leave open is open in either.
"""

import gc
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainables.data import Batch
from trainables.game import noise_at
from trainables.host_tape import HostTape
from trainables.model import InpaintingModel

WARM_STEPS = 3  # of which the last one shows what is sent to the GPU

Step = Callable[[Batch], Any]
Phase = Callable[[float], Hashable]  # sets what a step sets for a position in the training; what else decides over it, None = not now


class _Graph:
    """One captured step: the graph, the tensors that it reads and writes, and what to do on the CPU before each replay."""

    def __init__(self, batch: Batch, tape: HostTape) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.image, self.known = batch.image.clone(), batch.known.clone()
        self.known_there = batch.known  # most batches have the same holes
        self.tape = tape
        self.draws = False
        self.figures: Any = None
        self.rates: list[Tensor] = []
        self.rates_there: list[float] = []

    def replay(self, batch: Batch, rates: list[float], sources: list[tuple[Tensor, Tensor]]) -> Any:
        """The step on a batch, with a learning rate for each group of weights and what belongs into the tape's buffers."""
        if rates != self.rates_there:
            for tensor, rate in zip(self.rates, rates, strict=True):
                tensor.fill_(rate)
            self.rates_there = rates
        self.image.copy_(batch.image)
        if batch.known is not self.known_there:
            self.known.copy_(batch.known)
            self.known_there = batch.known
        for buffer, source in sources:
            buffer.copy_(source.pin_memory(), non_blocking=True)
        self.graph.replay()
        return self.figures


class RecordedStep:
    """Takes a step's place; see the module's docstring.

    Attributes:
        obstacle: why the step is not recorded after all, in words; "" while it is.
        graphs: how many were captured so far.
        replays: how many batches a graph has trained.
    """

    def __init__(self, model: InpaintingModel, step: Step, phase: Phase) -> None:
        """Records nothing yet.

        Args:
            model: whose step it is, on a GPU.
            step: trains it on a batch; gives tensors on the GPU, alone or in lists and dicts.
            phase: see `Phase`.
        """
        self.obstacle, self.graphs, self.replays = "", 0, 0
        self._model, self._step, self._phase = model, step, phase
        self._modules = [module for network in model.networks.values() for module in network.modules()]
        self._device = next(weight for network in model.networks.values() for weight in network.parameters()).device
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._key: Hashable = None
        self._states: list[Any] = []
        self._graph: _Graph | None = None
        self._buffers: list[Tensor] = []
        self._warm_steps = 0

    def __call__(self, batch: Batch) -> Any:
        """One step; what it gives is overwritten by the next one."""
        phase = self._phase(batch.epoch)
        if self.obstacle or phase is None:
            return self._step(batch)
        self._look_for_changes(phase, batch)
        if self._graph is None:
            if self._warm_steps < WARM_STEPS:
                return self._warm(batch)
            return self._capture(batch)
        sources: list[tuple[Tensor, Tensor]] | None = []
        if self._graph.draws:
            before = torch.get_rng_state()
            sources = self._graph.tape.replay(lambda: noise_at(batch.epoch))
            if sources is None:
                torch.set_rng_state(before)
                return self._beside(batch)
        self.replays += 1
        return self._graph.replay(batch, self._rates(), sources or [])

    def _rates(self) -> list[float]:
        """The learning rates as the phase has set them."""
        return [group["lr"] for optimizer in self._model.optimizers.values() for group in optimizer.param_groups]

    def _look_for_changes(self, phase: Hashable, batch: Batch) -> None:
        """Forgets the graph where it would compute something else than the step."""
        layout = tuple((part.shape, part.stride(), part.dtype) for part in (batch.image, batch.known))
        key = (phase, layout, tuple(module.training for module in self._modules))
        states = [optimizer.state for optimizer in self._model.optimizers.values()]
        if key == self._key and all(own is other for own, other in zip(states, self._states, strict=True)):
            return
        self._key, self._states = key, states
        self._graph, self._buffers, self._warm_steps = None, [], 0
        self._place_counts(on_device=False)

    def _warm(self, batch: Batch) -> Any:
        """One of the first steps."""
        self._warm_steps += 1
        if self._warm_steps < WARM_STEPS:
            return self._beside(batch)
        tape = HostTape("cuda")
        figures = self._beside(batch, tape)
        self.obstacle, self._buffers = tape.obstacle, tape.buffers
        return figures

    def _beside(self, batch: Batch, tape: HostTape | None = None) -> Any:
        """The step as it is, on the stream that graphs are captured on, so that what CUDA's libraries keep for a stream is there."""
        asking = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(asking)
        with torch.cuda.stream(self._stream):
            if tape is None:
                figures = self._step(batch)
            else:
                with tape:
                    figures = self._step(batch)
        asking.wait_stream(self._stream)
        return figures

    def _capture(self, batch: Batch) -> Any:
        """Captures the step, which computes nothing, and trains the batch by the first replay."""
        before, before_there = torch.get_rng_state(), torch.cuda.get_rng_state(self._device)
        weights = [weight for network in self._model.networks.values() for weight in network.parameters()]
        trained = [weight.requires_grad for weight in weights]
        made = _Graph(batch, HostTape("cuda", self._buffers))
        made.rates_there = self._rates()
        made.rates = [torch.tensor(rate, dtype=torch.float32, device=self._device) for rate in made.rates_there]
        self._place_counts(on_device=True)
        try:
            with (
                _no_garbage_collection(),
                _capturable(self._model, made.rates),
                torch.cuda.graph(made.graph, stream=self._stream, capture_error_mode="thread_local"),
                made.tape,
            ):
                made.figures = self._step(Batch(made.image, made.known, batch.epoch))
            if made.tape.obstacle:
                raise RuntimeError(made.tape.obstacle)
        except RuntimeError as error:
            self.obstacle = str(error)
            name = type(self._model).__name__
            warnings.warn(f"steps of {name} cannot be recorded ({error}); they are slower", RuntimeWarning, stacklevel=2)
            self._place_counts(on_device=False)
            for weight, requires_grad in zip(weights, trained, strict=True):
                weight.requires_grad_(requires_grad)  # a game that was cut short leaves a side frozen
            torch.set_rng_state(before)
            torch.cuda.set_rng_state(before_there, self._device)
            return self._step(batch)
        made.draws = made.tape.draws_noise or not torch.equal(before, torch.get_rng_state())
        self._graph = made
        self.graphs += 1
        self.replays += 1
        return made.replay(batch, made.rates_there, made.tape.sources())

    def _place_counts(self, *, on_device: bool) -> None:
        """Optimisers that are not fused count their steps on the CPU, where a graph cannot."""
        for optimizer in self._model.optimizers.values():
            for group in optimizer.param_groups:
                for state in (optimizer.state[weight] for weight in group["params"] if weight in optimizer.state):
                    if isinstance(state.get("step"), Tensor) and not group.get("fused"):
                        state["step"] = state["step"].to(self._device if on_device else "cpu")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Graphs of models that are no more wait: CUDA refuses to destroy one, and gives up the capture, while another is captured."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Held(dict[str, Any]):
    """A group of weights whose learning rate stays the tensor that it is, whatever a step sets."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name != "lr":
            super().__setitem__(name, value)


@contextmanager
def _capturable(model: InpaintingModel, rates: list[Tensor]) -> Iterator[None]:
    """Tells the optimisers that a graph is being captured, and which tensors hold their learning rates; afterwards their settings, which
    checkpoints hold, are as they were."""
    given = iter(rates)
    before = [(optimizer, list(optimizer.param_groups)) for optimizer in model.optimizers.values()]
    for optimizer, groups in before:
        optimizer.param_groups[:] = [_Held(group | {"capturable": True, "lr": next(given)}) for group in groups]
    try:
        yield
    finally:
        for optimizer, groups in before:
            optimizer.param_groups[:] = groups
