"""`photos`: crops of the colour photographs that ship inside the scikit-image and scikit-learn packages. No network.

Seven photographs (a person, a cat, a cup, a motorcycle, a rocket, a temple, a flower). Along its longer side each is cut into three
strips of 60, 20 and 20 %: training, validation and test crops come from their own strip alone, so no test pixel is ever trained on.
Crops are random squares of at least the asked-for side where the strip allows, resized to it.
"""

from importlib.resources import files

import numpy as np
from PIL import Image

from trainables.data.splits import SPLITS, Images
from trainables.errors import ConfigError

PHOTOGRAPHS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)
GREATEST_PX = 256
DEFAULT_COUNTS = {"train": 4000, "validation": 500, "test": 500}
STRIPS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
WIDEST_SCALE = 6.0


def read(image_px: int, train: int | None, validation: int | None, test: int | None) -> Images:
    """Cuts the crops; the same arguments give the same arrays.

    Args:
        image_px: side of the crops, at most 256.
        train: number of training crops; None = 4,000.
        validation: number of validation crops; None = 500.
        test: number of test crops; None = 500.

    Returns:
        The three splits.

    Raises:
        ConfigError: image_px above 256: the photographs have no more to show.
    """
    if image_px > GREATEST_PX:
        raise ConfigError(
            f"photos gives crops of at most {GREATEST_PX} px, but got data.image_px={image_px}; use a folder of larger images"
        )
    counts = {"train": train, "validation": validation, "test": test}
    photographs = [_load(package, name) for package, name in PHOTOGRAPHS]
    crops = {
        split: _crops(photographs, split, counts[split] or DEFAULT_COUNTS[split], image_px, np.random.default_rng([number, image_px]))
        for number, split in enumerate(SPLITS)
    }
    return Images(crops["train"], crops["validation"], crops["test"])


def _load(package: str, name: str) -> Image.Image:
    with files(package).joinpath(name).open("rb") as file:
        return Image.open(file).convert("RGB")


def strip(width: int, height: int, split: str) -> tuple[int, int, int, int]:
    """The rectangle (left, top, right, bottom) in pixels that a split may crop from."""
    start, end = STRIPS[split]
    if width >= height:
        return int(width * start), 0, int(width * end), height
    return 0, int(height * start), width, int(height * end)


def _crops(photographs: list[Image.Image], split: str, count: int, image_px: int, rng: np.random.Generator) -> np.ndarray:
    """(count, image_px, image_px, 3) uint8, the photographs in turn."""
    crops = np.empty((count, image_px, image_px, 3), np.uint8)
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        left, top, right, bottom = strip(*photograph.size, split)
        greatest = min(right - left, bottom - top)
        side = int(rng.integers(min(image_px, greatest), min(int(WIDEST_SCALE * image_px), greatest) + 1))
        x = left + int(rng.integers(0, right - left - side + 1))
        y = top + int(rng.integers(0, bottom - top - side + 1))
        box = (x, y, x + side, y + side)
        crops[index] = np.asarray(photograph.crop(box).resize((image_px, image_px), Image.Resampling.LANCZOS))
    return crops
