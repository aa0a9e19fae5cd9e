"""The networks of `pluralistic`: one encoder, two Gaussians, one generator.

Source: Zheng, Cham and Cai 2019, "Pluralistic Image Completion", section 3 and the supplementary tables of layers; see
`trainables.pluralistic` for what deviates.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.reconstruction import INPUT_CHANNELS

WIDEST = 4  # filters of the deepest layers over the base
ATTENDED_HALVINGS = 2  # attention looks at maps of a quarter of the image's side
KEY_SHARE = 4  # channels of a map over those of its attention keys
LEAK = 0.1
LIMIT = 6.0


class Block(nn.Module):
    """A residual block that keeps, halves or doubles the side of a map."""

    def __init__(self, channels: int, filters: int, scale: float = 1.0) -> None:
        """Builds it.

        Args:
            channels: of what comes in.
            filters: of what goes out.
            scale: 1, 0.5 or 2, the output's side over the input's.
        """
        super().__init__()
        stride = 2 if scale < 1 else 1
        growing = nn.Upsample(scale_factor=2.0) if scale > 1 else nn.Identity()
        self.inner = nn.Sequential(
            *(nn.LeakyReLU(LEAK), nn.Conv2d(channels, filters, 3, stride, 1)),
            growing,
            *(nn.LeakyReLU(LEAK), nn.Conv2d(filters, filters, 3, 1, 1)),
        )
        shrinking = nn.AvgPool2d(2) if scale < 1 else nn.Identity()
        across = nn.Conv2d(channels, filters, 1) if channels != filters else nn.Identity()
        self.shortcut = nn.Sequential(shrinking, across, growing)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, filters, h * scale, w * scale)."""
        summed: Tensor = self.inner(features) + self.shortcut(features)
        return summed


