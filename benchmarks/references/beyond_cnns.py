"""`cnn_autoencoder`, `dcgan` and `wgan` in plain PyTorch; source: `beyond_cnns`, sections Autoencoders to Reducing Continuity Errors."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, signed, update
from trainables.model import InpaintingModel


def autoencoder(base: int, bottleneck: int, dropout: float, image_px: int, patch_px: int) -> nn.Sequential:
    """[Conv - Conv / 2] x 3, two fully connected layers, transposed convolutions from 4x4 to the patch."""

    def finish(layer: nn.Module, norm: nn.Module) -> list[nn.Module]:
        return [layer, norm, nn.ReLU(), nn.Dropout(dropout)]

    layers: list[nn.Module] = []
    channels = 3
    for filters in (base, 2 * base, 4 * base):
        layers += finish(nn.Conv2d(channels, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters))
        layers += finish(nn.Conv2d(filters, filters, 3, 2, 1, bias=False), nn.BatchNorm2d(filters))
        channels = filters
    features, seed = channels * (image_px // 8) ** 2, channels * 16
    layers += [nn.Flatten(), *finish(nn.Linear(features, bottleneck, bias=False), nn.BatchNorm1d(bottleneck))]
    layers += [*finish(nn.Linear(bottleneck, seed, bias=False), nn.BatchNorm1d(seed)), nn.Unflatten(1, (channels, 4, 4))]
    side_px = 4
    while side_px < patch_px:
        filters = max(channels // 2, base)
        layers += finish(nn.ConvTranspose2d(channels, filters, 4, 2, 1, bias=False), nn.BatchNorm2d(filters))
        channels, side_px = filters, 2 * side_px
    return nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))


def six_convolutions(base: int, side_px: int, affine: bool) -> nn.Sequential:
    """Six convolutions of stride 2 and one that leaves a score."""
    layers: list[nn.Module] = []
    channels = 3
    for index in range(6):
        filters, kernel_px = base * min(2**index, 8), 3 if side_px > 1 else 1
        layers.append(nn.Conv2d(channels, filters, kernel_px, 2, kernel_px // 2, bias=index == 0))
        layers += [nn.BatchNorm2d(filters, affine=affine)] if index else []
        layers.append(nn.LeakyReLU(0.2))
        channels, side_px = filters, (side_px + 1) // 2
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, side_px), nn.Flatten(0))


class CnnAutoencoder(Reference):
    """Squared error of the hole, or of a wider patch whose outer ring weighs more."""

    def __init__(self, model: InpaintingModel) -> None:
        config, self.hole_px = model.config, model.mask.hole_px
        self.ring_px = config.overlap_px
        self.patch_px = self.hole_px + 2 * self.ring_px
        self.start_px = (model.image_px - self.patch_px) // 2
        self.weights = torch.full((1, 1, self.patch_px, self.patch_px), float(config.overlap_weight))
        self.inner(self.weights)[:] = 1
        self.weights = self.weights / self.weights.mean()
        self.network = autoencoder(config.base_filters, config.bottleneck, config.dropout, model.image_px, self.patch_px)
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        loss = self.error(self.network(image * known), image)
        update(self.optimizer, loss)
        return {"loss": loss.item()}

    def error(self, patch: Tensor, image: Tensor) -> Tensor:
        """Weighted mean squared error of patches."""
        return (self.weights.to(image.device) * (patch - self.square(image)) ** 2).mean()

    def square(self, image: Tensor) -> Tensor:
        """The patch's place in an image."""
        end = self.start_px + self.patch_px
        return image[:, :, self.start_px : end, self.start_px : end]

    def inner(self, patch: Tensor) -> Tensor:
        """The hole's place in a patch."""
        end = self.ring_px + self.hole_px
        return patch[:, :, self.ring_px : end, self.ring_px : end]


class Dcgan(CnnAutoencoder):
    """A discriminator looks at the hole; labels are soft, noisy and sometimes exchanged."""

    def __init__(self, model: InpaintingModel) -> None:
        super().__init__(model)
        self.config = config = model.config
        self.discriminator = six_convolutions(config.discriminator_filters, self.hole_px, affine=True)
        self.networks.append(self.discriminator)
        rate = config.discriminator_learning_rate
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=rate, betas=(0.5, 0.999))

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        config, patch = self.config, self.network(image * known)
        real, fake = self.inner(self.square(image)), self.inner(patch)
        cross_entropy = functional.binary_cross_entropy_with_logits
        true_scores, made_scores = self.discriminator(signed(real)), self.discriminator(signed(fake.detach()))
        judged = cross_entropy(true_scores, self.labels(true_scores, real=True))
        judged = judged + cross_entropy(made_scores, self.labels(made_scores, real=False))
        update(self.judge_optimizer, judged)
        scores = self.discriminator(signed(fake))
        adversarial = cross_entropy(scores, torch.ones_like(scores))
        loss = config.alpha * self.error(patch, image) + (1 - config.alpha) * adversarial
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": judged.item()}

    def labels(self, scores: Tensor, real: bool) -> Tensor:
        """Labels of true or of filled images."""
        config = self.config
        ones = torch.empty_like(scores).uniform_(config.real_label_low, config.real_label_high)
        zeros = torch.empty_like(scores).uniform_(config.fake_label_low, config.fake_label_high)
        exchanged = torch.rand_like(scores) < config.label_flip
        return torch.where(exchanged ^ real, ones, zeros)


class Wgan(CnnAutoencoder):
    """A critic of the whole image with clipped weights, ten steps for each of the generator."""

    def __init__(self, model: InpaintingModel) -> None:
        super().__init__(model)
        self.config = config = model.config
        self.critic = six_convolutions(config.discriminator_filters, model.image_px, affine=False)
        self.networks.append(self.critic)
        self.judge_optimizer = torch.optim.RMSprop(self.critic.parameters(), lr=config.discriminator_learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        config, patch = self.config, self.network(image * known)
        start, end = self.start_px + self.ring_px, self.start_px + self.ring_px + self.hole_px
        filled = image.clone()
        filled[:, :, start:end, start:end] = self.inner(patch)
        for _ in range(config.discriminator_steps):
            judged = self.critic(signed(filled.detach())).mean() - self.critic(signed(image)).mean()
            update(self.judge_optimizer, judged)
            for weight in self.critic.parameters():
                weight.data.clamp_(-config.clip_bound, config.clip_bound)
        loss = config.alpha * self.error(patch, image) - (1 - config.alpha) * self.critic(signed(filled)).mean()
        update(self.optimizer, loss)
        return {"loss": loss.item()}  # the critic's own is a difference of two numbers that are nearly the same
