"""`lsgan_autoencoder`: the completions of `lsgan`, refined by an autoencoder that has learned to turn completions into originals.

Source: `lsgan`, sections 2.2.1, 2.2.4 and 2.3, equation 2.7: x_completed = M * y + (1 - M) * Y_autoencoder.

Implemented: one training in two stages. For `gan_epochs` the networks of `lsgan` are trained. Then the first `refine_images` training
images that come are completed by latent search and kept with their originals, and every batch is a step of the autoencoder on kept pairs,
on the mean squared error. Until the autoencoder has taken a step, a hole is filled as in `lsgan`.

Deviations: those of `trainables.lsgan`, and
  - "The LSGAN model is run in parallel" (section 2.2.1): the completions are made once, before the autoencoder sees them, by a network that
    is not trained any more ("pre-trained", section 2.2.3).
  - The source does not say how many completions the autoencoder is trained on, nor its rate. The completion is the image with the generated
    hole pasted in, kept in 8 bits a channel; each image has one hole.
  - "Trained till 2000 epochs" is the rest of the budget of a sweep here. An epoch of this stage has as many steps as one of the first.
  - Figures of a stage are reported in the steps that train it; "loss" is that of the later one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainables.completion_gan import signed
from trainables.context_encoder import initialise
from trainables.data import Batch, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.lsgan import Lsgan, LsganConfig
from trainables.lsgan_networks import RefiningAutoencoder
from trainables.metrics import Metric
from trainables.model import InpaintingModel
from trainables.running_means import Means

REMEMBERED_CALLS = 6
GAN = ("generator", "discriminator")


@dataclass(frozen=True)
class LsganAutoencoderConfig(LsganConfig):
    """Knobs of `lsgan` and of the refinement; the values are the document's where it has them.

    Attributes:
        gan_epochs: length of the first stage; section 3.3.3's 100,000 batches of 32 from 20,000 images.
        refine_images: completed training images that the autoencoder learns from; not given.
        autoencoder_filters: of its first layer, the deepest has 8 times as many; makes the 8192 values of section 2.2.4 at 64.
        refine_learning_rate: Adam's for the autoencoder; not given.
    """

    gan_epochs: float = 160.0
    refine_images: int = 1000
    autoencoder_filters: int = 64
    refine_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gan_epochs >= 0:
            raise ConfigError(f"gan_epochs must be at least 0, but got {self.gan_epochs}; 0 trains the autoencoder alone")
        for name in ("refine_images", "autoencoder_filters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if not self.refine_learning_rate > 0:
            raise ConfigError(f"refine_learning_rate must be greater than 0, but got {self.refine_learning_rate}; use a positive value")


class LsganAutoencoder(Lsgan):
    """Trains `lsgan`'s networks, then the autoencoder; which one a batch belongs to follows from its place in the training.

    Attributes:
        pairs: "truth" and "completed", (N, 3, H, W) uint8 each, what the autoencoder learns from.
    """

    Config = LsganAutoencoderConfig
    splits_batches = False  # the completed images that the second stage learns from are collected by one process
    extra_metrics = Lsgan.extra_metrics | {
        "loss_refinement": Metric("1", "min", "mean squared error of refined completions on [-1, 1], over the training step"),
        "gradient_norm_autoencoder": Metric("1", "min", "Euclidean norm of the autoencoder's gradient, mean over the iterations"),
    }

    def __init__(self, config: LsganAutoencoderConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: LsganAutoencoderConfig = config
        self.autoencoder = RefiningAutoencoder(config.autoencoder_filters, image_px)
        self.autoencoder.apply(initialise).to(memory_format=torch.channels_last)
        self.networks["autoencoder"] = self.autoencoder
        self.optimizers["autoencoder"] = torch.optim.Adam(self.autoencoder.parameters(), lr=config.refine_learning_rate, fused=True)
        self.pairs = {name: torch.zeros(0, 3, image_px, image_px, dtype=torch.uint8) for name in ("truth", "completed")}
        self._remembered: dict[str, Tensor] = {}

    def training_knobs(self, epoch: float) -> dict[str, Any]:
        """Those of `lsgan`'s training in the first stage, all of them in the second."""
        if epoch >= self.config.gan_epochs:
            return dataclasses.asdict(self.config)
        fields = {field.name for field in dataclasses.fields(LsganConfig)}
        return {name: value for name, value in super().training_knobs(epoch).items() if name in fields}

    def trained_networks(self, epoch: float) -> tuple[str, ...]:
        return GAN if epoch < self.config.gan_epochs else tuple(self.networks)

    def trained_as(self, epoch: float) -> type[InpaintingModel]:
        """`lsgan` in the first stage, so that the two models share it."""
        return Lsgan if epoch < self.config.gan_epochs else type(self)

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        self.set_training(True)
        played, refined = Means(), Means()
        for batch in batches:
            if batch.epoch < self.config.gan_epochs:
                self._remembered.clear()
                played.add(self.play(batch.image))
            else:
                refined.add(self._refine(batch))
        game = played.result()
        figures = self.game_health(game, self.objective.winner) if game else {"collapsed": float(bool(self.collapse_reason))}
        return figures | refined.result()

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        completed = self._completed(image, known)
        if int(self.autoencoder.trained_steps) == 0:
            return completed
        return (self.run("autoencoder", signed(completed).contiguous(memory_format=torch.channels_last)) + 1) / 2

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"pairs": dict(self.pairs)}

    def load_state_dict(self, state: Mapping[str, Any], *, weights_only: bool = False) -> None:
        super().load_state_dict(state, weights_only=weights_only)
        self._remembered.clear()
        if not weights_only:
            if "pairs" not in state:
                raise CheckpointError("the checkpoint must hold the completed images, but has none; use the one of the same trial")
            self.pairs = {name: images.to("cpu", copy=True) for name, images in state["pairs"].items()}

    def _refine(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the autoencoder, after the batch's images were completed where some are still to come; its figures."""
        if len(self.pairs["truth"]) < self.config.refine_images:
            self._collect(batch)
        chosen = torch.randperm(len(self.pairs["truth"]), device="cpu")[: self.config.batch_images]
        truth, completed = (
            signed(self.pairs[name][chosen].to(batch.image.device).float() / 255).contiguous(memory_format=torch.channels_last)
            for name in ("truth", "completed")
        )
        loss = functional.mse_loss(self.run("autoencoder", completed), truth)
        norm = self.step("autoencoder", loss)
        self.autoencoder.trained_steps += 1
        return {"loss": loss.detach(), "loss_refinement": loss.detach()} | norm

    def _collect(self, batch: Batch) -> None:
        """Completes the images of a batch and keeps them, as many as are wanted."""
        wanted = self.config.refine_images - len(self.pairs["truth"])
        truth, known = batch.image[:wanted], batch.known[:wanted]
        for name in GAN:
            self.networks[name].eval()
        completed = torch.where(known > 0.5, truth, self.complete(truth * known, known))
        for name, images in (("truth", truth), ("completed", completed)):
            self.pairs[name] = torch.cat([self.pairs[name], (images * 255).round().byte().cpu()])

    def _completed(self, image: Tensor, known: Tensor) -> Tensor:
        """Images with the generated hole pasted in, (B, 3, H, W) in [0, 1].

        The last calls are remembered as long as the first stage's networks stand still: the second stage is measured on the same
        completions after each of its steps.
        """
        digest = hashlib.sha256()
        for part in (image, known):
            digest.update(part.contiguous().cpu().numpy().tobytes())
        key = digest.hexdigest()
        if key not in self._remembered:
            while len(self._remembered) >= REMEMBERED_CALLS:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[key] = torch.where(known > 0.5, image, self.complete(image, known)).cpu()
        return self._remembered[key].to(image.device)
