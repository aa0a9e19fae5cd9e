import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import READERS, SPLITS, Images, ImageSource, folder, open_images, photos
from trainables.errors import ConfigError, DataError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 20 small random pictures."""
    path = tmp_path / "pictures"
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path / f"{index:02d}.png")
    return path


def source_of(pictures: Path, data_dir: Path | str, **options: int) -> ImageSource:
    return ImageSource(f"folder:{pictures}", **{"image_px": 8, **options}, data_dir=str(data_dir))


def test_arrays_are_memory_mapped_and_read_only(pictures: Path, tmp_path: Path) -> None:
    images = open_images(source_of(pictures, tmp_path))
    for split in SPLITS:
        array = getattr(images, split)
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_second_opening_does_not_read_the_originals_again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_images(source_of(pictures, tmp_path))

    def read_again(path: Path, image_px: int) -> Images:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(folder, "read", read_again)
    second = open_images(source_of(pictures, tmp_path, train=5))
    np.testing.assert_array_equal(second.train, first.train[:5])
    assert second.fingerprint == first.fingerprint


def test_what_was_skipped_is_remembered(pictures: Path, tmp_path: Path) -> None:
    (pictures / "03.png").write_bytes(b"broken")
    assert open_images(source_of(pictures, tmp_path)).skipped == ("03.png",)
    assert open_images(source_of(pictures, tmp_path)).skipped == ("03.png",)


def test_the_prepared_folder_holds_the_arrays_and_what_they_are(pictures: Path, tmp_path: Path) -> None:
    images = open_images(source_of(pictures, tmp_path))
    (prepared,) = (tmp_path / "prepared").iterdir()
    assert {path.name for path in prepared.iterdir()} == {"train.npy", "validation.npy", "test.npy", "meta.json"}
    meta = json.loads((prepared / "meta.json").read_text())
    assert meta["fingerprint"] == images.fingerprint
    assert meta["image_px"] == 8
    assert meta["source"] == f"folder:{pictures}"


def test_the_fingerprint_is_the_same_wherever_it_is_made(pictures: Path, tmp_path: Path) -> None:
    one = open_images(source_of(pictures, tmp_path / "one")).fingerprint
    other = open_images(source_of(pictures, tmp_path / "other")).fingerprint
    assert one == other
    assert len(one) == 16
    assert int(one, 16) >= 0


def test_the_fingerprint_changes_with_a_single_value(pictures: Path, tmp_path: Path) -> None:
    before = open_images(source_of(pictures, tmp_path, image_px=12))
    pixels = np.asarray(Image.open(pictures / "00.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(pictures / "00.png")
    after = open_images(source_of(pictures, tmp_path, image_px=12))
    assert int((before.train != after.train).sum()) == 1
    assert before.fingerprint != after.fingerprint


def test_an_image_added_is_seen_at_the_next_opening(pictures: Path, tmp_path: Path) -> None:
    before = open_images(source_of(pictures, tmp_path))
    Image.new("RGB", (12, 12), (9, 9, 9)).save(pictures / "99.png")
    after = open_images(source_of(pictures, tmp_path))
    assert len(after.train) == len(before.train) + 1
    assert (after.test[-1] == 9).all()


@pytest.mark.parametrize(("split", "count"), [("train", 16), ("validation", 2), ("test", 2)])
def test_more_images_than_there_are_is_an_error(split: str, count: int, pictures: Path, tmp_path: Path) -> None:
    assert len(getattr(open_images(source_of(pictures, tmp_path, **{split: count})), split)) == count
    with pytest.raises(DataError, match=rf"data\.{split} asks for {count + 1} images, but folder:.* has {count} there; ask for at most"):
        open_images(source_of(pictures, tmp_path, **{split: count + 1}))


@pytest.mark.parametrize("name", ["photos", "folder"])
def test_a_data_folder_that_cannot_be_written_is_an_error(name: str, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file stands where the data folder should be")
    source = ImageSource(f"folder:{pictures}" if name == "folder" else name, 8, 10, 1, 1, data_dir=str(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match=r"the data folder must be writable, but .* is not .*; choose another with --data-dir"):
        open_images(source)


def test_an_unknown_name_is_answered_with_every_name(data_dir: str) -> None:
    with pytest.raises(ConfigError, match="but got 'imagenet'") as caught:
        open_images(ImageSource("imagenet", data_dir=data_dir))
    for name in (*READERS, "folder:PATH"):
        assert name in str(caught.value)


@pytest.mark.parametrize("image_px", [0, 7, 1025])
def test_a_size_out_of_range_is_refused(image_px: int, data_dir: str) -> None:
    with pytest.raises(ConfigError, match=rf"data.image_px must lie in \[8, 1024\], but got {image_px}"):
        open_images(ImageSource("photos", image_px, data_dir=data_dir))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(split: str, count: int, data_dir: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{split} must be at least 1, but got {count}"):
        open_images(ImageSource("photos", data_dir=data_dir, **{split: count}))


def test_the_data_folder_is_the_argument_then_the_environment_then_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SWEEP_DATA_DIR", str(tmp_path / "environment"))
    assert ImageSource("photos", data_dir=str(tmp_path / "argument")).folder == tmp_path / "argument"
    assert ImageSource("photos").folder == tmp_path / "environment"
    monkeypatch.delenv("SWEEP_DATA_DIR")
    assert ImageSource("photos").folder == tmp_path / "home" / ".cache" / "inpaint-sweeps"


def test_losing_the_race_to_prepare_uses_the_winners_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource("photos", 16, 14, 7, 7, data_dir=str(tmp_path))
    read = photos.read
    winners: list[Images] = []

    def overtaken(image_px: int, train: int, validation: int, test: int) -> Images:
        monkeypatch.setattr(photos, "read", read)
        winners.append(open_images(source))  # while the first reads, a second opens the same set and finishes
        return read(image_px, train, validation, test)

    monkeypatch.setattr(photos, "read", overtaken)
    images = open_images(source)
    np.testing.assert_array_equal(images.train, winners[0].train)
    (prepared,) = (tmp_path / "prepared").iterdir()
    assert not prepared.name.startswith(".")


PREPARE = """
import sys
from trainables.data import ImageSource, open_images
print("ready", flush=True)
sys.stdin.readline()
images = open_images(ImageSource("photos", 32, 300, 30, 30, data_dir=sys.argv[1]))
print(images.fingerprint, images.train.shape)
"""


def test_processes_that_prepare_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(set(answers)) == 1
    assert "(300, 32, 32, 3)" in answers[0]
    (prepared,) = (tmp_path / "prepared").iterdir()
    assert len(list(prepared.iterdir())) == 4
