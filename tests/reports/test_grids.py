"""Picture grids on a real store: which images are shown, that they are the same for all models, and what a published grid leaves out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reports.build import build
from reports.fills import read_fills, read_plain
from reports.grid_sheet import HEADER_PX, SIDE_PX
from reports.grids import chosen_rows
from reports.selection import read_sweeps
from sweeper.fills import fills_file, keep
from sweeper.home import Home
from tests.reports.conftest import Filler
from trainables.fill_record import FillRecord

PX, HOLE, COUNT = 32, slice(12, 20), 40
TABLE = """
document: thesis
number: models
source: made up
caption: two models
place: nowhere
unit: sum of squares
fill: sweep run anything
where: {runs: final}
rows_title: model
columns: [{key: test, title: L2, metric: l2_hole}]
rows:
  - {title: plain autoencoder, where: {model: cnn_autoencoder}}
  - {title: WGAN, where: {model: wgan}}
  - {title: Telea, where: {model: classical_fill}}
"""
MODELS = {"cnn_autoencoder": 10, "wgan": 30, "classical_fill": 60}  # how far each is from the truth at most, of 255


@pytest.fixture
def truth() -> np.ndarray:
    """(40, 32, 32, 3) uint8, each image of its own brightness, so that each can be told in a picture."""
    return np.stack([np.full((PX, PX, 3), 6 * number, np.uint8) for number in range(COUNT)])


def record(truth: np.ndarray, wrong: np.ndarray) -> FillRecord:
    """Fills that miss the truth by `wrong` of 255, one value an image."""
    image = torch.from_numpy(truth).permute(0, 3, 1, 2) / 255
    known = torch.ones(len(truth), 1, PX, PX)
    known[:, :, HOLE, HOLE] = 0
    off = torch.from_numpy(wrong)[:, None, None, None] / 255
    filled = torch.where(known > 0, image, image + off)
    mse = (off**2).flatten()
    made = FillRecord(PX)
    made.add(filled, image, known, {"l2_hole": mse * 192, "psnr_hole": -10 * torch.log10(mse)})
    return made


def wrongness(model: str) -> np.ndarray:
    """The first image is filled worst, the last best, by every model."""
    return np.linspace(MODELS[model], 1, COUNT, dtype=np.float32)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "models.yaml").write_text(TABLE)
    return folder


@pytest.fixture
def filled(filler: Filler, truth: np.ndarray, tmp_path: Path) -> Callable[[bool], None]:
    """Puts a sweep a model into the store, each with its final run's fills; the images may be published or not."""

    def fill(publishable: bool) -> None:
        for model in MODELS:
            parent = filler.sweep(model, model=model)
            run = filler.trial(model, parent, "final-0", {"test_l2_hole": 1.0}, knobs={})
            place = tmp_path / model
            place.mkdir()
            keep(place, "final-0", record(truth, wrongness(model)).to_npz("f00dfeed"))
            plain = record(truth, np.full(COUNT, 20, np.float32))
            keep(place, "ring_mean", plain.to_npz("f00dfeed", with_truth=True, publishable=publishable))
            filler.store.log_file(run, fills_file(place, "final-0"), "fills")
            filler.store.log_file(parent, fills_file(place, "ring_mean"), "fills")
            filler.picture(parent, (200, 100, 50))
        filler.done()

    return fill


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def grid_of(folder: Path) -> np.ndarray:
    (file,) = (folder / "grids").iterdir()
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_what_a_run_has_left_is_read_back(filled: Callable[[bool], None], filler: Filler, truth: np.ndarray) -> None:
    filled(True)
    sweep = next(each for each in read_sweeps(filler.store) if each.row.name == "wgan")
    fills, plain = read_fills(filler.store, sweep.finals[0]), read_plain(filler.store, sweep)
    assert fills is not None
    assert plain is not None
    assert np.array_equal(plain.truth, truth)
    assert plain.publishable
    assert np.array_equal(fills.digest, plain.digest)
    assert fills.mse == pytest.approx((wrongness("wgan") / 255) ** 2, rel=1e-4)
    first = fills.filled(0, truth[0])
    assert np.array_equal(first[:12], truth[0, :12])
    assert (first[HOLE, HOLE] == 30).all()
    assert (fills.filled(39, None)[:12] == 128).all()


