"""Random variations of training images: shifts, hue, saturation, contrast, Gaussian blur, mirroring.

Every image of a batch gets its own strength, drawn from the generator that is passed in. All run on the batch's device.

Source: `beyond_cnns`, section Dataset ("small, random adjustments to hue, saturation, contrast", "random Gaussian blur"); the document
gives no strengths. Mirroring is the usual addition. Shifts: `maggiordomo`, section 4 ("random cropping and mirror padding"), no size given.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainables.errors import ConfigError

_LUMA = (0.299, 0.587, 0.114)
_BLUR_RADIUS_PX = 2


@dataclass(frozen=True)
class Augmentation:
    """Strengths; 0 switches a variation off.

    Attributes:
        hue: greatest rotation of the chroma plane, in turns (0.5 = half a turn either way).
        saturation: greatest relative change of the distance to grey.
        contrast: greatest relative change of the distance to the image's mean.
        blur_px: greatest standard deviation of the Gaussian blur, in pixels.
        mirror: flip left and right with probability one half.
        crop_px: greatest shift of the picture along either axis, in whole pixels; what comes in from outside is mirrored at the edge.
            The same as padding with a mirror and cropping at random.
    """

    hue: float = 0.0
    saturation: float = 0.0
    contrast: float = 0.0
    blur_px: float = 0.0
    mirror: bool = False
    crop_px: int = 0

    def __post_init__(self) -> None:
        for name, greatest in (("hue", 0.5), ("saturation", 1.0), ("contrast", 1.0), ("blur_px", 2.0)):
            value = getattr(self, name)
            if not 0 <= value <= greatest:
                raise ConfigError(f"augmentation {name} must lie in [0, {greatest}], but got {value}; choose a strength in that range")
        if self.crop_px < 0 or self.crop_px != int(self.crop_px):
            raise ConfigError(f"augmentation crop_px must be a whole number from 0, but got {self.crop_px}; 0 switches it off")

    def apply(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Varies a batch.

        Args:
            image: (B, 3, H, W) float32 in [0, 1]; left as it is.
            generator: a CPU generator.

        Returns:
            (B, 3, H, W) float32 in [0, 1].

        Raises:
            ConfigError: shifts as large as the images.
        """
        if self.crop_px >= min(image.shape[-2:]):
            raise ConfigError(
                f"augmentation crop_px must be less than the images' {min(image.shape[-2:])} px, but got {self.crop_px}; use smaller shifts"
            )
        if self.mirror:
            flip = torch.rand(len(image), generator=generator) < 0.5
            image = torch.where(flip.to(image.device)[:, None, None, None], image.flip(-1), image)
        if self.crop_px:
            image = _shift(image, torch.randint(-self.crop_px, self.crop_px + 1, (2, len(image)), generator=generator))
        if self.hue:
            image = _rotate_hue(image, self._draw(image, self.hue, generator) * 2 * math.pi)
        if self.saturation:
            image = _blend(_grey(image), image, 1 + self._draw(image, self.saturation, generator))
        if self.contrast:
            mean = _grey(image).mean((2, 3), keepdim=True)
            image = _blend(mean, image, 1 + self._draw(image, self.contrast, generator))
        if self.blur_px:
            image = _blur(image, self._draw(image, self.blur_px, generator).abs())
        return image.clamp(0, 1)

    @staticmethod
    def _draw(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """One uniform value in [-strength, strength] an image, (B, 1, 1, 1)."""
        draw = (torch.rand(len(image), generator=generator) * 2 - 1) * strength
        return draw.to(image.device)[:, None, None, None]


def _shift(image: Tensor, shift_px: Tensor) -> Tensor:
    """Moves each picture by its own number of rows and columns, (2, B) int64; mirrored at the edge, which is not repeated."""
    moved = []
    for side, shifts in zip(image.shape[-2:], shift_px, strict=True):
        place = (torch.arange(side) + shifts[:, None]).abs()  # (B, side)
        moved.append((side - 1 - (side - 1 - place).abs()).to(image.device))
    rows, columns = moved[0][:, None, :, None], moved[1][:, None, None, :]
    each = torch.arange(len(image), device=image.device)[:, None, None, None]
    channel = torch.arange(image.shape[1], device=image.device)[None, :, None, None]
    return image[each, channel, rows, columns]


def _grey(image: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=image.device)[None, :, None, None]
    return (image * weights).sum(1, keepdim=True)


def _blend(far: Tensor, near: Tensor, factor: Tensor) -> Tensor:
    return far + factor * (near - far)


def _rotate_hue(image: Tensor, angle: Tensor) -> Tensor:
    """Rotates each pixel's chroma (I and Q of YIQ) by an image's angle in radians, (B, 1, 1, 1); luma stays."""
    to_yiq = torch.tensor([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], device=image.device)
    yiq = torch.einsum("ij,bjhw->bihw", to_yiq, image)
    luma, in_phase, quadrature = yiq[:, :1], yiq[:, 1:2], yiq[:, 2:]
    turned = torch.cat(
        [
            luma,
            in_phase * angle.cos() - quadrature * angle.sin(),
            in_phase * angle.sin() + quadrature * angle.cos(),
        ],
        dim=1,
    )
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_yiq), turned)


def _blur(image: Tensor, sigma_px: Tensor) -> Tensor:
    """Separable Gaussian blur with one standard deviation an image, (B, 1, 1, 1); edges are replicated."""
    batch, channels, height, width = image.shape
    reach = torch.arange(-_BLUR_RADIUS_PX, _BLUR_RADIUS_PX + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-(reach[None] ** 2) / (2 * sigma_px.reshape(-1, 1).clamp(min=1e-3) ** 2))  # (B, 5)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)  # (B*3, 5)
    rows = image.reshape(1, batch * channels, height, width)
    padded = functional.pad(rows, (_BLUR_RADIUS_PX,) * 4, mode="replicate")
    across = functional.conv2d(padded, kernel[:, None, None, :], groups=batch * channels)
    down = functional.conv2d(across, kernel[:, None, :, None], groups=batch * channels)
    return down.reshape(batch, channels, height, width)
