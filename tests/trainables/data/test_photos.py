from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from trainables.data import SPLITS, Images, photos
from trainables.errors import ConfigError

COUNT = 21  # three crops of each photograph


def crops(px: int, count: int = COUNT) -> Images:
    return photos.read(px, count, count, count)


@pytest.mark.parametrize("px", [8, 32, 256])
def test_crops_have_the_size_and_number_asked_for(px: int) -> None:
    images = photos.read(px, 14, 7, 9)
    assert images.train.shape == (14, px, px, 3)
    assert images.validation.shape == (7, px, px, 3)
    assert images.test.shape == (9, px, px, 3)
    assert images.train.dtype == np.uint8


def test_the_same_arguments_give_the_same_crops() -> None:
    first, second = crops(32), crops(32)
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(first, split), getattr(second, split))


def test_more_crops_begin_with_the_fewer() -> None:
    np.testing.assert_array_equal(photos.read(32, 30, 7, 7).train[:14], photos.read(32, 14, 7, 7).train)


def test_crops_are_real_pictures_and_all_different() -> None:
    images = crops(32).train
    assert images.std(axis=(1, 2, 3)).min() > 1
    assert len({image.tobytes() for image in images}) == COUNT


def test_default_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "DEFAULT_COUNTS", {"train": 4, "validation": 3, "test": 2})
    images = photos.read(16, None, None, 1)
    assert [len(getattr(images, split)) for split in SPLITS] == [4, 3, 1]


@pytest.mark.parametrize(("width", "height"), [(512, 512), (640, 427), (300, 451), (741, 500), (7, 11)])
def test_strips_tile_the_photograph_without_touching(width: int, height: int) -> None:
    owners = np.zeros((height, width), int)
    for split in SPLITS:
        left, top, right, bottom = photos.strip(width, height, split)
        owners[top:bottom, left:right] += 1
    assert (owners == 1).all()


def test_strips_are_three_fifths_and_a_fifth_each_of_the_longer_side() -> None:
    assert photos.strip(500, 400, "train") == (0, 0, 300, 400)
    assert photos.strip(500, 400, "validation") == (300, 0, 400, 400)
    assert photos.strip(500, 400, "test") == (400, 0, 500, 400)
    assert photos.strip(400, 500, "test") == (0, 400, 400, 500)


def painted(owner: str, load: Callable[[str, str], Image.Image]) -> Callable[[str, str], Image.Image]:
    """The photographs in black, the strip of one split in magenta."""

    def loaded(package: str, name: str) -> Image.Image:
        width, height = load(package, name).size
        pixels = np.zeros((height, width, 3), np.uint8)
        left, top, right, bottom = photos.strip(width, height, owner)
        pixels[top:bottom, left:right] = (255, 0, 255)
        return Image.fromarray(pixels)

    return loaded


@pytest.mark.parametrize("px", [32, 256])
@pytest.mark.parametrize("owner", SPLITS)
def test_no_pixel_of_a_strip_reaches_another_split(owner: str, px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_load", painted(owner, photos._load))
    images = crops(px)
    for split in SPLITS:
        pixels = getattr(images, split).reshape(-1, 3)
        assert (pixels == ((255, 0, 255) if split == owner else (0, 0, 0))).all()


def test_a_size_above_the_photographs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most 256 px, but got data.image_px=257; use a folder"):
        crops(257)
