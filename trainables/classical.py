"""Fills without training: the ring's mean, Telea, Navier-Stokes, biharmonic.

They are the bars under every table, and they can be the first stage of a model that refines what they give. OpenCV's two work on 8 bits a
channel; scikit-image's biharmonic fill solves one linear system a hole, whose size is the hole's number of pixels.

Source: `thesis`, chapter 4 ("the traditional methods could fill in the contents based on the nearby context"). Telea 2004, "An Image
Inpainting Technique Based on the Fast Marching Method"; Bertalmio et al. 2001, "Navier-Stokes, Fluid Dynamics, and Image and Video
Inpainting"; Damelin and Hoang 2018, "On Surface Completion and Image Inpainting by Biharmonic Functions". The ring's mean is this
project's own baseline.
"""

from collections.abc import Callable
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from trainables.errors import ConfigError
from trainables.ring_mean import ring_mean_fill

RADIUS_PX = 3.0
UNKNOWN_COLOUR = 0.5

Method = Literal["ring_mean", "telea", "navier_stokes", "biharmonic"]
METHODS: tuple[str, ...] = get_args(Method)


def check_method(name: str, value: str, *also: str) -> None:
    """Raises ConfigError where the knob `name` holds neither a method nor one of `also`."""
    allowed = (*also, *METHODS)
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, but got {value!r}; name one of these")


def classical_fill(method: str, image: Tensor, known: Tensor) -> Tensor:
    """Fills every hole by a method that learns nothing.

    Args:
        method: one of `METHODS`.
        image: (B, 3, H, W) float32 in [0, 1]; its pixels in the hole are not read.
        known: (B, 1, H, W) float32, 1 = known.

    Returns:
        (B, 3, H, W) float32 in [0, 1] on the device of `image`, equal to it where known. An image without any known pixel is filled with
        0.5, one without a hole is given back.

    Raises:
        ConfigError: another method.
    """
    check_method("method", method)
    if method == "ring_mean":
        return ring_mean_fill(image, known)
    fill = _FILLS[method]
    pixels = image.detach().permute(0, 2, 3, 1).cpu().numpy()
    holes = known.detach()[:, 0].cpu().numpy() < 0.5
    filled = np.stack([_filled(fill, *pair) for pair in zip(pixels, holes, strict=True)])
    found = torch.from_numpy(filled).permute(0, 3, 1, 2).to(image)
    return torch.where(known > 0.5, image, found)


Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _filled(fill: Fill, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One image, (H, W, 3) float32, its hole (H, W) bool zeroed first, since OpenCV's Telea reads a hole near the image's edge."""
    if hole.all():
        return np.full_like(image, UNKNOWN_COLOUR)
    if not hole.any():
        return image
    return fill(np.where(hole[:, :, None], 0, image), hole)


def _opencv(flag: int) -> Fill:
    def fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        rounded = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
        filled: np.ndarray = cv2.inpaint(rounded, hole.astype(np.uint8), RADIUS_PX, flag)
        return filled.astype(np.float32) / 255

    return fill


def _biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    filled: np.ndarray = inpaint_biharmonic(image, hole, channel_axis=-1)
    return filled.clip(0, 1).astype(np.float32)


_FILLS: dict[str, Fill] = {
    "telea": _opencv(cv2.INPAINT_TELEA),
    "navier_stokes": _opencv(cv2.INPAINT_NS),
    "biharmonic": _biharmonic,
}
