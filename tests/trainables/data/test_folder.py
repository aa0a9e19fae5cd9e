from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import ImageSource, folder, open_images
from trainables.errors import DataError


def save_flat(path: Path, value: int, size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def fill_folder(path: Path, count: int) -> None:
    """PNG files 000.png, 001.png, ...; image i is grey of value i, written in a shuffled order."""
    for index in np.random.default_rng(0).permutation(count):
        save_flat(path / f"{index:03d}.png", int(index))


def values(images: np.ndarray) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return [int(value) for value in images[:, 0, 0, 0]]


def test_splits_go_by_file_name(tmp_path: Path) -> None:
    fill_folder(tmp_path, 50)
    images = folder.read(tmp_path, 8)
    assert images.train.shape == (40, 8, 8, 3)
    assert values(images.train) == list(range(40))
    assert values(images.validation) == list(range(40, 45))
    assert values(images.test) == list(range(45, 50))
    assert images.skipped == ()


def test_large_folders_hold_out_200_and_200(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_folder(tmp_path, 60)
    monkeypatch.setattr(folder, "GREATEST_SPLIT", 4)
    images = folder.read(tmp_path, 8)
    assert values(images.validation) == [52, 53, 54, 55]
    assert values(images.test) == [56, 57, 58, 59]


def test_the_held_out_splits_are_200_images() -> None:
    assert folder.GREATEST_SPLIT == 200


def test_folders_inside_count_and_other_files_do_not(tmp_path: Path) -> None:
    for index in range(10):
        save_flat(tmp_path / ("a" if index < 5 else "b") / f"{index}.PNG", index)
    (tmp_path / "notes.txt").write_text("not an image")
    save_flat(tmp_path / ".hidden.png", 99)
    images = folder.read(tmp_path, 8)
    assert values(np.concatenate([images.train, images.validation, images.test])) == list(range(10))


def test_a_file_that_does_not_decode_is_named_skipped_and_counted(tmp_path: Path, data_dir: str) -> None:
    fill_folder(tmp_path / "set", 20)
    (tmp_path / "set" / "005.png").write_bytes(b"this is no picture")
    whole = (tmp_path / "set" / "007.png").read_bytes()
    (tmp_path / "set" / "007.png").write_bytes(whole[: len(whole) // 2])
    images = open_images(ImageSource(f"folder:{tmp_path / 'set'}", image_px=8, data_dir=data_dir))
    assert images.skipped == ("005.png", "007.png")
    kept = np.concatenate([images.train, images.validation, images.test])
    assert values(kept) == [index for index in range(20) if index not in (5, 7)]


def test_a_folder_where_nothing_decodes_is_an_error(tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"{index:02d}.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"all 12 in .* fail, the first 00\.jpg"):
        folder.read(tmp_path, 8)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist, but .*nowhere does not; put images there, or name their folder with --data-dir"):
        folder.read(tmp_path / "nowhere", 8)


@pytest.mark.parametrize("name", ["faces", "animals", "scenes"])
def test_a_named_folder_that_is_missing_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} does not; put images there"):
        open_images(ImageSource(name, data_dir=str(tmp_path)))


def test_a_folder_without_images_is_an_error(tmp_path: Path, data_dir: str) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError, match=r"must hold \.jpg, .* files, but .* has none"):
        open_images(ImageSource(f"folder:{tmp_path}", data_dir=data_dir))


@pytest.mark.parametrize("count", [1, 9])
def test_fewer_than_ten_images_are_an_error(count: int, tmp_path: Path) -> None:
    fill_folder(tmp_path, count)
    with pytest.raises(DataError, match=f"at least 10 images to be split in three, but .* has {count}; add more"):
        folder.read(tmp_path, 8)


def test_ten_images_are_enough(tmp_path: Path) -> None:
    fill_folder(tmp_path, 10)
    images = folder.read(tmp_path, 8)
    assert (len(images.train), len(images.validation), len(images.test)) == (8, 1, 1)


def test_the_shorter_side_is_fitted_and_the_centre_kept(tmp_path: Path) -> None:
    """A 60x20 image of three 20 px squares, red, green and blue: the green one is left."""
    fill_folder(tmp_path, 10)
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:40, 1] = pixels[:, 40:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "000.png")
    (first, *_) = folder.read(tmp_path, 10).train
    np.testing.assert_allclose(first[1:-1, 1:-1], np.broadcast_to((0, 255, 0), (8, 8, 3)), atol=1)  # edges blend in resizing


def test_a_rotated_photograph_is_set_upright(tmp_path: Path) -> None:
    """Orientation 6 of EXIF: the stored picture must be turned a quarter clockwise, so its left side is shown at the top."""
    fill_folder(tmp_path, 10)
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "000.png", exif=exif)
    (first, *_) = folder.read(tmp_path, 16).train
    assert (first[:8] == 255).all()
    assert (first[8:] == 0).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    fill_folder(tmp_path, 10)
    (tmp_path / "000.png").unlink()
    Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode).save(tmp_path / ("000.tif" if mode == "CMYK" else "000.png"))
    (first, *_) = folder.read(tmp_path, 8).train
    assert (first == 255).all()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["faces", "animals", "scenes"])
def test_real_images(name: str, real_data_dir: Callable[[str], Path], tmp_path: Path) -> None:
    originals = folder.image_files(real_data_dir(name) / name)[:20]
    for original in originals:
        (tmp_path / original.name).symlink_to(original)
    images = folder.read(tmp_path, 64)
    assert (len(images.train), len(images.validation), len(images.test)) == (16, 2, 2)
    assert images.skipped == ()
    assert images.train.std(axis=(1, 2, 3)).min() > 5
