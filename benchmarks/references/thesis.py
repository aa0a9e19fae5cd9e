"""The five systems of `thesis` in plain PyTorch; source: chapter 3, Tables 3.1 to 3.8."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, signed, update
from trainables.model import InpaintingModel


def direct(filters: int, kernel_px: int, hidden: int, last: nn.Module) -> nn.Sequential:
    """Tables 3.1 and 3.7."""
    layers: list[nn.Module] = []
    channels = 4
    for _ in range(hidden):
        layers += [nn.Conv2d(channels, filters, kernel_px, padding=kernel_px // 2), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Conv2d(channels, 3, kernel_px, padding=kernel_px // 2), last)


def encoder(base: int, kernel_px: int, first_stride: int) -> list[nn.Module]:
    """Tables 3.2 and 3.4."""
    layers: list[nn.Module] = []
    channels = 4
    for index in range(4):
        filters = base * 2**index
        layers += [nn.Conv2d(channels, filters, kernel_px, 2 if index else first_stride, kernel_px // 2), nn.ReLU()]
        layers += [nn.BatchNorm2d(filters)] if index < 3 else []
        channels = filters
    return layers


def decoder(widths: list[int], kernel_px: int) -> list[nn.Module]:
    """Tables 3.3 and 3.6."""
    layers: list[nn.Module] = []
    for index in range(1, len(widths)):
        layers += [nn.ConvTranspose2d(widths[index - 1], widths[index], kernel_px, 2, kernel_px // 2, output_padding=1), nn.ReLU()]
    return [*layers, nn.Conv2d(widths[-1], 3, kernel_px, padding=kernel_px // 2), nn.Sigmoid()]


class Whole(Reference):
    """One network, holed image and location map in, the image out; mean squared error of the whole image."""

    def train_with(self, network: nn.Module, rate: float) -> None:
        """Sets the network and Adam for it."""
        self.network = network
        self.networks = [network]
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        loss = functional.mse_loss(self.network(torch.cat([image * known, known], 1)), image)
        update(self.optimizer, loss)
        return {"loss": loss.item()}


class DirectCnn(Whole):
    """Table 3.1."""

    def __init__(self, model: InpaintingModel) -> None:
        config = model.config
        self.train_with(direct(config.filters, config.filter_px, 4, nn.Sigmoid()), config.learning_rate)


class ImageAutoencoder(Whole):
    """Tables 3.2 and 3.3."""

    def __init__(self, model: InpaintingModel) -> None:
        base, kernel_px = model.config.base_filters, model.config.filter_px
        layers = encoder(base, kernel_px, 1) + decoder([8 * base, 8 * base, 4 * base, 2 * base], kernel_px)
        self.train_with(nn.Sequential(*layers), model.config.learning_rate)


class PatchAutoencoder(Whole):
    """Section 3.2.1: the hole alone comes out."""

    def __init__(self, model: InpaintingModel) -> None:
        config, patch_px = model.config, model.mask.hole_px
        filters, seed_px = 8 * config.base_filters, patch_px // 4
        inner = [
            nn.Flatten(),
            *(nn.Linear(filters * (model.image_px // 8) ** 2, config.latent), nn.ReLU()),
            *(nn.Linear(config.latent, filters * seed_px**2), nn.ReLU()),
            nn.Unflatten(1, (filters, seed_px, seed_px)),
        ]
        layers = encoder(config.base_filters, config.filter_px, 1) + inner
        self.train_with(
            nn.Sequential(*layers, *decoder([filters, filters // 2, filters // 4], config.filter_px)), model.config.learning_rate
        )
        self.place = slice((model.image_px - patch_px) // 2, (model.image_px + patch_px) // 2)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        patch = self.network(torch.cat([image * known, known], 1))
        loss = functional.mse_loss(patch, image[:, :, self.place, self.place])
        update(self.optimizer, loss)
        return {"loss": loss.item()}


class CvaeLayers(nn.Module):
    """Tables 3.4 to 3.6."""

    def __init__(self, model: InpaintingModel) -> None:
        super().__init__()
        config, side_px = model.config, model.image_px // 16
        filters, channels = 8 * config.base_filters, (config.latent + model.image_px**2) // side_px**2
        self.encoder = nn.Sequential(*encoder(config.base_filters, config.filter_px, 2), nn.Flatten())
        self.mean = nn.Linear(filters * side_px**2, config.latent)
        self.log_variance = nn.Linear(filters * side_px**2, config.latent)
        widths = [channels, filters, filters // 2, filters // 4, filters // 8]
        self.decoder = nn.Sequential(nn.Unflatten(1, (channels, side_px, side_px)), *decoder(widths, config.filter_px))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 4, H, W) -> image, means and log variances."""
        features = self.encoder(seen)
        mean, log_variance = self.mean(features), self.log_variance(features)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(torch.cat([latent, seen[:, 3].flatten(1)], 1)), mean, log_variance


class Cvae(Whole):
    """Section 3.3: summed squared error and KL divergence."""

    def __init__(self, model: InpaintingModel) -> None:
        self.train_with(CvaeLayers(model), model.config.learning_rate)
        self.kl_weight = model.config.kl_weight

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        made, mean, log_variance = self.network(torch.cat([image * known, known], 1))
        error = ((made - image) ** 2).sum() / len(image)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(image)
        loss = error + self.kl_weight * divergence
        update(self.optimizer, loss)
        return {"loss": loss.item()}


class CompletionGan(Whole):
    """Section 3.4, Tables 3.7 and 3.8."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        self.train_with(direct(config.filters, config.filter_px, 6, nn.Tanh()), config.learning_rate)
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3), nn.ReLU()]
        side_px = model.image_px - 2
        for _ in range(4):
            layers += [nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU()]
            side_px = (side_px + 1) // 2
        layers += [nn.Flatten(), nn.Dropout(config.discriminator_dropout), nn.Linear(64 * side_px**2, 1)]
        self.discriminator = nn.Sequential(*layers)
        self.networks.append(self.discriminator)
        rate = config.discriminator_learning_rate
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=(0.5, 0.999))

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        alpha, cross_entropy = self.config.alpha, functional.binary_cross_entropy_with_logits
        truth, hole = signed(image), 1 - known
        made = self.network(torch.cat([truth * known, known], 1))
        true_scores, made_scores = self.discriminator(truth * hole), self.discriminator(made.detach() * hole)
        judged = cross_entropy(true_scores, torch.ones_like(true_scores)) + cross_entropy(made_scores, torch.zeros_like(made_scores))
        update(self.judge_optimizer, judged)
        scores = self.discriminator(made * hole)
        squared = (known * (made - truth) ** 2).sum() / (3 * known.sum())
        loss = alpha * cross_entropy(scores, torch.ones_like(scores)) + (1 - alpha) * squared
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": judged.item()}
