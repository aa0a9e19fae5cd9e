"""`cvae`: a conditional variational autoencoder whose condition is where the hole is.

Source: `thesis`, sections 2.2.1 and 3.3, Tables 3.4 to 3.6: an encoder of four stride-2 convolutions, dense layers to the means and log
variances of a Gaussian latent, z = mean + sigma * epsilon, the flattened location map joined to z, four transposed convolutions and a
convolution with a sigmoid.

    loss = sum over the image of the squared error + kl_weight * KL(N(mean, sigma^2) || N(0, 1))

Deviations: those of `trainables.reconstruction`, and
  - The document's formula (section 2.2.1) lacks the bracket that puts mean and variance under the sum, and adds up what is to be maximised;
    implemented is KL = -1/2 sum_j (1 + log sigma_j^2 - mean_j^2 - sigma_j^2), as in its reference [4].
  - The log likelihood of a Gaussian of variance 1 would halve the squared error; `kl_weight` = 2 has the same minimum.
  - What the encoder sees is not said. The decoder gets z and the map alone, so the image around the hole can only come through the encoder:
    it sees the holed image and the map, in training as in filling.
  - "Mean squared error or cross-entropy" are both named for the decoder; the squared error is used, summed over the image as the KL term is
    summed over the latent.
  - The reshape to 2x2x512 follows torch's order: z becomes the first 256 feature maps, the location map the last 256. In Keras' order z
    would fill the upper row of the 2x2 square and the map the lower one.
  - Filling uses z = mean, so that the same input gives the same fill.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.image_autoencoder import check_size, growing, image_encoder
from trainables.metrics import Metric
from trainables.precision import mixed
from trainables.reconstruction import ReconstructionConfig, Reconstructor, check_filter, convolution

SHRINKING = 16


@dataclass(frozen=True)
class CvaeConfig(ReconstructionConfig):
    """Knobs of `cvae`; the values are the document's (Tables 3.4 to 3.6).

    Attributes:
        latent: width of z; "the size 1024x1 had a high cost performance".
        kl_weight: of the KL term against the summed squared error; 1 in section 2.2.1's formula.
        base_filters: of the first convolution; the others have 2, 4 and 8 times as many.
        filter_px: side of every filter; odd.
    """

    latent: int = 1024
    kl_weight: float = 1.0
    base_filters: int = 32
    filter_px: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter("filter_px", self.filter_px)
        for name in ("latent", "base_filters"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")
        if not self.kl_weight >= 0:
            raise ConfigError(f"kl_weight must be at least 0, but got {self.kl_weight}; 0 leaves a plain autoencoder with noise")


class Reparameterise(nn.Module):
    """z = mean + sigma * epsilon in training, epsilon from torch's default generator; z = mean otherwise."""

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Two (B, latent) -> (B, latent)."""
        if not self.training:
            return mean
        return mean + (log_variance / 2).exp() * torch.randn_like(mean)


class JoinMap(nn.Module):
    """Flattens the location map and puts it behind z."""

    def forward(self, latent: Tensor, known: Tensor) -> Tensor:
        """(B, latent) and (B, 1, H, W) -> (B, latent + H * W)."""
        return torch.cat([latent, known.flatten(1)], dim=1)


class CvaeInner(nn.Module):
    """Table 3.5."""

    def __init__(self, features: int, latent: int, joined: tuple[int, int, int]) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.mean = nn.Linear(features, latent)
        self.log_variance = nn.Linear(features, latent)
        self.sample = Reparameterise()
        self.join = JoinMap()
        self.reshape = nn.Unflatten(1, joined)

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) and (B, 1, H, W) -> the decoder's input, means and log variances, both (B, latent) float32."""
        flat = self.flatten(features)
        mean, log_variance = self.mean(flat).float(), self.log_variance(flat).float()
        return self.reshape(self.join(self.sample(mean, log_variance), known)), mean, log_variance


class CvaeNetwork(nn.Module):
    """Tables 3.4, 3.5 and 3.6."""

    def __init__(self, config: CvaeConfig, image_px: int) -> None:
        super().__init__()
        coarse_px, filters = image_px // SHRINKING, 8 * config.base_filters
        channels = (config.latent + image_px**2) // coarse_px**2
        self.encoder = image_encoder(config.base_filters, config.filter_px, first_stride=2)
        self.inner = CvaeInner(filters * coarse_px**2, config.latent, (channels, coarse_px, coarse_px))
        widths = [channels, filters, filters // 2, filters // 4, filters // 8]
        self.decoder = nn.Sequential(*growing(widths, config.filter_px), convolution(widths[-1], 3, config.filter_px), nn.Sigmoid())

    def forward(self, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 4, H, W) float32 -> the image (B, 3, H, W) in [0, 1], means and log variances, both (B, latent)."""
        features = self.encoder(visible)  # (B, 8 * base_filters, H / 16, W / 16)
        joined, mean, log_variance = self.inner(features, visible[:, 3:])
        return self.decoder(joined), mean, log_variance


class Cvae(Reconstructor):
    """Trains `CvaeNetwork` on the squared error of the whole image and the KL term."""

    Config = CvaeConfig
    extra_metrics = {  # noqa: RUF012 - the base class declares it a ClassVar
        "error_sum": Metric("sum of squares", "min", "weighted squared error of the whole image, the reconstruction term of a cvae"),
        "kl": Metric("nat", "min", "KL divergence of the latent from a unit Gaussian, mean over images, before its weight"),
    }

    def __init__(self, config: CvaeConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: CvaeConfig = config
        check_size(image_px, SHRINKING)
        area = (image_px // SHRINKING) ** 2
        if config.latent % area:
            raise ConfigError(
                f"latent must be a multiple of {area} for images of {image_px} px, but got {config.latent}; z and the map become a square"
            )
        self.adopt(CvaeNetwork(config, image_px))

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output, mean, log_variance = self._run(image, known)
        error = self.weighted_error(output, image, known) * image[0].numel()
        divergence = kl_to_unit_gaussian(mean, log_variance).mean()
        return error + self.config.kl_weight * divergence, {"error_sum": error.detach(), "kl": divergence.detach()}

    def output(self, image: Tensor, known: Tensor) -> Tensor:
        return self._run(image, known)[0]

    def _run(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        visible = self.visible(image, known).contiguous(memory_format=torch.channels_last)
        with mixed(visible.device.type, self.config.precision):
            output, mean, log_variance = self.network(visible)
        return output.float(), mean, log_variance


def kl_to_unit_gaussian(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of each row: two (B, N) -> (B,)."""
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
