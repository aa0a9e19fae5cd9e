"""`cifar10` and `cifar10_cars`: CIFAR-10, or its automobiles alone.

Read from `cifar10.npz` in the data folder where that lies there, else from torchvision's copy, which it downloads. The last 5,000 of
the 50,000 training images, in the data set's order, are the validation split.

Source: `beyond_cnns`, section Dataset (all classes, 32x32); `thesis`, chapter 3 (class 1, automobile).
"""

from pathlib import Path

import numpy as np

from trainables.data.splits import Images
from trainables.errors import ConfigError, DataError

IMAGE_PX = 32
VALIDATION_IMAGES = 5_000
AUTOMOBILE = 1


def read(data_dir: Path, image_px: int, label: int | None) -> Images:
    """Reads the set.

    Args:
        data_dir: folder that holds `cifar10.npz` or torchvision's copy, or receives the download.
        image_px: must be 32.
        label: keep this class alone; None = all ten.

    Returns:
        The three splits: 45,000 / 5,000 / 10,000 images, or the class's share of each.

    Raises:
        ConfigError: image_px is not 32.
        DataError: no copy there and none could be downloaded, or a damaged copy.
    """
    if image_px != IMAGE_PX:
        raise ConfigError(f"cifar10's images are {IMAGE_PX} px wide, but got data.image_px={image_px}; leave it out or use another set")
    archive = data_dir / "cifar10.npz"
    x_train, y_train, x_test, y_test = _from_archive(archive) if archive.exists() else _from_torchvision(data_dir)
    _check(x_train, y_train, VALIDATION_IMAGES + 1)
    _check(x_test, y_test, 1)
    cut = len(x_train) - VALIDATION_IMAGES
    splits = [(x_train[:cut], y_train[:cut]), (x_train[cut:], y_train[cut:]), (x_test, y_test)]
    train, validation, test = (images if label is None else images[labels == label] for images, labels in splits)
    return Images(train, validation, test)


def _check(images: np.ndarray, labels: np.ndarray, least: int) -> None:
    """Raises DataError unless these are at least `least` 32x32 colour images with one label each."""
    shape = (IMAGE_PX, IMAGE_PX, 3)
    if images.shape[1:] != shape or images.dtype != np.uint8 or labels.shape != (len(images),) or len(images) < least:
        raise DataError(
            f"cifar10 must have at least {least} uint8 images of shape {shape} and a label for each, but got {images.dtype} images "
            f"{images.shape} and labels {labels.shape}; make the copy again"
        )


def _from_archive(archive: Path) -> tuple[np.ndarray, ...]:
    try:
        with np.load(archive, allow_pickle=False) as arrays:
            return arrays["x_train"], arrays["y_train"].ravel(), arrays["x_test"], arrays["y_test"].ravel()
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"{archive} must hold x_train, y_train, x_test and y_test, but reading it failed ({error}); make it again"
        ) from error
    except Exception as error:  # zipfile.BadZipFile derives from Exception alone
        raise DataError(f"{archive} must be a whole .npz archive, but reading it failed ({error}); make it again") from error


def _from_torchvision(data_dir: Path) -> tuple[np.ndarray, ...]:
    from torchvision.datasets import CIFAR10

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        train, test = (CIFAR10(str(data_dir), train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"CIFAR-10 must lie in {data_dir} (as cifar10.npz or torchvision's folder) or be downloadable, but neither is so ({error}); "
            "put it there, name its folder with --data-dir, or use the data set 'photos', which needs no network"
        ) from error
    return train.data, np.asarray(train.targets, np.uint8), test.data, np.asarray(test.targets, np.uint8)
