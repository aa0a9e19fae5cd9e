"""The layer table of a model, read from the modules that it runs.

A forward pass of one image goes through each network, without weights' memory where the model was built on torch.device("meta"), and hooks
write down what is called:

  - A leaf module is a row. A module that holds weights of its own is one too, leaf or not, since its children's rows would leave them out.
  - An activation, a normalisation or a dropout that takes in what the row before it has given out belongs to that row; elsewhere (after a
    sum of two branches) it is a row of its own. `nn.Identity` is none.
  - A module that is called again, in a loop over an image's rows, stays the one row of its first call.
  - A module whose weights are used without a call is a row at the end of its network, with no output.

So every weight is counted once, and the rows add up to the model.

Source: the form of the tables is that of `thesis`, chapter 3, Tables 3.1 to 3.8.
Deviations: the source counts no parameters.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.nested import tensors_in

FOLLOWERS = tuple(f"torch.nn.modules.{name}" for name in ("activation", "batchnorm", "dropout", "instancenorm", "normalization"))
CHANNELS_BEFORE_PLACES = (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.BatchNorm1d, nn.InstanceNorm1d)


@dataclass(frozen=True)
class Layer:
    """One row.

    Attributes:
        network: the model's network that it is in.
        name: path of its module in the network, "encoder.0"; empty where the network is a single layer.
        kind: class of the module.
        follows: classes of the activations, normalisations and dropouts that come right after it, in order.
        filter: rows x columns of its kernel, "5x5"; empty where it has none.
        stride: None where it has none, or another one in each direction.
        padding: "same" where the output's side is the input's divided by the stride, rounded up, or multiplied by it in a transposed
            convolution; "valid" where nothing is padded and the size is another one; else the number of pixels; empty without a kernel.
        output: (height, width, channels) of a map, (length,) of a vector, of one image; empty where the module is not called.
        parameters: its own weights and those of what follows it, frozen ones too.
    """

    network: str
    name: str
    kind: str
    follows: tuple[str, ...]
    filter: str
    stride: int | None
    padding: str
    output: tuple[int, ...]
    parameters: int


def layer_table(model: InpaintingModel) -> list[Layer]:
    """Every layer of a model's networks in the order in which they run; no state of the model changes.

    Raises:
        ConfigError: `network_inputs` does not fit the networks.
    """
    inputs = model.network_inputs()
    if set(inputs) != set(model.networks):
        raise ConfigError(
            f"network_inputs must name the networks of {type(model).__name__} ({', '.join(model.networks) or 'none'}), but names "
            f"{', '.join(inputs) or 'none'}; override it"
        )
    rows: list[Layer] = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, network in model.networks.items():
            with _evaluating(network):
                recorder = _Recorder(name, network)
                recorder.run(inputs[name])
                rows += recorder.finished()
    return rows


class _Recorder:
    """Writes down the layers of one network while it runs."""

    def __init__(self, title: str, network: nn.Module) -> None:
        self._title = title
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._rows: dict[nn.Module, Layer] = {}
        self._called: set[nn.Module] = set()
        self._counted: set[nn.Parameter] = set()
        self._last: nn.Module | None = None  # whose row may still grow, and what came out of it
        self._given_out: list[Tensor] = []

    def run(self, inputs: tuple[Tensor, ...]) -> None:
        """Calls the network with hooks in place."""
        with ExitStack() as hooks:
            for module in self._names:
                if _is_row(module):
                    hooks.callback(module.register_forward_pre_hook(self._begun).remove)
                    hooks.callback(module.register_forward_hook(self._ended).remove)
                if isinstance(module, nn.RNNBase) and module.weight_ih_l0.device.type == "meta":
                    hooks.enter_context(_shapes_alone(module))
            self._network(*inputs)

    def finished(self) -> list[Layer]:
        """The rows, with those of modules whose weights no call has shown."""
        for module in self._names:
            if any(weight not in self._counted for weight in module.parameters(recurse=False)):
                self._rows[module] = self._row(module)
        return list(self._rows.values())

    def _begun(self, module: nn.Module, _: tuple[Any, ...]) -> None:
        """Keeps the place of a row that has rows inside; they come after it."""
        if not _is_leaf(module) and module not in self._called:
            self._rows[module] = self._row(module)

    def _ended(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Identity):
            return
        given_out = list(tensors_in(output))
        joined = any(one is other for one in tensors_in(inputs) for other in self._given_out)
        if _is_follower(module) and joined:
            self._follow(module)
        elif module in self._called:
            self._last = None
        else:
            self._called.add(module)
            row = self._rows.get(module) or self._row(module)
            if given_out:
                padding = _padding(module, next(tensors_in(inputs), None), given_out[0])
                row = replace(row, padding=padding, output=_shape(module, given_out[0]))
            self._rows[module] = row
            self._last = module
        self._given_out = given_out

    def _follow(self, module: nn.Module) -> None:
        """Adds a module to the row that it follows, the first time that this row runs."""
        if self._last is not None:
            row = self._rows[self._last]
            follows = (*row.follows, type(module).__name__)
            self._rows[self._last] = replace(row, follows=follows, parameters=row.parameters + self._count(module))

    def _row(self, module: nn.Module) -> Layer:
        """What is known of a module before it runs."""
        sizes, strides = _sizes(module, "kernel_size"), _sizes(module, "stride")
        return Layer(
            network=self._title,
            name=self._names[module],
            kind=type(module).__name__,
            follows=(),
            filter="x".join(map(str, sizes)),
            stride=strides[0] if sizes and len(set(strides)) == 1 else None,
            padding="",
            output=(),
            parameters=self._count(module),
        )

    def _count(self, module: nn.Module) -> int:
        """A module's own weights that were not counted before; weights that two modules share count once."""
        fresh = [weight for weight in module.parameters(recurse=False) if weight not in self._counted]
        self._counted |= set(fresh)
        return sum(weight.numel() for weight in fresh)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of a `with`, whatever mode each module was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _shapes_alone(recurrent: nn.RNNBase) -> Iterator[None]:
    """Gives what a recurrent layer gives out without its steps, one by one; on the meta device thousands of these take seconds."""
    layers, width = recurrent.num_layers * (1 + recurrent.bidirectional), recurrent.proj_size or recurrent.hidden_size

    def forward(steps: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        batch = steps.shape[0 if recurrent.batch_first else 1]
        output = steps.new_empty(*steps.shape[:-1], width * (1 + recurrent.bidirectional))
        hidden = steps.new_empty(layers, batch, width)
        return output, (hidden, steps.new_empty(layers, batch, recurrent.hidden_size)) if isinstance(recurrent, nn.LSTM) else hidden

    recurrent.forward = forward
    try:
        yield
    finally:
        del recurrent.forward


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _is_row(module: nn.Module) -> bool:
    """Whether a module is, or follows, a row: it has no children, or weights of its own."""
    return _is_leaf(module) or next(module.parameters(recurse=False), None) is not None


def _is_follower(module: nn.Module) -> bool:
    return _is_leaf(module) and any(kind.__module__ in FOLLOWERS for kind in type(module).__mro__)


def _sizes(module: nn.Module, attribute: str) -> tuple[int, ...]:
    """A size in each direction: (5, 5); empty where the module has none."""
    value = getattr(module, attribute, None)
    if isinstance(value, int):
        kind = type(module).__name__
        return (value,) * (int(kind[-2]) if kind[-2:] in ("1d", "2d", "3d") else 2)
    return tuple(value) if isinstance(value, tuple) and all(isinstance(size, int) for size in value) else ()


def _padding(module: nn.Module, entered: Tensor | None, left: Tensor) -> str:
    """ "same", "valid" or a number; see `Layer`."""
    sizes, strides, padded = _sizes(module, "kernel_size"), _sizes(module, "stride"), getattr(module, "padding", 0)
    if not sizes or entered is None:
        return ""
    sides = zip(entered.shape[-len(sizes) :], strides or (1,) * len(sizes), strict=True)
    same = [side * stride if getattr(module, "transposed", False) else math.ceil(side / stride) for side, stride in sides]
    if list(left.shape[-len(sizes) :]) == same:
        return "same"
    if isinstance(padded, str):
        return padded
    pixels = _sizes(module, "padding")
    return "x".join(map(str, dict.fromkeys(pixels))) if any(pixels) else "valid"


def _shape(module: nn.Module, output: Tensor) -> tuple[int, ...]:
    """Shape of one image's output with its channels last; the batch is the first axis, or the second one of a sequence."""
    shape = list(output.shape)
    batch = next((axis for axis in (0, 1) if axis < len(shape) and shape[axis] == 1), None)
    if batch is not None:
        del shape[batch]
    if len(shape) > 2 or (len(shape) == 2 and isinstance(module, CHANNELS_BEFORE_PLACES)):
        shape = [*shape[1:], shape[0]]
    return tuple(shape)
