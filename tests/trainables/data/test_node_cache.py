"""A node's own copy of prepared images: made once, whole or not at all, and mapped by every process of the node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import SPLITS, Images, ImageSource, open_images
from trainables.errors import ConfigError, DataError

NodeOpens = Callable[..., Images]


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """A folder of 20 small random pictures."""
    path = tmp_path / "originals"
    path.mkdir()
    rng = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path / f"{index:02d}.png")
    return path


@pytest.fixture
def prepared(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Images:
    """The set as the driver prepares it, on storage that nodes share."""
    monkeypatch.delenv("SWEEP_NODE_CACHE", raising=False)
    monkeypatch.delenv("SWEEP_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return open_images(ImageSource(f"folder:{originals}", 8, data_dir=str(tmp_path / "shared")))


@pytest.fixture
def node_opens(prepared: Images, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeOpens:
    """Opens the set as a worker on a node does; there is neither an original nor a data folder."""
    shutil.rmtree(originals)

    def opened(cache: str | None = "node", **told: str) -> Images:
        if cache is None:
            monkeypatch.delenv("SWEEP_NODE_CACHE", raising=False)
        else:
            monkeypatch.setenv("SWEEP_NODE_CACHE", str(tmp_path / cache))
        known = {"prepared": prepared.prepared, "fingerprint": prepared.fingerprint} | told
        return open_images(ImageSource(f"folder:{originals}", 8, **known))

    return opened


def place_of(images: Images) -> Path:
    assert isinstance(images.train, np.memmap)
    return Path(str(images.train.filename)).parent


def assert_same(images: Images, expected: Images) -> None:
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(images, split), getattr(expected, split))
    assert (images.fingerprint, images.skipped, images.prepared) == (expected.fingerprint, expected.skipped, expected.prepared)


def test_without_a_cache_the_drivers_folder_is_mapped(prepared: Images, node_opens: NodeOpens) -> None:
    images = node_opens(cache=None)
    assert place_of(images) == place_of(prepared)
    assert_same(images, prepared)


def test_with_a_cache_its_copy_is_mapped_and_made_once(prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    first, second = node_opens(), node_opens()
    assert_same(first, prepared)
    assert place_of(first).parent == tmp_path / "node"
    assert place_of(first) == place_of(second)
    for split in SPLITS:
        one, two = (Path(str(getattr(images, split).filename)) for images in (first, second))
        assert os.path.samefile(one, two)


def test_a_copy_serves_when_the_shared_folder_is_gone(prepared: Images, node_opens: NodeOpens) -> None:
    node_opens()
    expected = {split: getattr(prepared, split).copy() for split in SPLITS}
    shutil.rmtree(prepared.prepared)
    images = node_opens()
    for split, array in expected.items():
        np.testing.assert_array_equal(getattr(images, split), array)


def test_a_node_that_joins_late_gets_a_copy_of_its_own(prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    early = node_opens("early")
    late = node_opens("late")
    assert place_of(late).parent == tmp_path / "late"
    assert not os.path.samefile(place_of(early) / "train.npy", place_of(late) / "train.npy")
    assert_same(late, prepared)


def truncate(copy: Path) -> None:
    with open(copy / "train.npy", "r+b") as file:
        file.truncate(100)


def overwrite(copy: Path) -> None:
    """Another byte, and the size stays."""
    with open(copy / "test.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def tear(copy: Path) -> None:
    """As a machine leaves it that went down while copying, under a name that no copy has."""
    draft = copy.with_name(f".draft-{copy.name}")
    copy.rename(draft)
    truncate(draft)


@pytest.mark.parametrize(
    "damage",
    [truncate, overwrite, tear, lambda copy: (copy / "validation.npy").unlink(), lambda copy: (copy / "meta.json").write_text("{")],
)
def test_a_damaged_copy_is_made_again(damage: Callable[[Path], None], prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    copy = place_of(node_opens())
    damage(copy)
    assert_same(node_opens(), prepared)
    assert [path.name for path in (tmp_path / "node").iterdir() if path.is_dir()] == [copy.name]


def test_a_damaged_original_is_told_and_leaves_no_copy(prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    overwrite(Path(prepared.prepared))
    with pytest.raises(DataError, match=rf"must have the fingerprint {prepared.fingerprint}, but have (?!{prepared.fingerprint})"):
        node_opens()
    assert [path for path in (tmp_path / "node").iterdir() if path.is_dir()] == []


def test_other_images_than_the_drivers_are_refused(prepared: Images, node_opens: NodeOpens) -> None:
    meta = Path(prepared.prepared) / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"fingerprint": "0123456789abcdef"}))
    with pytest.raises(DataError, match=rf"began with, fingerprint {prepared.fingerprint}, but those in .* have 0123456789abcdef; bring"):
        node_opens(cache=None)


def test_a_node_that_prepares_for_itself_must_come_to_the_same_images(prepared: Images, originals: Path, tmp_path: Path) -> None:
    """Nothing is shared, but the originals lie on the node too."""
    told = {"prepared": "/nowhere/prepared/x", "fingerprint": prepared.fingerprint}
    own = ImageSource(f"folder:{originals}", 8, data_dir=str(tmp_path / "own"), **told)
    assert open_images(own).fingerprint == prepared.fingerprint
    Image.new("RGB", (12, 12), (9, 9, 9)).save(originals / "99.png")
    with pytest.raises(DataError, match=rf"fingerprint {prepared.fingerprint}, but those in"):
        open_images(own)


@pytest.mark.parametrize("cache", ["node", None])
def test_a_node_that_has_nothing_says_what_it_lacks(cache: str | None, prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    shutil.rmtree(prepared.prepared)
    with pytest.raises(DataError) as caught:
        node_opens(cache=cache)
    told = str(caught.value)
    assert f"node {os.uname().nodename} has neither the folder {prepared.prepared}" in told
    assert f"let SWEEP_DATA_DIR name a folder on storage that all nodes share, or copy that folder into {tmp_path / 'home'}" in told


def test_the_same_folder_in_the_nodes_own_data_folder_does_too(prepared: Images, node_opens: NodeOpens, tmp_path: Path) -> None:
    shutil.copytree(prepared.prepared, tmp_path / "home/.cache/inpaint-sweeps/prepared" / Path(prepared.prepared).name)
    shutil.rmtree(prepared.prepared)
    assert node_opens(cache=None).fingerprint == prepared.fingerprint
    assert place_of(node_opens()).parent == tmp_path / "node"


def test_a_cache_that_cannot_be_written_is_told(node_opens: NodeOpens, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file stands where the cache should be")
    with pytest.raises(DataError, match=r"SWEEP_NODE_CACHE must name a folder that can be written .*; free space there, name another"):
        node_opens("file/cache")


def test_whoever_prepares_uses_the_cache_too(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_NODE_CACHE", str(tmp_path / "node"))
    images = open_images(ImageSource(f"folder:{originals}", 8, data_dir=str(tmp_path / "shared")))
    assert place_of(images).parent == tmp_path / "node"
    assert Path(images.prepared).parent == tmp_path / "shared" / "prepared"


def test_a_folder_without_its_fingerprint_is_refused() -> None:
    with pytest.raises(ConfigError, match="prepared and fingerprint go together, but got '/a' and None"):
        ImageSource("photos", prepared="/a").check()


OPEN = """
import os, sys
from trainables.data import ImageSource, open_images
print("ready", flush=True)
sys.stdin.readline()
images = open_images(ImageSource("photos", 32, 300, 30, 30, prepared=sys.argv[1], fingerprint=sys.argv[2]))
print([os.stat(getattr(images, split).filename).st_ino for split in ("train", "validation", "test")], images.fingerprint, flush=True)
sys.stdin.readline()
"""


def test_processes_that_start_at_once_map_one_copy(tmp_path: Path) -> None:
    prepared = open_images(ImageSource("photos", 32, 300, 30, 30, data_dir=str(tmp_path / "shared")))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "SWEEP_NODE_CACHE": str(tmp_path / "node"),
    }
    command = [sys.executable, "-c", OPEN, prepared.prepared, prepared.fingerprint]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    pipes = [(process.stdin, process.stdout) for process in processes if process.stdin and process.stdout]
    assert [told.readline() for _, told in pipes] == ["ready\n"] * 3
    for asked, _ in pipes:
        asked.write("go\n")
        asked.flush()
    answers = [told.readline() for _, told in pipes]  # all still live, so that no number of a file is given out again
    assert [process.communicate("end\n") and process.returncode for process in processes] == [0, 0, 0]
    (copy,) = (path for path in (tmp_path / "node").iterdir() if path.is_dir())
    inodes = [(copy / f"{split}.npy").stat().st_ino for split in SPLITS]
    assert answers == [f"{inodes} {prepared.fingerprint}\n"] * 3