def test_the_best_the_middle_and_the_worst_are_shown(filled: Callable[[bool], None], home: Path, tables: Path, truth: np.ndarray) -> None:
    filled(False)
    built = build(Home(home), tables=tables)
    picture = grid_of(built.folder)
    heights = [HEADER_PX + row * (2 * (96 + 4) + 14) + 2 for row in range(9)]
    shown = [round(float(picture[top : top + 8, SIDE_PX + 2 : SIDE_PX + 90].mean()) / 6) for top in heights]
    assert shown == [39, 38, 37, 21, 20, 19, 2, 1, 0]  # input, left of the models
    page = (built.folder / "index.md").read_text()
    assert "### thesis: cifar10 at 32 px, centre 8 px" in page
    assert "three best, the three in the middle and the three worst of the first 40 test images" in page
    assert "](grids/thesis-cifar10-at-32-px-centre-8-px.webp)" in page
    assert (built.folder / "sweeps" / "wgan.png").is_file()


def test_a_published_grid_shows_no_pixel_of_photographs_that_are_not_free(
    filled: Callable[[bool], None], home: Path, tables: Path, truth: np.ndarray
) -> None:
    filled(False)
    whole, bare = build(Home(home), home / "whole", tables=tables), build(Home(home), home / "bare", tables=tables, photographs=False)
    columns = [grid_of(each.folder).shape[1] for each in (whole, bare)]
    assert columns[0] - columns[1] == 2 * (96 + 4)  # no input, no truth
    tile = grid_of(bare.folder)[HEADER_PX + 2 : HEADER_PX + 30, SIDE_PX + 2 : SIDE_PX + 90]
    assert np.abs(tile - (6 * 39 + 1)).max() <= 3  # the hole alone, as the first model has filled it
    assert grid_of(whole.folder).shape[0] - grid_of(bare.folder).shape[0] == 9 * (96 + 4) + 40  # no maps of the errors, no scale
    assert "not ours to publish" in (bare.folder / "index.md").read_text()
    assert not list((bare.folder / "sweeps").glob("*.png"))
    assert "no picture grid" in (bare.folder / "sweeps" / "wgan.md").read_text()


def test_a_store_without_the_photographs_gives_the_same_published_grid(
    filled: Callable[..., None], home: Path, filler: Filler, tables: Path, truth: np.ndarray, tmp_path: Path
) -> None:
    filled(False)
    own = build(Home(home), tmp_path / "own", tables=tables, photographs=False)
    (tmp_path / "ring_mean.npz").write_bytes(record(truth, np.full(COUNT, 20, np.float32)).to_npz("f00dfeed"))
    for sweep in read_sweeps(filler.store):
        filler.store.log_file(sweep.row.run_id, tmp_path / "ring_mean.npz", "fills")
    without = build(Home(home), tmp_path / "without", tables=tables)
    assert np.array_equal(grid_of(own.folder), grid_of(without.folder))


def test_free_photographs_are_published_and_two_builds_are_the_same(filled: Callable[[bool], None], home: Path, tables: Path) -> None:
    filled(True)
    first, second = (build(Home(home), home / name, tables=tables, photographs=name == "whole") for name in ("whole", "published"))
    assert contents(first.folder) == contents(second.folder)
    assert any(name.startswith("grids/") for name in contents(first.folder))


def test_a_run_without_fills_or_with_a_damaged_file_is_left_out(filler: Filler, home: Path, tables: Path, tmp_path: Path) -> None:
    parent = filler.sweep("wgan", model="wgan")
    filler.trial("wgan", parent, "final-0", {"test_l2_hole": 1.0}, knobs={})
    run = filler.trial("wgan", parent, "final-1", {"test_l2_hole": 1.0}, knobs={})
    (tmp_path / "final-1.npz").write_bytes(b"PK\x03\x04 cut off")
    filler.store.log_file(run, tmp_path / "final-1.npz", "fills")
    filler.done()
    built = build(Home(home), tables=tables)
    assert not (built.folder / "grids").exists()
    sweep = read_sweeps(filler.store)[0]
    assert [read_fills(filler.store, run) for run in sweep.finals] == [None, None]


def test_rows_of_few_images_are_all_and_equal_errors_keep_their_order() -> None:
    assert chosen_rows(["a", "b", "c"], np.array([2.0, 1.0, 1.0])) == [("", "b"), ("", "c"), ("", "a")]
    names = [f"{number:02d}" for number in range(20)]
    rows = chosen_rows(names, np.zeros(20))
    assert [digest for _, digest in rows] == ["00", "01", "02", "08", "09", "10", "17", "18", "19"]
