"""`lsgan` and `lsgan_autoencoder` in plain PyTorch; source: `lsgan`, section 2.2, Table 2.1."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from benchmarks.references.plain import Reference, signed, update
from trainables.data import Batch
from trainables.model import InpaintingModel


def widths(base: int, image_px: int) -> list[int]:
    """Filters from 8 times the base at 4 px outwards."""
    levels = (image_px // 4).bit_length() - 1
    return [max(8 * base // 2**level, base) for level in range(levels)]


def generator(latent: int, base: int, dropout: float, image_px: int) -> nn.Sequential:
    """Table 2.1."""
    layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
    channels, shape = latent, (4, 1, 0)
    for filters in widths(base, image_px):
        layers += [nn.ConvTranspose2d(channels, filters, *shape, bias=False), nn.BatchNorm2d(filters), nn.LeakyReLU(0.2)]
        layers.append(nn.Dropout(dropout))
        channels, shape = filters, (4, 2, 1)
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())


def discriminator(base: int, image_px: int) -> nn.Sequential:
    """Four convolutions of stride 2 and a score."""
    layers: list[nn.Module] = []
    channels = 3
    for index, filters in enumerate(reversed(widths(base, image_px))):
        layers.append(nn.Conv2d(channels, filters, 4, 2, 1, bias=index == 0))
        layers += ([nn.BatchNorm2d(filters)] if index else []) + [nn.LeakyReLU(0.2)]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, 1), nn.Flatten(0))


class Lsgan(Reference):
    """Equations 2.1 and 2.2, labels 0, 1 and 1."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        self.generator = generator(config.latent, config.base_filters, config.dropout, model.image_px)
        self.discriminator = discriminator(config.base_filters // 2, model.image_px)
        self.networks = [self.generator, self.discriminator]
        betas = (config.adam_momentum, 0.999)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=config.learning_rate, betas=betas)
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=config.discriminator_learning_rate, betas=betas)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        latent = torch.rand(len(image), self.config.latent).to(image.device) * 2 - 1
        made = self.generator(latent)
        true_scores, made_scores = self.discriminator(signed(image)), self.discriminator(made.detach())
        judged = 0.5 * ((true_scores - 1) ** 2).mean() + 0.5 * (made_scores**2).mean()
        update(self.judge_optimizer, judged)
        loss = 0.5 * ((self.discriminator(made) - 1) ** 2).mean()
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": judged.item()}


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Originals and their completions, one at a time."""

    def __init__(self, pairs: dict[str, Tensor]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs["truth"])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Two (3, H, W) float32 in [0, 1]."""
        return self.pairs["truth"][index].float() / 255, self.pairs["completed"][index].float() / 255


class LsganAutoencoder(Reference):
    """The second stage, section 2.2.4: an autoencoder turns completions into originals; the first one is `Lsgan`."""

    def __init__(self, model: InpaintingModel) -> None:
        config = model.config
        filters = widths(config.autoencoder_filters, model.image_px)
        layers: list[nn.Module] = []
        channels = 3
        for deeper in reversed(filters):
            layers += [nn.Conv2d(channels, deeper, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(deeper), nn.ReLU()]
            channels = deeper
        for narrow in filters[1:]:
            layers += [nn.ConvTranspose2d(channels, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
            channels = narrow
        self.autoencoder = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())
        self.autoencoder.register_buffer("trained_steps", torch.zeros((), dtype=torch.int64))  # as the model counts them
        self.networks = [*Lsgan(model).networks, self.autoencoder]
        self.optimizer = torch.optim.Adam(self.autoencoder.parameters(), lr=config.refine_learning_rate)

    def data(self, model: InpaintingModel, images: np.ndarray) -> Dataset[tuple[Tensor, Tensor]]:
        return Pairs(model.pairs)  # type: ignore[arg-type]

    def inputs(self, model: InpaintingModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pairs that the model drew: those that it draws again from the same seed."""
        chosen = torch.randperm(len(model.pairs["truth"]))[: model.batch_images]  # type: ignore[arg-type, index]
        truth, completed = (model.pairs[name][chosen].to(batch.image.device).float() / 255 for name in ("truth", "completed"))  # type: ignore[index, operator]
        return truth, completed

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        """As the base class, with completions in the place of holes."""
        loss = functional.mse_loss(self.autoencoder(signed(known)), signed(image))
        update(self.optimizer, loss)
        self.autoencoder.trained_steps += 1  # type: ignore[operator]
        return {"loss": loss.item()}
