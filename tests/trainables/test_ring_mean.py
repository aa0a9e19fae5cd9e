import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import Mask
from trainables.ring_mean import ring_mean_fill


def random_images(count: int, px: int) -> Tensor:
    return torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(0))


def slow_ring_mean(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pixel by pixel: mean colour of the known pixels that touch a hole pixel, corners included. (3, H, W) and (H, W)."""
    height, width = known.shape
    ring = []
    for row in range(height):
        for column in range(width):
            around = known[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if known[row, column] and not around.all():
                ring.append(image[:, row, column])
    filled = image.copy()
    filled[:, known == 0] = np.mean(ring, axis=0)[:, None]
    return filled


@pytest.mark.parametrize("kind", ["centre", "random_square", "strokes"])
def test_equals_the_pixel_by_pixel_mean(kind: str) -> None:
    image = random_images(6, 14)
    known = Mask(kind, 5).sample(6, 14, np.random.default_rng(0))  # type: ignore[arg-type]
    filled = ring_mean_fill(image, known)
    for index in range(6):
        np.testing.assert_allclose(filled[index].numpy(), slow_ring_mean(image[index].numpy(), known[index, 0].numpy()), atol=1e-6)


def test_hand_worked_hole_of_one_pixel() -> None:
    """Red is 0, 1, ..., 8 tenths in reading order; the eight neighbours of the middle one have the mean 0.4."""
    image = torch.zeros(1, 3, 3, 3)
    image[0, 0] = torch.arange(9).reshape(3, 3) / 10
    image[0, 0, 1, 1] = 0.9
    known = torch.ones(1, 1, 3, 3)
    known[0, 0, 1, 1] = 0
    filled = ring_mean_fill(image, known)
    assert float(filled[0, 0, 1, 1]) == pytest.approx((36 - 4) / 8 / 10)
    assert filled[0, 1:].abs().max() == 0


def test_a_hole_at_the_edge_uses_the_pixels_that_are_there() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 0, 1], image[0, 0, 1, 0], image[0, 0, 1, 1] = 0.3, 0.6, 0.9
    known = torch.ones(1, 1, 4, 4)
    known[0, 0, 0, 0] = 0
    assert float(ring_mean_fill(image, known)[0, 0, 0, 0]) == pytest.approx(0.6)


def test_known_pixels_are_kept_and_the_hole_is_not_read() -> None:
    image = random_images(4, 12)
    known = Mask("random_square", 4).sample(4, 12, np.random.default_rng(1))
    filled = ring_mean_fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert torch.equal(ring_mean_fill(torch.where(visible, image, 1 - image), known), filled)


def test_an_image_without_known_pixels_is_grey() -> None:
    assert torch.equal(ring_mean_fill(random_images(1, 8), torch.zeros(1, 1, 8, 8)), torch.full((1, 3, 8, 8), 0.5))


def test_an_image_without_a_hole_is_unchanged() -> None:
    image = random_images(1, 8)
    assert torch.equal(ring_mean_fill(image, torch.ones(1, 1, 8, 8)), image)
