"""`progressive` and `pluralistic` in plain PyTorch; source: `lsgan`, section 1.2, Chen and Hu 2018, Zheng et al. 2019."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, signed, update
from trainables.model import InpaintingModel


def patch_discriminator(base: int) -> nn.Sequential:
    """Three 4x4 convolutions of stride 2 and one that leaves a score for each patch."""
    layers: list[nn.Module] = []
    channels = 3
    for filters in (base, 2 * base, 4 * base):
        layers += [nn.Conv2d(channels, filters, 4, 2, 1), nn.LeakyReLU(0.2)]
        channels = filters
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, 1, 1))


class UNet(nn.Module):
    """Convolutions down, two dilated ones, and up again beside what came down."""

    def __init__(self, base: int, depth: int) -> None:
        super().__init__()

        def convolution(channels: int, filters: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, dilation, dilation), nn.LeakyReLU(0.2))

        widths = [base * 2**level for level in range(depth + 1)]
        self.first = convolution(4, base)
        self.down = nn.ModuleList(convolution(widths[level], widths[level + 1], 2) for level in range(depth))
        self.dilated = nn.Sequential(*(convolution(widths[-1], widths[-1], dilation=dilation) for dilation in (2, 4)))
        self.up = nn.ModuleList(convolution(widths[level] * 3, widths[level]) for level in reversed(range(depth)))
        self.last = nn.Sequential(nn.Conv2d(base, 3, 3, 1, 1), nn.Tanh())

    def forward(self, seen: Tensor) -> Tensor:
        """(B, 4, H, W) -> (B, 3, H, W) in [-1, 1]."""
        maps = [self.first(seen)]
        for down in self.down:
            maps.append(down(maps[-1]))
        value = self.dilated(maps.pop())
        for up in self.up:
            value = up(torch.cat([functional.interpolate(value, scale_factor=2), maps.pop()], 1))
        return self.last(value)


class Progressive(Reference):
    """A coarse network, a refining one, and a discriminator of the completed image."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        self.coarse = UNet(config.coarse_filters, config.depth)
        self.refinement = UNet(config.refinement_filters, config.depth)
        self.discriminator = patch_discriminator(config.discriminator_filters)
        self.networks = [self.coarse, self.refinement, self.discriminator]
        weights, betas = [*self.coarse.parameters(), *self.refinement.parameters()], (config.momentum, 0.999)
        self.optimizer = torch.optim.Adam(weights, lr=config.learning_rate, betas=betas)
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=config.discriminator_learning_rate, betas=betas)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        config, truth, hole = self.config, signed(image), 1 - known
        coarse = self.coarse(torch.cat([truth * known, known], 1))
        refined = self.refinement(torch.cat([truth * known + coarse * hole, known], 1))
        completed = truth * known + refined * hole
        share = functional.adaptive_avg_pool2d(hole, (image.shape[2] // 8, image.shape[3] // 8))
        share = share / share.sum((1, 2, 3), keepdim=True) / len(image)
        judged = share * ((self.discriminator(truth) - 1) ** 2 + self.discriminator(completed.detach()) ** 2)
        judged = judged.sum() / 2
        update(self.judge_optimizer, judged)
        adversarial = (share * (self.discriminator(completed) - 1) ** 2).sum()
        loss = config.coarse_weight * (coarse - truth).abs().mean() + config.refined_weight * (refined - truth).abs().mean()
        loss = loss + config.adversarial_weight * adversarial
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": judged.item()}


class Block(nn.Module):
    """A residual block that keeps, halves or doubles the side."""

    def __init__(self, channels: int, filters: int, scale: float = 1) -> None:
        super().__init__()
        self.scale = scale
        self.one = nn.Conv2d(channels, filters, 3, 2 if scale < 1 else 1, 1)
        self.two = nn.Conv2d(filters, filters, 3, 1, 1)
        self.across = nn.Conv2d(channels, filters, 1) if channels != filters else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, filters, h * scale, w * scale)."""
        value = self.one(functional.leaky_relu(features, 0.1))
        shortcut = self.across(functional.avg_pool2d(features, 2) if self.scale < 1 else features)
        if self.scale > 1:
            value, shortcut = (functional.interpolate(each, scale_factor=2) for each in (value, shortcut))
        return self.two(functional.leaky_relu(value, 0.1)) + shortcut


class Gaussian(nn.Module):
    """Means and log variances from the coarsest features."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(channels, channels), nn.LeakyReLU(0.1), nn.Conv2d(channels, 2 * latent, 3, 1, 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> two (B, latent, h, w)."""
        mean, raw = self.layers(features).chunk(2, 1)
        return mean, 6 * torch.tanh(raw / 6)


class Painter(nn.Module):
    """From a latent map and the visible image's features to an image, with short and long-term attention at a quarter of the side."""

    def __init__(self, widths: list[int], latent: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(latent, widths[-1], 1), Block(widths[-1], widths[-1]))
        deep, width = len(widths) - 1, widths[2]
        self.before = nn.Sequential(*(Block(widths[level], widths[level - 1], 2) for level in range(deep, 2, -1)))
        self.attention = _Attention(width)
        self.after = nn.Sequential(*(Block(widths[level], widths[level - 1], 2) for level in (2, 1)))
        self.leave = nn.Sequential(nn.LeakyReLU(0.1), nn.Conv2d(widths[0], 3, 3, 1, 1), nn.Tanh())

    def forward(self, latent: Tensor, maps: list[Tensor], known: Tensor) -> Tensor:
        """(B, latent, h, w) -> (B, 3, H, W) in [-1, 1]."""
        value = self.before(self.enter(latent) + maps[-1])
        return self.leave(self.after(self.attention(value, maps[2], known)))


class _Attention(nn.Module):
    """One map of attention for what is painted and for what is visible."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.short_share, self.long_share = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.key = nn.Conv2d(width, width // 4, 1)
        self.merge = Block(2 * width, width)

    def forward(self, painted: Tensor, visible: Tensor, known: Tensor) -> Tensor:
        """Two (B, C, h, w) -> the same."""
        share = functional.adaptive_avg_pool2d(known, painted.shape[2:])
        keys = self.key(painted).flatten(2)
        looks = torch.softmax(keys.transpose(1, 2) @ keys, -1)
        short, long = ((each.flatten(2) @ looks.transpose(1, 2)).reshape(each.shape) for each in (painted, visible))
        seen = share * visible + self.long_share * (1 - share) * long
        return self.merge(torch.cat([painted + self.short_share * short, seen], 1))


class Completion(nn.Module):
    """Encoder, posterior, prior and painter."""

    def __init__(self, base: int, latent: int, image_px: int) -> None:
        super().__init__()
        halvings = 0
        while image_px % 2 == 0 and image_px >= 8:
            halvings, image_px = halvings + 1, image_px // 2
        widths = [base * min(2**level, 4) for level in range(halvings + 1)]
        self.start = nn.Conv2d(4, widths[0], 3, 1, 1)
        self.encoder = nn.ModuleList(Block(widths[level], widths[level + 1], 0.5) for level in range(halvings))
        self.posterior, self.prior = Gaussian(widths[-1], latent), Gaussian(widths[-1], latent)
        self.painter = Painter(widths, latent)

    def maps(self, seen: Tensor) -> list[Tensor]:
        """The encoder's features at each size."""
        found = [self.start(seen)]
        for block in self.encoder:
            found.append(block(found[-1]))
        return found


class Pluralistic(Reference):
    """Both paths, both discriminators."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        self.network = Completion(config.base_filters, config.latent, model.image_px)
        self.judges = [patch_discriminator(config.discriminator_filters) for _ in range(2)]
        self.networks = [self.network, *self.judges]
        betas = (config.momentum, 0.999)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=betas)
        rate = config.discriminator_learning_rate
        self.judge_optimizers = [torch.optim.Adam(judge.parameters(), lr=rate, betas=betas) for judge in self.judges]

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        config, truth, hole = self.config, signed(image), 1 - known
        maps = self.network.maps(torch.cat([truth * known, known], 1))
        mean, log_variance = self.network.posterior(self.network.maps(torch.cat([truth * hole, hole], 1))[-1])
        prior_mean, prior_log_variance = self.network.prior(maps[-1])
        reconstructed = self.network.painter(mean + torch.exp(0.5 * log_variance) * noise(mean), maps, known)
        generated = self.network.painter(prior_mean + torch.exp(0.5 * prior_log_variance) * noise(mean), maps, known)
        fixed = 2 * torch.log(torch.sigmoid(8 * (0.8 - known.mean((1, 2, 3), keepdim=True))))
        kl = divergence(mean, log_variance, torch.zeros_like(mean), fixed)
        kl = kl + divergence(mean.detach(), log_variance.detach(), prior_mean, prior_log_variance)
        judged = []
        for judge, optimizer, made in zip(self.judges, self.judge_optimizers, (generated, reconstructed), strict=True):
            judged.append(0.5 * ((judge(truth) - 1) ** 2).mean() + 0.5 * (judge(made.detach()) ** 2).mean())
            update(optimizer, judged[-1])
        adversarial = ((self.judges[0](generated) - 1) ** 2).mean()
        adversarial = adversarial + ((self.judges[1](reconstructed) - self.judges[1](truth).detach()) ** 2).mean()
        error = (reconstructed - truth).abs().mean() + ((generated - truth) * known).abs().mean()
        loss = config.kl_weight * kl + config.reconstruction_weight * error + config.adversarial_weight * adversarial
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": sum(each.item() for each in judged) / 2}


def noise(like: Tensor) -> Tensor:
    """Unit Gaussian noise, drawn in the order of channels-last memory, as the model draws it."""
    return torch.empty(like.shape, device=like.device, memory_format=torch.channels_last).normal_().contiguous()


def divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL of two Gaussians, mean over the latent values."""
    apart = log_variance - other_log_variance
    return 0.5 * (apart.exp() + (mean - other_mean) ** 2 / other_log_variance.exp() - 1 - apart).mean()
