"""What the regressors of one pixel share: windows, their errors, and filling a hole from its border inwards.

Such a model predicts the middle pixel of a square window from the pixels around it, one colour at a time, with the same weights for all
three. It fills a hole ring by ring: a ring is every hole pixel that touches a known or filled one, corners included. All its pixels are
predicted at once from what was there before it, so that no order within a ring matters, and are known to the next ring.

A window on a ring is partly unknown, and so is one that reaches over the edge of the image. Each unknown neighbour takes the mean of the
known ones, weighted by the inverse fourth power of their distance to it. The model then gets a whole window, and a flat surrounding is
continued as the model continues a flat window. (Weights renormalised over the known neighbours will not do: those of least squares are
negative at the corners, and their sum along one side of a window is almost zero.)

Notation:
    B: images, H, W: height and width, S: window_px, odd, K: S * S - 1 neighbours, row by row without the middle.
    N: values predicted at once, of any pixels and colours.

Source: `animal_faces`, sections 7.1 and 7.2, for windows, colours and errors by colour.
Deviations: the document predicts single pixels alone; rings and the rule for unknown neighbours are this project's own. The errors' unit,
squared 8-bit levels, is inferred: the document gives none, and on [0, 1] its errors of 7.9 to 18.5 could not be.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.data import Mask, to_tensor
from trainables.errors import ConfigError
from trainables.metrics import Metric
from trainables.model import InpaintingModel

LEVELS = 255
PIXELS_TOGETHER = 2**16
TOUCHING_PX = 3
DISTANCE_POWER = 4
NOTHING_KNOWN = 0.5

COLOURS = ("red", "green", "blue")
MIDDLE_ERRORS: dict[str, Metric] = {
    f"middle_error_{colour}": Metric(
        "squared levels", "min", f"squared error of the middle pixel in 8-bit levels, {colour}, mean over all windows of a split"
    )
    for colour in COLOURS
} | {"middle_error": Metric("squared levels", "min", "mean of middle_error_red, middle_error_green and middle_error_blue")}

Estimate = Callable[[Tensor], Tensor]


class NeighbourModel(InpaintingModel):
    """Knows a pixel from the pixels around it; measures that on whole images, and fills holes with it.

    A subclass sets `window_px` and gives `estimate`.

    Attributes:
        window_px: S.
    """

    extra_metrics: ClassVar[Mapping[str, Metric]] = MIDDLE_ERRORS

    def __init__(self, config: Any, image_px: int, mask: Mask, window_px: int) -> None:
        super().__init__(config, image_px, mask)
        if image_px < window_px:
            raise ConfigError(f"the image must hold a window of {window_px} px, but has {image_px} px; use larger images")
        self.window_px = window_px

    @abstractmethod
    def estimate(self, neighbours: Tensor) -> Tensor:
        """Predicts middles; (K, N) float32 in [0, 1] -> (N,) float32, not clipped."""

    def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
        weight = next(self.networks["network"].parameters())
        return {"network": (torch.zeros(1, self.window_px**2 - 1, dtype=weight.dtype, device=weight.device),)}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return fill_ring_by_ring(image, known, self.window_px, self.estimate)

    @torch.no_grad()
    def measure_split(self, images: np.ndarray, device: torch.device) -> dict[str, float]:
        """`MIDDLE_ERRORS` of a split."""
        totals, count = torch.zeros(len(COLOURS), dtype=torch.float64, device=device), 0
        together = images_together(images.shape[1])
        for start in range(0, len(images), together):
            neighbours, middles = windows(to_tensor(images[start : start + together], device), self.window_px)
            errors = self.estimate(neighbours).reshape(middles.shape) - middles
            totals += (errors.double() ** 2).sum((0, 2, 3))
            count += middles[:, 0].numel()
        by_colour = (totals * LEVELS**2 / count).tolist()
        named = {f"middle_error_{colour}": error for colour, error in zip(COLOURS, by_colour, strict=True)}
        return named | {"middle_error": sum(by_colour) / len(COLOURS)}


def images_together(image_px: int) -> int:
    """How many images' windows are looked at together; bounds the memory."""
    return max(1, PIXELS_TOGETHER // image_px**2)


def offsets(window_px: int) -> Tensor:
    """Rows and columns of the neighbours, seen from the middle; (K, 2) int64."""
    reach = range(-(window_px // 2), window_px // 2 + 1)
    return torch.tensor([(row, column) for row in reach for column in reach if row or column])


def windows(image: Tensor, window_px: int) -> tuple[Tensor, Tensor]:
    """Every window that lies inside an image, one for each colour.

    Args:
        image: (B, 3, H, W).
        window_px: S.

    Returns:
        neighbours: (K, N), N = B * 3 * (H - S + 1) * (W - S + 1).
        middles: (B, 3, H - S + 1, W - S + 1), in the same order.
    """
    reach = window_px // 2
    height, width = image.shape[2] - 2 * reach, image.shape[3] - 2 * reach

    def moved(row: int, column: int) -> Tensor:
        return image[:, :, reach + row : reach + row + height, reach + column : reach + column + width]

    return torch.stack([moved(row, column).flatten() for row, column in offsets(window_px).tolist()]), moved(0, 0)


def fill_ring_by_ring(image: Tensor, known: Tensor, window_px: int, estimate: Estimate) -> Tensor:
    """Fills every hole from its border inwards.

    Args:
        image: (B, 3, H, W) float32 in [0, 1]; its pixels in the hole are not read.
        known: (B, 1, H, W) float32, 1 = known.
        window_px: S.
        estimate: (K, N) neighbours -> (N,) middles; K counts as in `offsets`.

    Returns:
        (B, 3, H, W) float32, equal to `image` where known, in [0, 1] elsewhere. An image without any known pixel is filled with 0.5.
    """
    reach = window_px // 2
    margin = (reach, reach, reach, reach)
    padded = functional.pad(image, margin).permute(0, 2, 3, 1)  # (B, H + S - 1, W + S - 1, 3)
    pixels = padded.reshape(-1, image.shape[1])
    is_known = functional.pad(known[:, 0], margin).flatten() > 0.5
    left = (functional.pad(known[:, 0], margin, value=1.0).flatten() < 0.5).nonzero()[:, 0]  # the hole's places among `pixels`
    row_step = torch.tensor([padded.shape[2], 1])
    around, touching = ((offsets(px) * row_step).sum(1, keepdim=True).to(image.device) for px in (window_px, TOUCHING_PX))
    nearness = _nearness(window_px).to(image)
    while len(left):
        on_ring = is_known[left + touching].any(0)
        ring = left[on_ring]
        if not len(ring):
            pixels[left] = NOTHING_KNOWN
            break
        whole = completed(pixels[ring + around], is_known[ring + around], nearness)
        pixels[ring] = estimate(whole.flatten(1)).reshape(-1, image.shape[1]).clamp(0, 1)
        is_known[ring] = True
        left = left[~on_ring]
    filled = pixels.reshape(padded.shape)[:, reach:-reach, reach:-reach]
    return filled.permute(0, 3, 1, 2)


def completed(neighbours: Tensor, is_known: Tensor, nearness: Tensor) -> Tensor:
    """Gives each unknown neighbour the weighted mean of the known ones of its window.

    Args:
        neighbours: (K, n, 3) float32; what is not known is not read.
        is_known: (K, n) bool, at least one in each window.
        nearness: (K, K) float32, row k the weights for neighbour k.

    Returns:
        (K, n, 3) float32, equal to `neighbours` where known.
    """
    visible = torch.where(is_known[..., None], neighbours, 0.0)
    total = nearness @ is_known.to(neighbours.dtype)  # (K, n)
    mean = (nearness @ visible.flatten(1)).reshape(visible.shape) / total[..., None]
    return torch.where(is_known[..., None], neighbours, mean)


def _nearness(window_px: int) -> Tensor:
    """Inverse fourth powers of the distances between neighbours, 0 to themselves; (K, K) float32."""
    places = offsets(window_px).float()
    distance = (places[:, None] - places[None]).norm(dim=2)
    return torch.where(distance > 0, distance, torch.inf) ** -DISTANCE_POWER
