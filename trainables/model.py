"""The contract between a model and everything that trains it.

A model file reads from top to bottom: docstring (source, what is implemented, deviations), frozen `Config` whose defaults are the
paper's values, networks and losses, and one subclass of `InpaintingModel`. It knows nothing of sweeps, of files or of the command line.
"""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.data import Augmentation, Batch, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.game import Game, loss_ratio
from trainables.metrics import Metric


class InpaintingModel(ABC):
    """A trainable way to fill holes.

    A subclass builds `networks` and `optimizers` in `__init__`; saving, restoring, moving to a device and counting parameters
    follow from these two. Construction and training draw randomness from torch's default generator only inside the scope that the
    caller seeds (`Session`), so equal seeds give equal models.

    Attributes:
        Config: a frozen dataclass: one field a knob, the paper's value as its default.
        masks: the kinds of hole that the model can fill.
        extra_metrics: what `train_unit` reports beyond "loss", and `measure_split` and `measure_fills`, by name.
        shares_training: whether trials with equal `training_knobs` may take over each other's training (`trainables.shared_training`).
        splits_batches: whether several processes may train on a part of each batch (`trainables.parallel`): all that is learnt from a
            batch goes through gradients, of a loss that is a mean over its images.
        collapse_reason: why further training is of no use, in words; "" as long as it is, and always where a model cannot collapse.
        config: the configuration in force.
        image_px: side of the images.
        mask: where the holes are.
        networks: everything with weights, by name.
        optimizers: by name.
        game: who wins an adversarial game; None where there is none. Its state belongs to the model's.
    """

    Config: ClassVar[type[Any]]
    masks: ClassVar[frozenset[str]] = frozenset({"centre", "random_square", "random_rectangle", "strokes", "irregular"})
    extra_metrics: ClassVar[Mapping[str, Metric]] = {}
    shares_training: ClassVar[bool] = False
    splits_batches: ClassVar[bool] = True
    collapse_reason: str = ""
    game: Game | None = None

    def __init__(self, config: Any, image_px: int, mask: Mask) -> None:
        """Builds the model on the CPU.

        Args:
            config: an instance of the class's `Config`.
            image_px: side of the images.
            mask: where the holes will be.

        Raises:
            ConfigError: a configuration that fits neither the image size nor the mask.
        """
        mask.check(image_px)
        if mask.kind not in self.masks:
            raise ConfigError(
                f"{type(self).__name__} fills holes of kind {', '.join(sorted(self.masks))}, but got mask.kind={mask.kind!r}; "
                "choose one of these, or another model"
            )
        self.config = config
        self.image_px = image_px
        self.mask = mask
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Optimizer] = {}

    @property
    def augmentation(self) -> Augmentation:
        """How training images are varied before the model sees them."""
        return Augmentation()

    @property
    def training_mask(self) -> Mask:
        """Where the holes are in training; `mask`, unless a model trains on other holes than it is measured on."""
        return self.mask

    @property
    def batch_images(self) -> int:
        """Images a training step."""
        return int(self.config.batch_images)

    @abstractmethod
    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Trains on the batches, once each.

        Returns:
            "loss" (the mean training loss) and the class's `extra_metrics`. A loss that is not finite is returned as it is: the
            caller decides what to do with a diverged model.
        """

    @abstractmethod
    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        """Fills the holes; no weight and no running statistic changes.

        Args:
            image: (B, 3, H, W) float32 in [0, 1]. Its pixels in the hole must not be read.
            known: (B, 1, H, W) float32, 1 = known pixel.

        Returns:
            (B, 3, H, W) float32; only its hole is used.
        """

    @torch.no_grad()
    def fill(self, image: Tensor, known: Tensor) -> Tensor:
        """`predict` in evaluation mode, with the hole hidden from it and the known pixels pasted back.

        Args:
            image: (B, 3, H, W) float32 in [0, 1]; its hole is zeroed before the model sees it.
            known: (B, 1, H, W) float32, 1 = known pixel.

        Returns:
            (B, 3, H, W) float32 in [0, 1], equal to `image` wherever it is known.
        """
        was_training = {name: network.training for name, network in self.networks.items()}
        self.set_training(False)
        visible = torch.where(known > 0.5, image, 0.0).contiguous(memory_format=torch.channels_last)
        filled = self.predict(visible, known).float().clamp(0, 1)
        for name, training in was_training.items():
            self.networks[name].train(training)
        return torch.where(known > 0.5, image, filled)

    def training_knobs(self, epoch: float) -> dict[str, Any]:
        """The knobs that the weights depend on after the batch at a position in the training, in epochs; all of them, unless a model
        knows better. Counts where `shares_training` is on."""
        return dataclasses.asdict(self.config)

    def trained_networks(self, epoch: float) -> tuple[str, ...]:
        """The networks that training up to that batch has changed; the others are as they were built."""
        return tuple(self.networks)

    def trained_as(self, epoch: float) -> type["InpaintingModel"]:
        """The model whose training this is, up to that batch; another one where the first stage of a model is the whole of another."""
        return type(self)

    def measure_split(self, images: np.ndarray, device: torch.device) -> dict[str, float]:
        """Figures of a split that come from whole images, not from filled holes; names are among `extra_metrics`. No state changes.

        Args:
            images: (N, H, W, 3) uint8.
            device: where to compute.
        """
        return {}

    def measure_fills(self, image: Tensor, known: Tensor, start: int) -> dict[str, Tensor]:
        """Figures of single images that `fill` does not tell, as of several fills; names are among `extra_metrics`. No state changes.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], the truth.
            known: (B, 1, H, W) float32, 1 = known.
            start: place of the first image in its split; the following ones come after it.

        Returns:
            (B,) each; a split gets their means.
        """
        return {}

    def samples(self, count: int) -> Tensor | None:
        """Images that the model makes of nothing, (count, 3, H, W) float32 in [0, 1], the same at every call; None where it makes none."""
        return None

    def game_health(self, figures: Mapping[str, float], winner: Callable[[Mapping[str, float]], str]) -> dict[str, float]:
        """Health of an adversarial game after a training step; whether it is lost goes into `collapse_reason`.

        Args:
            figures: means over the step's iterations, `loss_discriminator` and `loss_adversarial` among them.
            winner: the model's rule for who has won; see `Game.judge`.

        Returns:
            The figures with `loss_ratio` and `collapsed`.

        Raises:
            ValueError: a model without a game.
        """
        if self.game is None:
            raise ValueError(f"{type(self).__name__} has no game to judge; set `game` in __init__")
        health = {**figures, "loss_ratio": loss_ratio(figures)}
        self.collapse_reason = self.game.judge(health, winner(health))
        return health | {"collapsed": float(bool(self.collapse_reason))}

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        """What each network takes in for one image, as the arguments of one call, on the device of its weights; their values are nothing.

        The layer table (`trainables.layers`) is read from such a call. Here every network takes an image; a model with another one
        overrides this.
        """
        return {name: (torch.zeros(1, 3, self.image_px, self.image_px, device=self.device_of(name)),) for name in self.networks}

    def device_of(self, network: str) -> torch.device | None:
        """Where the weights of a network are; None where it has none."""
        return next((weight.device for weight in self.networks[network].parameters()), None)

    def set_training(self, training: bool) -> None:
        """Switches every network between training and evaluation."""
        for network in self.networks.values():
            network.train(training)

    def to(self, device: torch.device) -> None:
        """Moves the networks and the optimisers' state."""
        for network in self.networks.values():
            network.to(device)
        for optimizer in self.optimizers.values():
            for state in optimizer.state.values():
                for key, value in state.items():
                    if isinstance(value, Tensor) and key != "step":
                        state[key] = value.to(device)

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(weight.numel() for network in self.networks.values() for weight in network.parameters() if weight.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restored model needs; tensors and plain values only, so that it loads with `weights_only=True`."""
        state: dict[str, Any] = {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }
        return state if self.game is None else state | {"game": self.game.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *, weights_only: bool = False) -> None:
        """Continues from `state_dict()`.

        Args:
            state: what `state_dict` gave.
            weights_only: leave the optimisers as they are.

        Raises:
            CheckpointError: the state belongs to another model or configuration.
        """
        try:
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
            if not weights_only:
                for name, optimizer in self.optimizers.items():
                    _continue_optimizer(optimizer, state["optimizers"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint must belong to this model and configuration, but it does not ({error}); use the one of the same trial"
            ) from error
        if self.game is not None and not weights_only:
            self.collapse_reason = self.game.load_state_dict(state)


def _continue_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Takes over moments and counts; learning rate and the other settings stay those of the model's own configuration, which differs from
    the saved one where a trial goes on with other knobs."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(copy.deepcopy(dict(state)))  # torch would share the moments with `state`
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def build_config(model: type[InpaintingModel], knobs: Mapping[str, Any]) -> Any:
    """A model's `Config` with some knobs set.

    Raises:
        ConfigError: a knob that the model does not have, or a value that its `Config` refuses.
    """
    known = [field.name for field in dataclasses.fields(model.Config)]
    unknown = sorted(set(knobs) - set(known))
    if unknown:
        raise ConfigError(f"knobs of {model.__name__} are {', '.join(known)}, but got {', '.join(unknown)}; use these names")
    return model.Config(**knobs)
