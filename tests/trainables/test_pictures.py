"""Picture grids: what stands in them, and what does not."""

import numpy as np
import pytest
import torch

from trainables.data import Mask
from trainables.lsgan import Lsgan, LsganConfig
from trainables.pictures import GAP_PX, LINE_PX, picture_grid, sample_grid
from trainables.ring_mean import ring_mean_fill

TILE = 128


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = LINE_PX + GAP_PX + row * (TILE + LINE_PX + GAP_PX), GAP_PX + column * (TILE + GAP_PX)
    return sheet[top : top + TILE, left : left + TILE]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)


def test_a_grid_shows_input_fill_and_truth(images: np.ndarray) -> None:
    sheet = np.asarray(picture_grid(images, Mask("centre", 8), {"mean": ring_mean_fill}))
    for row, truth in enumerate(images):
        shown = tile(sheet, row, 2)[::4, ::4]
        assert (shown == truth).all()
        filled = tile(sheet, row, 1)[::4, ::4]
        hole = np.zeros((32, 32), bool)
        hole[12:20, 12:20] = True
        assert (filled[~hole] == truth[~hole]).all()
        assert (tile(sheet, row, 0)[::4, ::4][hole] == 128).all()
        assert (filled[hole] != 128).any()


def test_fills_alone_hold_no_pixel_of_the_images(images: np.ndarray) -> None:
    whole = np.asarray(picture_grid(images, Mask("centre", 8), {"mean": ring_mean_fill}))
    sheet = np.asarray(picture_grid(images, Mask("centre", 8), {"mean": ring_mean_fill}, fills_only=True))
    assert sheet.shape[1] == 2 * GAP_PX + TILE  # neither input nor truth
    for row in range(2):
        shown = tile(sheet, row, 0)[::4, ::4]
        hole = np.zeros((32, 32), bool)
        hole[12:20, 12:20] = True
        assert (shown[~hole] == 128).all()
        assert (shown[hole] == tile(whole, row, 1)[::4, ::4][hole]).all()


def test_samples_stand_in_rows_of_eight() -> None:
    samples = torch.arange(10.0).div(10)[:, None, None, None].expand(10, 3, 64, 64)
    sheet = np.asarray(sample_grid(samples))
    assert sheet.shape == (GAP_PX + 2 * (TILE + GAP_PX), GAP_PX + 8 * (TILE + GAP_PX), 3)
    middles = [
        sheet[GAP_PX + 64 + row * (TILE + GAP_PX), GAP_PX + 64 + column * (TILE + GAP_PX), 0] for row in range(2) for column in range(8)
    ]
    assert middles == [round(value * 25.5) for value in range(10)] + [255] * 6


def test_a_generative_model_gives_the_same_samples_at_every_call() -> None:
    model = Lsgan(LsganConfig(latent=8, base_filters=8), 32, Mask("centre", 8))
    samples = model.samples(5)
    assert samples.shape == (5, 3, 32, 32)
    assert torch.equal(samples, model.samples(5))
    assert torch.allclose(samples[:3], model.samples(3), atol=1e-5)
    assert 0 <= float(samples.min()) < float(samples.max()) <= 1
