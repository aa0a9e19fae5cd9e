from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from trainables.data import ImageSource, cifar10, open_images
from trainables.errors import ConfigError, DataError

TRAIN, TEST = 6_000, 200


def numbered(count: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8; image i carries i in its first pixel."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    index = np.arange(count)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = index // 256, index % 256
    return images


def numbers(images: np.ndarray) -> list[int]:
    first = images[:, 0, 0].astype(int)
    return [int(number) for number in first[:, 0] * 256 + first[:, 1]]


def labels(count: int) -> np.ndarray:
    return (np.arange(count) * 7 % 10).astype(np.uint8)


@pytest.fixture(scope="module")
def archive_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up cifar10.npz: 6,000 training and 200 test images, numbered."""
    folder = tmp_path_factory.mktemp("archive")
    np.savez(folder / "cifar10.npz", x_train=numbered(TRAIN), y_train=labels(TRAIN), x_test=numbered(TEST), y_test=labels(TEST))
    return folder


def test_the_last_5000_training_images_are_the_validation_split(archive_dir: Path) -> None:
    images = cifar10.read(archive_dir, 32, None)
    assert numbers(images.train) == list(range(1_000))
    assert numbers(images.validation) == list(range(1_000, 6_000))
    assert numbers(images.test) == list(range(200))


def test_automobiles_are_class_1_of_each_split(archive_dir: Path) -> None:
    images = cifar10.read(archive_dir, 32, cifar10.AUTOMOBILE)
    assert numbers(images.train) == [i for i in range(1_000) if i * 7 % 10 == 1]
    assert numbers(images.validation) == [i for i in range(1_000, 6_000) if i * 7 % 10 == 1]
    assert numbers(images.test) == [i for i in range(200) if i * 7 % 10 == 1]


def test_both_names_are_opened_from_the_data_folder(archive_dir: Path) -> None:
    everything = open_images(ImageSource("cifar10", train=10, validation=5, test=5, data_dir=str(archive_dir)))
    assert numbers(everything.train) == list(range(10))
    cars = open_images(ImageSource("cifar10_cars", data_dir=str(archive_dir)))
    assert (len(cars.train), len(cars.validation), len(cars.test)) == (100, 500, 20)
    assert everything.fingerprint != cars.fingerprint


def test_labels_in_a_column_are_labels_too(tmp_path: Path) -> None:
    column = labels(TRAIN)[:, None]
    np.savez(tmp_path / "cifar10.npz", x_train=numbered(TRAIN), y_train=column, x_test=numbered(TEST), y_test=labels(TEST)[:, None])
    assert len(cifar10.read(tmp_path, 32, cifar10.AUTOMOBILE).test) == 20


@pytest.mark.parametrize("px", [16, 64])
def test_another_size_is_refused(px: int, archive_dir: Path) -> None:
    with pytest.raises(ConfigError, match=f"32 px wide, but got data.image_px={px}"):
        cifar10.read(archive_dir, px, None)


@pytest.mark.parametrize("damage", ["truncated", "no archive", "empty", "flipped"])
def test_a_damaged_archive_is_named(damage: str, archive_dir: Path, tmp_path: Path) -> None:
    whole = (archive_dir / "cifar10.npz").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    content = {"truncated": whole[:middle], "no archive": b"not an archive", "empty": b"", "flipped": flipped}[damage]
    (tmp_path / "cifar10.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar10\.npz must .*; make it again"):
        cifar10.read(tmp_path, 32, None)


def test_an_archive_without_an_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", x_train=numbered(3), y_train=labels(3))
    with pytest.raises(DataError, match="must hold x_train, y_train, x_test and y_test"):
        cifar10.read(tmp_path, 32, None)


@pytest.mark.parametrize("fault", ["too few", "too small", "floats", "labels missing"])
def test_arrays_that_are_not_cifar10s_are_refused(fault: str, tmp_path: Path) -> None:
    images, classes = numbered(5_001), labels(5_001)
    if fault == "too few":
        images, classes = images[:5_000], classes[:5_000]
    elif fault == "too small":
        images = images[:, :16, :16]
    elif fault == "floats":
        images = images[:, :1].astype(np.float32)
    else:
        classes = classes[:-1]
    np.savez(tmp_path / "cifar10.npz", x_train=images, y_train=classes, x_test=numbered(2), y_test=labels(2))
    with pytest.raises(DataError, match="at least 5001 uint8 images"):
        cifar10.read(tmp_path, 32, None)


def test_without_a_copy_and_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise URLError("no address associated with hostname")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", unreachable)
    with pytest.raises(DataError, match="no address associated with hostname") as caught:
        open_images(ImageSource("cifar10", data_dir=str(tmp_path)))
    assert "--data-dir" in str(caught.value)
    assert "'photos'" in str(caught.value)


def test_torchvisions_copy_is_read_where_there_is_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Downloaded:
        """What torchvision's class shows of a copy: `data` and a list of `targets`."""

        def __init__(self, root: str, train: bool, download: bool) -> None:
            assert root == str(tmp_path)
            count = TRAIN if train else TEST
            self.data, self.targets = numbered(count), labels(count).tolist()

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Downloaded)
    images = cifar10.read(tmp_path, 32, cifar10.AUTOMOBILE)
    assert (len(images.train), len(images.validation), len(images.test)) == (100, 500, 20)


@pytest.mark.real_data
def test_the_real_set(real_data_dir: Callable[[str], Path]) -> None:
    folder = real_data_dir("cifar10.npz")
    everything = cifar10.read(folder, 32, None)
    assert (len(everything.train), len(everything.validation), len(everything.test)) == (45_000, 5_000, 10_000)
    with np.load(folder / "cifar10.npz") as arrays:
        cars_last = int((arrays["y_train"][45_000:] == 1).sum())
        cars = cifar10.read(folder, 32, cifar10.AUTOMOBILE)
    assert (len(cars.train), len(cars.validation), len(cars.test)) == (5_000 - cars_last, cars_last, 1_000)
    # Channel means of the 50,000 training images, as widely used to normalise the set.
    means = (everything.train.mean((0, 1, 2)) * 45_000 + everything.validation.mean((0, 1, 2)) * 5_000) / 50_000 / 255
    np.testing.assert_allclose(means, (0.4914, 0.4822, 0.4465), atol=1e-4)
