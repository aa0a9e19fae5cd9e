"""`context_encoder` and `pconv_unet` in plain PyTorch; source: `maggiordomo`, sections 3.1 and 3.2, Pathak et al. 2016, Liu et al. 2018."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, signed, take_over_weights, update
from trainables.model import InpaintingModel
from trainables.vgg_features import VggFeatures


def shrinking(base: int, side_px: int) -> tuple[list[nn.Module], int]:
    """4x4 convolutions of stride 2 down to 4 to 7 px, and the side that is left."""
    sides = [side_px]
    while sides[-1] % 2 == 0 and sides[-1] // 2 >= 4:
        sides.append(sides[-1] // 2)
    layers: list[nn.Module] = []
    channels = 3
    for index in range(len(sides) - 1):
        filters = max(8 * base // 2 ** (len(sides) - 2 - index), base)
        layers.append(nn.Conv2d(channels, filters, 4, 2, 1, bias=index == 0))
        layers += ([nn.BatchNorm2d(filters)] if index else []) + [nn.LeakyReLU(0.2)]
        channels = filters
    return layers, sides[-1]


def context_generator(base: int, latent: int, image_px: int, patch_px: int) -> nn.Sequential:
    """Down to a vector, and up to the patch."""
    layers, left_px = shrinking(base, image_px)
    layers += [nn.Conv2d(8 * base, latent, left_px, bias=False), nn.BatchNorm2d(latent), nn.LeakyReLU(0.2)]
    mirrored, left_px = shrinking(base, patch_px)
    widths = [layer.out_channels for layer in mirrored if isinstance(layer, nn.Conv2d)][::-1]
    layers += [nn.ConvTranspose2d(latent, widths[0], left_px, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    for index in range(1, len(widths)):
        layers.append(nn.ConvTranspose2d(widths[index - 1], widths[index], 4, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(widths[index]), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh())


class ContextEncoder(Reference):
    """Weighted squared error of the patch and a game with a discriminator of patches."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        patch_px = model.mask.hole_px + 2 * config.overlap_px
        self.place = slice((model.image_px - patch_px) // 2, (model.image_px + patch_px) // 2)
        self.generator = context_generator(config.base_filters, config.latent, model.image_px, patch_px)
        layers, left_px = shrinking(config.discriminator_filters, patch_px)
        self.discriminator = nn.Sequential(*layers, nn.Conv2d(8 * config.discriminator_filters, 1, left_px), nn.Flatten(0))
        self.networks = [self.generator, self.discriminator]
        rates, betas = (config.learning_rate, config.discriminator_learning_rate), (0.5, 0.999)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=rates[0], betas=betas)
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=rates[1], betas=betas)
        self.weights = torch.full((1, 1, patch_px, patch_px), config.border_weight)
        inside = slice(config.border_px, patch_px - config.border_px)
        self.weights[:, :, inside, inside] = 1

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        share, cross_entropy = self.config.adversarial_weight, functional.binary_cross_entropy_with_logits
        patch, truth = self.generator(signed(image) * known), signed(image[:, :, self.place, self.place])
        true_scores, made_scores = self.discriminator(truth), self.discriminator(patch.detach())
        judged = cross_entropy(true_scores, torch.ones_like(true_scores)) + cross_entropy(made_scores, torch.zeros_like(made_scores))
        update(self.judge_optimizer, judged)
        scores = self.discriminator(patch)
        squared = (self.weights.to(image.device) * (patch - truth) ** 2).mean()
        loss = (1 - share) * squared + share * cross_entropy(scores, torch.ones_like(scores))
        update(self.optimizer, loss)
        return {"loss": loss.item(), "loss_discriminator": judged.item()}


