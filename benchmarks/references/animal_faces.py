"""The models of `animal_faces` in plain PyTorch; source: sections 4.2 to 4.4 and 7."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, signed, update
from trainables.model import InpaintingModel

LEVELS = 255


class PixelRegression(Reference):
    """Section 7.1: descent on half the squared error of all 3x3 windows, on levels of 0 to 255."""

    def __init__(self, model: InpaintingModel) -> None:
        config = model.config
        self.layer = nn.Linear(8, 1, bias=False)
        self.layer.register_buffer("moments", torch.zeros(9, 9))  # the model's, for its exact solution
        self.layer.register_buffer("batches", torch.zeros(()))
        self.networks = [self.layer]
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        windows = functional.unfold(image.flatten(0, 1)[:, None] * LEVELS, 3).transpose(1, 2).flatten(0, 1)  # (N, 9)
        around, middle = torch.cat([windows[:, :4], windows[:, 5:]], 1), windows[:, 4]
        error = functional.mse_loss(self.layer(around)[:, 0], middle)
        update(self.optimizer, error / 2)
        return {"loss": error.item()}


class NeighbourNetwork(Reference):
    """Section 7.2: the 24 values around a pixel through fully connected layers, at random places."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        layers: list[nn.Module] = []
        width = config.window_px**2 - 1
        for _ in range(config.depth):
            layers += [nn.Linear(width, config.hidden), nn.ReLU()]
            width = config.hidden
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        size, (count, _, height, width) = self.config.window_px, image.shape
        images = torch.arange(count).repeat_interleave(self.config.positions)
        rows = torch.randint(size // 2, height - size // 2, images.shape) - size // 2
        columns = torch.randint(size // 2, width - size // 2, images.shape) - size // 2
        windows = functional.unfold(image, size)  # (B, 3 * size^2, places)
        chosen = windows[images, :, rows * (width - size + 1) + columns].reshape(-1, size**2)  # (N * 3, size^2)
        middle = size**2 // 2
        around = torch.cat([chosen[:, :middle], chosen[:, middle + 1 :]], 1)
        loss = functional.mse_loss(0.5 + self.network(2 * (around - 0.5))[:, 0] / 2, chosen[:, middle])
        update(self.optimizer, loss)
        return {"loss": loss.item() * LEVELS**2}


class AnimalAutoencoder(Reference):
    """Sections 4.2 to 4.4: convolutions with pooling, two dense layers, transposed convolutions; squared error over the hole."""

    def __init__(self, model: InpaintingModel) -> None:
        config, patch_px = model.config, model.mask.hole_px
        layers: list[nn.Module] = []
        channels = 4
        for stage in range(config.stages):
            filters = config.base_filters * 2**stage
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = filters
        layers += [nn.Flatten(), nn.Linear(channels * (model.image_px // 2**config.stages) ** 2, config.dense), nn.ReLU()]
        layers += [nn.Linear(config.dense, config.dense), nn.ReLU(), nn.Unflatten(1, (config.dense, 1, 1))]
        channels, shape = config.dense, (2, 2, 0)
        for above in reversed(range(patch_px.bit_length() - 2)):
            filters = config.decoder_filters * min(2**above, 8)
            layers += [nn.ConvTranspose2d(channels, filters, *shape), nn.ReLU()]
            channels, shape = filters, (4, 2, 1)
        self.network = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1))
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=(config.momentum, 0.999))
        self.place = slice((model.image_px - patch_px) // 2, (model.image_px + patch_px) // 2)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        truth = signed(image)
        patch = self.network(torch.cat([truth * known, known], 1))
        loss = functional.mse_loss(patch, truth[:, :, self.place, self.place])
        update(self.optimizer, loss)
        return {"loss": loss.item()}