class ShortLongAttention(nn.Module):
    """Where the generator looks: at its own features anywhere, and at the visible image's, for the hole.

    Both use one attention map, the softmax of the products of the generator's keys at all pairs of places. Both shares start at 0.
    """

    def __init__(self, decoded: int, encoded: int, attends: bool) -> None:
        """Builds it.

        Args:
            decoded: channels of the generator's map.
            encoded: channels of the encoder's map of the visible image.
            attends: False leaves the attention out, and with it the visible image's share in the hole.
        """
        super().__init__()
        self.attends = attends
        if attends:
            self.key = nn.Conv2d(decoded, max(decoded // KEY_SHARE, 1), 1)
            self.short_share = nn.Parameter(torch.zeros(()))
            self.long_share = nn.Parameter(torch.zeros(()))
        self.merge = Block(decoded + encoded, decoded)

    def forward(self, decoded: Tensor, encoded: Tensor, known: Tensor) -> Tensor:
        """Merges both maps.

        Args:
            decoded: (B, decoded, h, w), the generator's.
            encoded: (B, encoded, h, w), the encoder's of the visible image.
            known: (B, 1, H, W), 1 = known.

        Returns:
            (B, decoded, h, w).
        """
        height, width = decoded.shape[-2:]
        share = functional.adaptive_avg_pool2d(known, (height, width))
        short, long = decoded, share * encoded
        if self.attends:
            keys = self.key(decoded).flatten(2).float()  # (B, K, N)
            looks = (keys.transpose(1, 2) @ keys).softmax(-1)  # (B, N, N), rows are who looks
            short = short + self.short_share * _gathered(decoded, looks)
            long = long + self.long_share * (1 - share) * _gathered(encoded, looks)
        merged: Tensor = self.merge(torch.cat([short, long.to(short.dtype)], dim=1))
        return merged


def _gathered(features: Tensor, looks: Tensor) -> Tensor:
    """What each place sees of a map: (B, C, h, w) and (B, N, N) -> (B, C, h, w)."""
    return (features.flatten(2).float() @ looks.transpose(1, 2)).reshape(features.shape).to(features.dtype)


class Inference(nn.Module):
    """From coarse features to a Gaussian at each of their places."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Block(channels, channels), nn.LeakyReLU(LEAK), nn.Conv2d(channels, 2 * latent, 3, 1, 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> means and log variances, (B, latent, h, w) float32; log variances lie between -6 and 6."""
        mean, raw = self.layers(features).float().chunk(2, dim=1)
        return mean, LIMIT * torch.tanh(raw / LIMIT)


class Generator(nn.Module):
    """From a latent map and the visible image's features to an image."""

    def __init__(self, widths: list[int], latent: int, attention: bool) -> None:
        """Builds it.

        Args:
            widths: of the encoder's maps, the first one at full size, each next one half as large.
            latent: channels of the latent map.
            attention: see `ShortLongAttention`.
        """
        super().__init__()
        coarsest = len(widths) - 1
        self.enter = nn.Sequential(nn.Conv2d(latent, widths[-1], 1), Block(widths[-1], widths[-1]))
        self.before = _doublings(widths, coarsest, ATTENDED_HALVINGS)
        self.attention = ShortLongAttention(widths[ATTENDED_HALVINGS], widths[ATTENDED_HALVINGS], attention)
        self.after = _doublings(widths, ATTENDED_HALVINGS, 0)
        self.leave = nn.Sequential(nn.LeakyReLU(LEAK), nn.Conv2d(widths[0], 3, 3, 1, 1), nn.Tanh())

    def forward(self, latent: Tensor, features: list[Tensor], known: Tensor) -> Tensor:
        """Makes an image.

        Args:
            latent: (B, latent, h, w).
            features: the encoder's maps of the visible image, see `PluralisticNetwork.features`.
            known: (B, 1, H, W), 1 = known.

        Returns:
            (B, 3, H, W) in [-1, 1].
        """
        grown = self.before(self.enter(latent) + features[-1])
        image: Tensor = self.leave(self.after(self.attention(grown, features[ATTENDED_HALVINGS], known)))
        return image


def _doublings(widths: list[int], start: int, end: int) -> nn.Sequential:
    """Blocks that double a map's side from so many halvings to so many."""
    return nn.Sequential(*(Block(widths[level], widths[level - 1], 2.0) for level in range(start, end, -1)))


class PluralisticNetwork(nn.Module):
    """Encoder, both inferences and the generator."""

    def __init__(self, base_filters: int, latent: int, halvings: int, attention: bool) -> None:
        super().__init__()
        widths = [base_filters * min(2**level, WIDEST) for level in range(halvings + 1)]
        self.start = nn.Conv2d(INPUT_CHANNELS, widths[0], 3, 1, 1)
        self.encoder = nn.ModuleList(Block(widths[level], widths[level + 1], 0.5) for level in range(halvings))
        self.posterior = Inference(widths[-1], latent)
        self.prior = Inference(widths[-1], latent)
        self.generator = Generator(widths, latent, attention)

    def forward(self, visible: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Both paths; the noise comes from torch's default generator.

        Args:
            visible: (B, 4, H, W), the image with its hole at 0, in [-1, 1], and 1 where it is known.
            hidden: (B, 4, H, W), the hole's content with the rest at 0, and 1 in the hole.

        Returns:
            The reconstructed and the generated image, (B, 3, H, W) in [-1, 1]; mean and log variance of the hole's posterior and of its
            prior given the visible image, (B, latent, h, w) float32.
        """
        features, known = self.features(visible), visible[:, 3:]
        mean, log_variance = self.posterior(self.features(hidden)[-1])
        prior_mean, prior_log_variance = self.prior(features[-1])
        reconstructed = self.generator(drawn(mean, log_variance, torch.randn_like(mean)), features, known)
        generated = self.generator(drawn(prior_mean, prior_log_variance, torch.randn_like(mean)), features, known)
        return reconstructed, generated, (mean, log_variance), (prior_mean, prior_log_variance)

    def features(self, partial: Tensor) -> list[Tensor]:
        """The maps of a partial image, (B, 4, H, W) -> (B, C, H, W), (B, C, H / 2, W / 2), ..."""
        maps = [self.start(partial)]
        for block in self.encoder:
            maps.append(block(maps[-1]))
        return maps


def drawn(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mean + sigma * noise."""
    return mean + (log_variance / 2).exp() * noise
