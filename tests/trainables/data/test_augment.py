from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from trainables.data import Augmentation
from trainables.errors import ConfigError

LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601
EVERYTHING = Augmentation(hue=0.5, saturation=1.0, contrast=1.0, blur_px=2.0, mirror=True, crop_px=3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, low: float = 0.0, high: float = 1.0, px: int = 12) -> Tensor:
    return low + (high - low) * torch.rand(count, 3, px, px, generator=seeded(99))


def luma(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, H, W)."""
    return torch.einsum("c,bchw->bhw", LUMA, image)


def test_nothing_is_changed_by_default() -> None:
    image = random_images(4)
    assert torch.equal(Augmentation().apply(image, seeded()), image)


def test_mirror_flips_about_half_and_changes_nothing_else() -> None:
    image = random_images(400, px=8)
    varied = Augmentation(mirror=True).apply(image, seeded())
    flipped = (varied == image.flip(-1)).flatten(1).all(1)
    kept = (varied == image).flatten(1).all(1)
    assert bool((flipped ^ kept).all())
    assert 160 <= int(flipped.sum()) <= 240  # four standard deviations of 400 fair draws


def test_each_crop_is_a_window_of_the_mirror_padded_image() -> None:
    image = random_images(60, px=8)
    before = image.clone()
    varied = Augmentation(crop_px=2).apply(image, seeded())
    assert torch.equal(image, before)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    found = []
    for index in range(60):
        windows = [(row, column) for row in range(5) for column in range(5)]
        found += [
            (row, column)
            for row, column in windows
            if np.array_equal(padded[index, :, row : row + 8, column : column + 8], varied[index].numpy())
        ]
    assert len(found) == 60  # one window an image
    assert {row for row, _ in found} == {column for _, column in found} == {0, 1, 2, 3, 4}  # up to 2 px either way along both axes


def test_the_greatest_crop_reaches_the_far_edge_of_an_oblong_image() -> None:
    image = torch.rand(200, 1, 3, 5, generator=seeded(1)).expand(-1, 3, -1, -1)
    varied = Augmentation(crop_px=2).apply(image, seeded())
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    corner = [np.array_equal(padded[index, :, 4:, 4:], varied[index].numpy()) for index in range(200)]
    assert 1 <= sum(corner) <= 24  # 8 expected of 25 windows, within more than four standard deviations


@pytest.mark.parametrize("crop_px", [-1, 0.5])
def test_a_crop_that_is_no_number_of_pixels_is_refused(crop_px: float) -> None:
    with pytest.raises(ConfigError, match=f"augmentation crop_px must be a whole number from 0, but got {crop_px}"):
        Augmentation(crop_px=crop_px)  # type: ignore[arg-type]


def test_a_crop_as_large_as_the_image_is_refused() -> None:
    Augmentation(crop_px=7).apply(random_images(1, px=8), seeded())
    with pytest.raises(ConfigError, match="crop_px must be less than the images' 8 px, but got 8"):
        Augmentation(crop_px=8).apply(random_images(1, px=8), seeded())


def test_hue_rotation_keeps_luma_and_turns_colours() -> None:
    image = random_images(16, 0.4, 0.6)  # far enough from 0 and 1 that no rotation is clipped
    varied = Augmentation(hue=0.5).apply(image, seeded())
    torch.testing.assert_close(luma(varied), luma(image), atol=2e-4, rtol=0)
    assert float((varied - image).abs().max()) > 0.05


def test_hue_rotation_leaves_grey_alone() -> None:
    grey = random_images(8)[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(Augmentation(hue=0.5).apply(grey, seeded()), grey, atol=2e-4, rtol=0)


def test_hue_rotation_is_bounded_by_its_strength() -> None:
    image = random_images(64, 0.4, 0.6)
    small = Augmentation(hue=0.01).apply(image, seeded())
    assert 0 < float((small - image).abs().max()) < 0.03  # 3.6 degrees of a chroma below 0.2


def test_saturation_keeps_luma_and_moves_along_the_line_to_grey() -> None:
    image = random_images(16, 0.4, 0.6)
    varied = Augmentation(saturation=1.0).apply(image, seeded())
    torch.testing.assert_close(luma(varied), luma(image), atol=1e-5, rtol=0)
    before, after = image - luma(image)[:, None], varied - luma(varied)[:, None]
    factors = (before * after).sum((1, 2, 3)) / (before**2).sum((1, 2, 3))
    torch.testing.assert_close(after, factors[:, None, None, None] * before, atol=1e-5, rtol=0)
    assert float(factors.min()) >= 0
    assert float(factors.max()) <= 2
    assert len(set(factors.tolist())) == 16  # each image its own


def test_contrast_keeps_the_mean_and_scales_the_distance_to_it() -> None:
    image = random_images(16, 0.4, 0.6)
    varied = Augmentation(contrast=0.5).apply(image, seeded())
    torch.testing.assert_close(luma(varied).mean((1, 2)), luma(image).mean((1, 2)), atol=1e-5, rtol=0)
    mean = luma(image).mean((1, 2))[:, None, None, None]
    factors = (varied - mean) / (image - mean)
    far = (image - mean).abs() > 0.02
    for index in range(16):
        one = factors[index][far[index]]
        assert float(one.max() - one.min()) < 1e-3
        assert 0.5 <= float(one.mean()) <= 1.5


def test_blur_equals_scipys_truncated_gaussian() -> None:
    """The standard deviation of each image is read off an impulse, then the same draws blur random images."""
    count = 6
    impulse = torch.zeros(count, 3, 9, 9)
    impulse[:, :, 4, 4] = 1
    image = random_images(count)
    augmentation = Augmentation(blur_px=2.0)
    spots = augmentation.apply(impulse, seeded(5))
    blurred = augmentation.apply(image, seeded(5))
    for index in range(count):
        fall = float(spots[index, 0, 4, 5] / spots[index, 0, 4, 4])  # exp(-1 / (2 sigma^2))
        sigma = (-1 / (2 * np.log(fall))) ** 0.5
        assert 0 < sigma <= 2
        expected = image[index].double().numpy()
        for axis in (1, 2):
            expected = gaussian_filter1d(expected, sigma, axis=axis, mode="nearest", radius=2)
        np.testing.assert_allclose(blurred[index].numpy(), expected, atol=1e-5)


def test_blur_leaves_flat_images_alone() -> None:
    flat = torch.full((4, 3, 8, 8), 0.3)
    torch.testing.assert_close(Augmentation(blur_px=2.0).apply(flat, seeded()), flat)


def test_everything_at_full_strength_stays_in_bounds_and_leaves_its_input() -> None:
    image = random_images(64)
    before = image.clone()
    varied = EVERYTHING.apply(image, seeded())
    assert torch.equal(image, before)
    assert varied.shape == image.shape
    assert varied.dtype == torch.float32
    assert float(varied.min()) >= 0
    assert float(varied.max()) <= 1


def test_randomness_comes_from_the_generator_alone() -> None:
    image = random_images(8)
    state = torch.get_rng_state()
    first = EVERYTHING.apply(image, seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, EVERYTHING.apply(image, seeded(1)))
    assert not torch.equal(first, EVERYTHING.apply(image, seeded(2)))


@pytest.mark.parametrize(("name", "greatest"), [("hue", 0.5), ("saturation", 1.0), ("contrast", 1.0), ("blur_px", 2.0)])
def test_a_strength_out_of_range_is_refused(name: str, greatest: float) -> None:
    replace(Augmentation(), **{name: greatest})  # type: ignore[arg-type]
    for value in (-0.1, greatest + 0.1, float("nan")):
        with pytest.raises(ConfigError, match=rf"augmentation {name} must lie in \[0, {greatest}\], but got {value}"):
            replace(Augmentation(), **{name: value})  # type: ignore[arg-type]