class PartialConv(nn.Conv2d):
    """Equations 6 and 7, with a mask as deep as the features that a convolution of ones counts, as is usual."""

    def __init__(self, channels: int, filters: int, kernel_px: int, stride: int, bias: bool) -> None:
        super().__init__(channels, filters, kernel_px, stride, kernel_px // 2, bias=bias)
        self.register_buffer("ones", torch.ones(1, channels, kernel_px, kernel_px), persistent=False)

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Two (B, channels, H, W) -> (B, filters, H', W') and the new mask, (B, 1, H', W')."""
        with torch.no_grad():
            counted = functional.conv2d(known, self.ones, None, self.stride, self.padding)
            updated = (counted > 0).float()
            ratio = self.ones.numel() / counted.clamp(min=1) * updated
        output = functional.conv2d(features * known, self.weight, None, self.stride, self.padding) * ratio
        if self.bias is not None:
            output = (output + self.bias[None, :, None, None]) * updated
        return output, updated


class PconvLayers(nn.Module):
    """The U-Net of Figure 2."""

    def __init__(self, base: int, depth: int) -> None:
        super().__init__()
        widths = [3, *(base * min(2**level, 8) for level in range(depth))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            kernel_px = (7, 5, 5)[level] if level < 3 else 3
            layers: list[nn.Module] = [PartialConv(widths[level], widths[level + 1], kernel_px, 2, bias=level == 0)]
            layers += [nn.BatchNorm2d(widths[level + 1])] if level else []
            self.down.append(nn.ModuleList([*layers, nn.ReLU()]))
        for level in reversed(range(depth)):
            layers = [PartialConv(widths[level + 1] + widths[level], widths[level], 3, 1, bias=level == 0)]
            layers += [nn.BatchNorm2d(widths[level]), nn.LeakyReLU(0.2)] if level else []
            self.up.append(nn.ModuleList(layers))

    def forward(self, image: Tensor, known: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W) -> (B, 3, H, W) in [0, 1]."""
        features, known = image, known.expand_as(image)
        skips = []
        for convolution, *others in self.down:
            skips.append((features, known))
            features, known = convolution(features, known)
            for layer in others:
                features = layer(features)
            known = known.expand_as(features)
        for convolution, *others in self.up:
            skip, skip_known = skips.pop()
            features, known = (functional.interpolate(value, scale_factor=2) for value in (features, known))
            features, known = convolution(torch.cat([features, skip], 1), torch.cat([known, skip_known], 1))
            for layer in others:
                features = layer(features)
            known = known.expand_as(features)
        return torch.sigmoid(features)


class PconvUnet(Reference):
    """Equation 12."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        depth = config.depth or min((model.image_px & -model.image_px).bit_length() - 2, 8)
        self.network = PconvLayers(config.base_filters, depth)
        self.networks = [self.network]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        layers: list[nn.Module] = []
        channels = 3
        for stage in ((64, 64), (128, 128), (256, 256, 256)):
            for filters in stage:
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
                channels = filters
            layers.append(nn.MaxPool2d(2))
        self.vgg = nn.Sequential(*layers).requires_grad_(False)
        take_over_weights([self.vgg], [VggFeatures(config.perceptual_features)])
        self.mean = torch.tensor((0.485, 0.456, 0.406))[None, :, None, None]
        self.deviation = torch.tensor((0.229, 0.224, 0.225))[None, :, None, None]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.vgg.to(device)
        self.mean, self.deviation = self.mean.to(device), self.deviation.to(device)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        config, hole = self.config, 1 - known
        output = self.network(image * known, known)
        composited = known * image + hole * output
        absolute = (output - image).abs()
        truth = self.features(image)
        perceptual, style = torch.zeros(()), torch.zeros(())
        for made in (self.features(output), self.features(composited)):
            for one, other in zip(made, truth, strict=True):
                perceptual = perceptual + (one - other).abs().mean()
                style = style + (gram(one) - gram(other)).abs().mean()
        region = functional.max_pool2d(hole, 3, 1, 1)
        down = (composited[:, :, 1:] - composited[:, :, :-1]).abs() * region[:, :, 1:] * region[:, :, :-1]
        across = (composited[..., 1:] - composited[..., :-1]).abs() * region[..., 1:] * region[..., :-1]
        loss = config.valid_weight * (absolute * known).mean() + config.hole_weight * (absolute * hole).mean()
        loss = loss + config.perceptual_weight * perceptual + config.style_weight * style
        loss = loss + config.total_variation_weight * (down.sum() + across.sum()) / image.numel()
        update(self.optimizer, loss)
        return {"loss": loss.item()}

    def features(self, image: Tensor) -> list[Tensor]:
        """VGG-16's after each of three pooling layers."""
        value, found = (image - self.mean) / self.deviation, []
        for layer in self.vgg:
            value = layer(value)
            if isinstance(layer, nn.MaxPool2d):
                found.append(value)
        return found


def gram(features: Tensor) -> Tensor:
    """Products of every two channels over C H W."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()
