"""What a training step does on the CPU beside its work on the GPU, written down so that it can be done again without the step.

A recorded step (`trainables.recorded`) holds the GPU's operations alone. Random numbers that a model draws on the CPU, and whatever else it
computes there and sends over, would be those of the recording for ever. The tape sees every function of torch that the step calls:

    sending     a CPU tensor that goes to the GPU, or a constant that is made there: a buffer takes its place, always the same one
    on the CPU  an operation with results there: noted with its arguments, and done again by `replay`
    reading     a value that Python reads off a CPU tensor, as an `if` does: noted; where another one is read later, the step is another one

A generator other than torch's default one is taken for the noise of the batch's place in the training (`trainables.game.noise_at`); each
one is made anew for a replay.

Source: this project's own, on torch's `TorchFunctionMode`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trainables.nested import tensors_in

READINGS = frozenset({"__bool__", "__int__", "__float__", "__index__", "item", "tolist", "numpy", "__array__"})
WRITINGS = frozenset({"__setitem__"})  # give nothing back


@dataclass(frozen=True)
class _Result:
    """Stands in an argument's place for what an earlier operation gave."""

    number: int


@dataclass(frozen=True)
class _Noise:
    """Stands in an argument's place for a generator."""

    number: int


@dataclass(frozen=True)
class _Operation:
    """One call on the CPU.

    Attributes:
        function: of torch.
        arguments: by place and by name, with tensors of earlier operations and generators replaced.
        results: numbers of the tensors that it gave.
        read: the value that Python saw, in a tuple; None where it saw none.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    results: tuple[int, ...]
    read: tuple[Any] | None


class HostTape(TorchFunctionMode):
    """Used as a context around one step; see the module's docstring.

    Attributes:
        obstacle: why the step cannot be recorded, in words; "" where it can.
        buffers: what was sent, as it lies on the device, in order.
    """

    def __init__(self, device_type: str, buffers: list[Tensor] | None = None) -> None:
        """Begins.

        Args:
            device_type: of the device that the step works on.
            buffers: those of an earlier tape of the same step, which are given out again instead of sending anything; None = send.
        """
        super().__init__()
        self.obstacle = ""
        self.buffers: list[Tensor] = [] if buffers is None else buffers
        self._device_type = device_type
        self._gives_out = buffers is not None
        self._sources: list[tuple[int, Tensor]] = []  # place among the buffers, and what was sent, where it was computed
        self._sent = 0
        self._operations: list[_Operation] = []
        self._results: list[Tensor] = []
        self._numbers: dict[int, int] = {}  # by a tensor's id; `_results` keeps it from being given to another
        self._generators: list[torch.Generator] = []

    @property
    def draws_noise(self) -> bool:
        """Whether another generator than torch's default one was used."""
        return bool(self._generators)

    def sources(self) -> list[tuple[Tensor, Tensor]]:
        """Buffers and what belongs into them, for the batch that the tape was made with; constants are there already."""
        return [(self.buffers[place], source) for place, source in self._sources]

    def replay(self, noise: Callable[[], torch.Generator]) -> list[tuple[Tensor, Tensor]] | None:
        """Does the operations on the CPU again, with new draws.

        Args:
            noise: gives a fresh generator for the batch.

        Returns:
            Buffers and what belongs into them; None where Python reads another value now, so that the step would go another way.
        """
        generators = [noise() for _ in self._generators]
        results = list(self._results)

        def filled(value: Any) -> Any:
            if isinstance(value, _Result):
                return results[value.number]
            if isinstance(value, _Noise):
                return generators[value.number]
            if isinstance(value, tuple | list):
                return type(value)(filled(part) for part in value)
            return value

        for operation in self._operations:
            named = {name: filled(value) for name, value in operation.named.items()}
            given = operation.function(*(filled(value) for value in operation.arguments), **named)
            if operation.read is not None and given != operation.read[0]:
                return None
            for number, tensor in zip(operation.results, tensors_in(given) if operation.results else (), strict=True):
                results[number] = tensor
        sent = [(self.buffers[place], results[self._numbers[id(source)]]) for place, source in self._sources]
        return None if any(buffer.shape != source.shape for buffer, source in sent) else sent

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._is_sent(function, args, kwargs):
            return self._send(function, args, kwargs)
        inputs = list(tensors_in((args, list(kwargs.values()))))
        host_in = any(tensor.device.type == "cpu" for tensor in inputs)
        device_in = any(tensor.device.type == self._device_type for tensor in inputs)
        name = getattr(function, "__name__", "")
        if device_in and name in READINGS:
            self.obstacle = self.obstacle or f"it reads values off the device ({name})"
        result = function(*args, **kwargs)
        outputs = list(tensors_in(result))
        host_out = any(tensor.device.type == "cpu" for tensor in outputs)
        device_out = any(tensor.device.type == self._device_type for tensor in outputs)
        if device_in and host_out:
            self.obstacle = self.obstacle or f"it takes tensors off the device ({name})"
        elif host_in and (device_in or device_out):
            self.obstacle = self.obstacle or f"it uses a CPU tensor on the device ({name})"
        elif host_out or (host_in and name in READINGS | WRITINGS):
            self._note(function, args, kwargs, outputs, (result,) if name in READINGS else None)
        return result

    def _is_sent(self, function: Any, args: Any, kwargs: Any) -> bool:
        """Whether a call makes a tensor on the device out of values on the CPU."""
        if function is Tensor.to and args[0].device.type == "cpu":
            target: torch.device | None = torch._C._nn._parse_to(*args[1:], **kwargs)[0]
            return target is not None and target.type == self._device_type
        if function is Tensor.new_tensor:
            return bool(args[0].device.type == self._device_type)
        return function is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == self._device_type

    def _send(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        """The buffer in place of what a call would give."""
        if not self._gives_out:
            self.buffers.append(function(*args, **kwargs))
        if self._sent == len(self.buffers):
            raise RuntimeError(f"a step must send as many tensors each time, but sends more than {self._sent}")
        place, buffer = self._sent, self.buffers[self._sent]
        if function is Tensor.to and id(args[0]) in self._numbers:
            if args[0].shape != buffer.shape:
                raise RuntimeError(f"a step must send the same shapes each time, but sends {args[0].shape} for {buffer.shape}")
            self._sources.append((place, args[0]))
        self._sent += 1
        return buffer

    def _note(self, function: Any, args: Any, kwargs: Any, outputs: list[Tensor], read: tuple[Any] | None) -> None:
        """Adds an operation on the CPU."""
        arguments, named = tuple(self._kept(value) for value in args), {name: self._kept(value) for name, value in kwargs.items()}
        numbers = range(len(self._results), len(self._results) + len(outputs))
        self._operations.append(_Operation(function, arguments, named, tuple(numbers), read))
        self._results += outputs
        self._numbers |= {id(tensor): number for tensor, number in zip(outputs, numbers, strict=True)}

    def _kept(self, value: Any) -> Any:
        """An argument as it is kept."""
        if isinstance(value, Tensor):
            return _Result(self._numbers[id(value)]) if id(value) in self._numbers else value
        if isinstance(value, torch.Generator):
            if value is torch.default_generator:
                return value
            if value not in self._generators:
                self._generators.append(value)
            return _Noise(self._generators.index(value))
        if type(value) in (tuple, list):
            return type(value)(self._kept(part) for part in value)
        return value
