import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.freshness import Today
from reports.selection import Run
from search_spaces import SPACES
from sweeper.cli.rooms import code
from sweeper.rows import SweepRow

ROOT = Path(__file__).resolve().parents[2]


def run(code: str = "", model: str = "cnn_autoencoder", data: str = "animals", fingerprint: str = "aaaa", image_px: int = 128) -> Run:
    tags = {"sweep.data": data, "sweep.data_fingerprint": fingerprint, "sweep.image_px": str(image_px)}
    return Run("r", "final", "final-0", "complete", 0, {}, {}, SweepRow("s", "mine", tags, {}, 0.0), model, code)


def prepared(folder: Path, name: str, fingerprint: str, when_s: float, image_px: int = 128) -> None:
    """The record that preparing a set leaves."""
    path = folder / "prepared" / f"{name}-{image_px}px-{fingerprint}" / "meta.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"source": name, "image_px": image_px, "skipped": [], "fingerprint": fingerprint}))
    os.utime(path, (when_s, when_s))


@pytest.mark.parametrize("model", SPACES)
def test_a_run_of_the_installed_code_is_fresh(model: str) -> None:
    """What the engine writes down when a trial begins, and what a report finds without torch, are one version."""
    assert Today().stale(run(code(model), model)) == ""


def test_a_run_of_other_code_is_stale_and_says_so() -> None:
    today = Today()
    now = today.code("wgan")
    assert today.stale(run("0123456789abcdef, torch 2.0", "wgan")) == (
        f"the code of wgan has changed since (0123456789abcdef then, {now} now)"
    )
    assert today.stale(run(f"{now}, torch 1.0", "wgan")) == ""  # torch itself is not the model's code


def test_what_cannot_be_told_is_not_stale(tmp_path: Path) -> None:
    today = Today(tmp_path)
    assert today.stale(run()) == ""  # a run from before the version was recorded
    assert today.stale(run("0123456789abcdef", "gone_tomorrow:Model")) == ""  # its code is not here
    assert today.stale(run(data="animals", fingerprint="bbbb")) == ""  # nothing is prepared here


def test_changed_images_make_a_number_stale(tmp_path: Path) -> None:
    prepared(tmp_path, "animals", "aaaa", 100)
    prepared(tmp_path, "animals", "cccc", 300, image_px=64)
    assert Today(tmp_path).stale(run(fingerprint="aaaa")) == ""
    prepared(tmp_path, "animals", "bbbb", 200)
    today = Today(tmp_path)
    assert today.stale(run(fingerprint="bbbb")) == ""
    assert today.stale(run(fingerprint="aaaa")) == "the images of animals have changed since (fingerprint aaaa then, bbbb now)"
    assert today.stale_any([run(fingerprint="bbbb"), run(fingerprint="aaaa"), run(fingerprint="aaaa")]) == today.stale(
        run(fingerprint="aaaa")
    )


def test_photographs_that_are_prepared_for_other_counts_say_nothing(tmp_path: Path) -> None:
    prepared(tmp_path, "photos", "aaaa", 100)
    assert Today(tmp_path).stale(run(data="photos", fingerprint="bbbb")) == ""


def test_a_broken_record_is_none(tmp_path: Path) -> None:
    prepared(tmp_path, "animals", "aaaa", 100)
    (tmp_path / "prepared" / "animals-128px-aaaa" / "meta.json").write_text("{")
    assert Today(tmp_path).stale(run(fingerprint="bbbb")) == ""


def test_neither_torch_nor_ray_is_imported() -> None:
    told = (
        "import sys; from reports.freshness import Today; Today().code('wgan')\n"
        "print(sorted({'torch', 'ray', 'trainables'} & set(sys.modules)))"
    )
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", told], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
