"""The command line: what each command prints, and each mistake as one message with exit code 2 and nothing left behind."""

import importlib
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from sweeper.cli import app
from sweeper.home import Home
from sweeper.journal import Journal
from sweeper.tracking import Store
from tests.sweeper.conftest import Said

ROOT = Path(__file__).resolve().parents[2]
Fields = Callable[..., dict[str, Any]]


@pytest.fixture
def refused(sweep: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that must be refused in an empty folder; returns its one message."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def message(*arguments: str) -> str:
        said = sweep(*arguments)
        assert said.code == 2, said
        assert said.err.startswith("error "), said.err
        assert said.err.count("error ") == 1
        assert "Traceback" not in said.err + said.out
        assert len(said.out.splitlines()) <= 1  # what was asked for, and nothing of a sweep that runs
        assert list(place.iterdir()) == []  # no mlflow.db, no sweeps/
        return said.err.removeprefix("error ")

    return message


@pytest.fixture
def spec_file(tiny: Fields, tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny("mine")))
    return str(path)


def settings(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


# --- mistakes ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model=unet", ["model: must be one of cnn_autoencoder", "but got 'unet'"]),
        ("knobs.bottlneck=256", ["knobs.bottlneck: must be one of bottleneck, base_filters"]),
        ("knobs.dropout=0.9", ["knobs.dropout: must be 0 to 0.8, but got 0.9"]),
        ("data.name=imagenet", ["data.name: must be one of photos, cifar10", "but got 'imagenet'"]),
        ("search.algorithm=cma", ["'grid', 'random'", "'tpe'", "but got 'cma'"]),
        ("scheduler.kind=pbf", ["'none', 'asha'", "but got 'pbf'"]),
        ("objective.metric=accuracy", ["objective.metric: must be one of l2_hole", "but got 'accuracy'"]),
        ("mask.hole_px=40", ["mask.hole_px: must be smaller than data.image_px = 32, but got 40"]),
        ("mask.hole_px=7", ["must be even, but got 7", "use an even hole"]),
        ("budget.trials=0", ["budget.trials", "greater than or equal to 1, but got 0"]),
        ("data.image_px=512", ["photos gives crops of at most 256 px, but got data.image_px=512"]),
        ("budget.trials", ["--set takes key=value, but got 'budget.trials'"]),
        ("data.name=folder:/nowhere", ["a folder of images must exist, but /nowhere does not"]),
        ("data.name=faces", ["a folder of images must exist, but", "faces does not; put images there, or name their folder"]),
    ],
)
@pytest.mark.parametrize("dry", [False, True], ids=["run", "dry run"])
@pytest.mark.usefixtures("local_ray")
def test_a_spec_that_cannot_be_run_is_told(override: str, parts: list[str], dry: bool, refused: Callable[..., str], spec_file: str) -> None:
    message = refused("run", spec_file, *settings(override), *(["--dry-run"] if dry else []))
    assert all(part in message for part in parts), message


def test_every_problem_is_told_at_once(refused: Callable[..., str], spec_file: str) -> None:
    message = refused("run", spec_file, *settings("model=unet", "budget.trials=0", "objective.metric=accuracy"))
    assert message.startswith("the spec has 3 problems; nothing was started\n")
    assert message.count("\n  - ") == 3


def test_an_unknown_spec_is_answered_with_the_shipped_ones(refused: Callable[..., str]) -> None:
    message = refused("run", "nowhere")
    assert "quickstart" in message
    assert "but got 'nowhere'" in message


def test_malformed_yaml_names_its_line(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: mine\nbudget: {trials: 3\nmodel: x\n")
    message = refused("run", str(path))
    assert f"{path}, line 3" in message


def test_a_spec_that_cannot_be_read_is_told(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\xfd")
    assert f"the spec must be readable text, but {path} is not" in refused("run", str(path))


@pytest.mark.usefixtures("local_ray")
def test_a_data_folder_that_is_not_there_is_told(refused: Callable[..., str], spec_file: str, tiny: Fields, tmp_path: Path) -> None:
    fields = tiny("mine", data={"name": "scenes", "data_dir": None, "train": None, "validation": None, "test": None})
    del fields["data"]["data_dir"]
    Path(spec_file).write_text(yaml.safe_dump(fields))
    message = refused("run", spec_file, "--data-dir", str(tmp_path / "missing"))
    assert f"a folder of images must exist, but {tmp_path / 'missing' / 'scenes'} does not" in message


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.mark.usefixtures("local_ray")
def test_a_folder_without_images_is_told(refused: Callable[..., str], spec_file: str, images: Path) -> None:
    (images / "note.txt").write_text("no image")
    message = refused("run", spec_file, *settings(f"data.name=folder:{images}"))
    assert f"but {images} has none; put images there" in message


@pytest.mark.usefixtures("local_ray")
def test_a_folder_of_images_that_all_fail_is_told(refused: Callable[..., str], spec_file: str, images: Path) -> None:
    for number in range(12):
        (images / f"{number:02d}.png").write_bytes(b"no image")
    message = refused("run", spec_file, *settings(f"data.name=folder:{images}"))
    assert f"but all 12 in {images} fail, the first 00.png" in message


@pytest.mark.usefixtures("local_ray")
def test_resources_that_no_node_has_are_told_at_once(refused: Callable[..., str], spec_file: str) -> None:
    for dry in ([], ["--dry-run"]):
        message = refused("run", spec_file, *settings("resources.cpus=64"), *dry)
        assert "asks for 64 CPUs and 0 GPUs where the largest node has 2 and 0" in message


@pytest.mark.usefixtures("local_ray")
def test_a_store_that_cannot_be_opened_is_told(refused: Callable[..., str], spec_file: str, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_text("no database " * 100)
    for command in (["run", spec_file], ["list"], ["show", "mine"], ["ui"]):
        message = refused(*command, "--store", f"sqlite:///{garbage}")
        assert f"an MLflow store must answer at sqlite:///{garbage}, but it does not" in message
    message = refused("run", spec_file, "--store", f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    assert f"the store's folder must exist, but {tmp_path}/nowhere does not" in message


@pytest.mark.parametrize("command", [["list"], ["show", "mine"], ["ui"]])
def test_reading_where_no_sweep_was_run_makes_no_store(command: list[str], refused: Callable[..., str]) -> None:
    assert "an MLflow store must exist, but there is none at sqlite:///" in refused(*command)


def test_resuming_what_is_not_there_lists_what_is(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "but 'mine' does not; there is: none" in refused("resume", "mine")
    for name in ("b", "a"):
        (tmp_path / "sweeps" / name).mkdir(parents=True)
        (tmp_path / "sweeps" / name / "spec.yaml").write_text("")
    assert "but 'mine' does not; there is: a, b; name one of these" in refused("resume", "mine", "--home", str(tmp_path))


def test_an_unknown_model_has_no_space(refused: Callable[..., str]) -> None:
    assert "model must be one of cnn_autoencoder" in refused("space", "unet")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["unet"], "model must be one of cnn_autoencoder"),
        (["cnn_autoencoder", "--set", "bottlneck=256"], "--set must name one of bottleneck, base_filters"),
        (["cnn_autoencoder", "--set", "bottleneck=300"], "bottleneck must be one of 256, 512, 1024, 2048, but got 300"),
        (["cnn_autoencoder", "--set", "dropout=0.9"], "dropout must be 0 to 0.8, but got 0.9"),
        (["cnn_autoencoder", "--set", "bottleneck"], "--set takes key=value, but got 'bottleneck'"),
        (["cnn_autoencoder", "--mask", "strokes"], "fills holes of kind centre, but got mask.kind='strokes'"),
        (["cnn_autoencoder", "--hole-px", "40"], "the hole must be smaller than the image"),
        (["user_models:Paired"], "raised TypeError ("),
    ],
)
def test_layers_that_cannot_be_shown_are_told(arguments: list[str], part: str, refused: Callable[..., str]) -> None:
    assert part in refused("layers", *arguments)


def test_a_call_that_makes_no_sense_shows_how_it_goes(sweep: Callable[..., Said]) -> None:
    for arguments in (["run"], ["nonsense"], ["run", "quickstart", "--sett", "a=1"]):
        said = sweep(*arguments)
        assert said.code == 2
        assert said.err.startswith("Usage: ")
        assert "Traceback" not in said.err


# --- what is there ----------------------------------------------------------------------------------------------------------------


def test_the_console_script_is_the_command_line() -> None:
    module, name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["sweep"].split(":")
    assert getattr(importlib.import_module(module), name) is app.command


def test_models_specs_and_knobs_are_listed(sweep: Callable[..., Said]) -> None:
    from search_spaces import SPACES
    from trainables import MODELS

    said = sweep("models")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == list(MODELS)
    said = sweep("specs")
    assert {"quickstart", "beyond_cnns_table1"} <= {line.split()[0] for line in said.out.splitlines()}
    for model, space in SPACES.items():
        said = sweep("space", model)
        assert said.code == 0
        assert f"knobs of {model}" in said.out
        assert all(name in said.out for name in space)
    assert "Table 1" in sweep("space", "cnn_autoencoder").out


def test_layers_are_listed_by_network_with_their_sum(sweep: Callable[..., Said]) -> None:
    said = sweep("layers", "dcgan", "--set", "bottleneck=256", "--hole-px", "16")
    assert said.code == 0, said
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.out.splitlines() if line.startswith("│")]
    assert rows[0] == ["encoder.0", "Conv2d", "BatchNorm2d, ReLU, Dropout", "3x3", "1", "same", "32x32x32", "928"]
    assert ["decoder.8", "Conv2d", "", "3x3", "1", "same", "16x16x3", f"{9 * 32 * 3 + 3}"] in rows
    totals = [int(row[-1].replace(",", "")) for row in rows if row[0] == "total"]
    assert len(totals) == 2
    assert said.out.startswith(f"dcgan for 32 px images, holes of kind centre: {sum(totals):,} parameters\nnetwork")


def test_a_model_without_networks_has_no_layers(sweep: Callable[..., Said]) -> None:
    assert sweep("layers", "classical_fill").out == "classical_fill has no networks, so it has no layers\n"


@pytest.mark.usefixtures("local_ray")
def test_a_dry_run_tells_configurations_and_cost_and_starts_nothing(
    sweep: Callable[..., Said], spec_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    overrides = settings("knobs.bottleneck=[256, 512, 1024]", "knobs.neck=search", "search.algorithm=grid", "budget.trials=4", "seeds=2")
    said = sweep("run", spec_file, "--dry-run", *overrides)
    assert said.code == 0, said
    assert "the first of 4 configurations of mine" in " ".join(said.out.split())
    rows = [line.split("│")[1:-1] for line in said.out.splitlines() if line.startswith("│")]
    cells = [tuple(cell.strip() for cell in row) for row in rows]
    assert cells == [("512", "fc"), ("256", "fc"), ("256", "conv"), ("512", "conv")]
    assert "the grid has 6 cells, the budget 4 trials: the last cells are left out" in said.out
    assert "data: {'train': 96, 'validation': 32, 'test': 32}, fingerprint" in said.out
    assert "ring-mean fill: l2_hole" in said.out
    assert "parameters" in said.out
    assert "cost: at most" in said.out
    assert "with 2 at once" in said.out
    assert list((tmp_path / "place").iterdir()) == []


def test_a_dry_run_shows_the_seeds_that_repeat_a_configuration(sweep: Callable[..., Said], spec_file: str) -> None:
    overrides = settings("knobs.bottleneck=[256, 512]", "knobs.seed=[7, 8]", "search.algorithm=grid", "budget.trials=4")
    said = sweep("run", spec_file, "--dry-run", *overrides)
    assert said.code == 0, said
    rows = [line.split("│")[1:-1] for line in said.out.splitlines() if line.startswith("│")]
    cells = [tuple(cell.strip() for cell in row) for row in rows]
    assert sorted(cells) == [("256", "7"), ("256", "8"), ("512", "7"), ("512", "8")]


def test_where_the_store_is_away_a_sweep_is_shown_from_its_journal(
    sweep: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place, folder = Home(tmp_path, "http://127.0.0.1:9"), tmp_path / "sweeps" / "mine"
    options = ["--home", str(place.root), "--store", place.store]
    assert sweep("show", "mine", *options).code == 2  # neither
    with Journal(folder) as journal:
        journal.sweep({"sweep.objective": "l2_hole", "sweep.mode": "min"}, {})
        for number, values in enumerate([[3.0, 2.5], [2.0, 2.25], []]):
            journal.start(f"search-{number:04d}", number, "m", {"dropout": number / 10}, 0)
            for step, value in enumerate(values, 1):
                journal.result(f"search-{number:04d}", step, {"l2_hole": value})
            journal.end(f"search-{number:04d}", "complete" if values else "failed", "")
    said = sweep("show", "mine", *options)
    assert said.code == 0, said
    assert "an MLflow store must answer at http://127.0.0.1:9, but it does not" in said.out
    assert "mine, from its journal: 2 complete, 1 failed" in said.out
    assert "best: search-0001 l2_hole 2 at step 1" in said.out
    assert "configuration: dropout=0.1" in said.out
    assert f"journal:      {folder / 'journal.jsonl'}" in said.out
    assert f"next:         sweep sync mine --home {tmp_path} --store http://127.0.0.1:9" in said.out


# --- a whole sweep ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny: Fields) -> Path:
    """A folder with 70 images of which one is broken, and a spec for them."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(70):
        ramp = np.linspace(0, 255, 40)[:, None, None] * rng.random((1, 40, 3))
        Image.fromarray(ramp.astype(np.uint8)).save(folder / "images" / f"{number:03d}.png")
    (folder / "images" / "broken.png").write_bytes((folder / "images" / "000.png").read_bytes()[:60])
    data = {"name": f"folder:{folder / 'images'}", "train": None, "validation": None, "test": None}
    fields = tiny("mine", data=data, knobs={"bottleneck": [256, 512]}, search={"algorithm": "grid"}, budget={"trials": 2, "epochs": 1})
    (folder / "mine.yaml").write_text(yaml.safe_dump(fields | {"seeds": 1, "pictures": 1}))
    return folder


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_from_its_start_to_its_leaderboard(sweep: Callable[..., Said], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test for the whole life of a sweep, since each command needs what the one before has left."""
    monkeypatch.chdir(place)
    said = sweep("run", "mine.yaml")
    assert said.code == 0, said
    assert "sweep mine: cnn_autoencoder on folder:" in said.out
    assert "1 images did not decode and were left out, the first: broken.png" in said.out
    assert "mine is finished: 2 complete" in said.out
    assert "the best by l2_hole" in said.out
    assert "filling with the ring's mean:" in said.out
    assert "test split, measured once: l2_hole" in said.out
    assert f"picture grid: {place / 'sweeps' / 'mine' / 'pictures' / 'best.png'}" in said.out
    assert sorted(path.name for path in place.iterdir()) == ["images", "mine.yaml", "mlartifacts", "mlflow.db", "sweeps"]

    listed = sweep("list")
    assert listed.code == 0
    assert all(word in listed.out for word in ("mine", "finished", "cnn_autoencoder", "l2_hole"))

    shown = sweep("show", "mine")
    assert shown.code == 0
    assert "mine is finished: 2 complete" in shown.out
    (row,) = [row for row in Store(Home(Path()).store_uri).sweeps() if row.name == "mine"]
    assert f"{row.metrics['best_value']:.4g}" in shown.out
    assert row.tags["sweep.best"] in shown.out
    assert "configuration: bottleneck=" in shown.out

    unknown = sweep("show", "yours")
    assert unknown.code == 2
    assert "but 'yours' is not; there is: mine" in unknown.err

    sizes = []
    for options in ((), ("--fills-only",)):
        drawn = sweep("pictures", "mine", "--to", "grid.png", "--images", "2", *options)
        assert (drawn.code, drawn.out.strip()) == (0, f"wrote {place / 'grid.png'}")
        sizes.append(Image.open("grid.png").size)
    assert sizes[0][0] > sizes[1][0]  # neither input nor truth
    sampled = sweep("samples", "mine")
    assert sampled.code == 2
    assert "a model must make whole images to be sampled, but cnn_autoencoder fills holes alone; use 'sweep pictures'" in sampled.err

    resumed = sweep("resume", "mine")
    assert resumed.code == 0
    assert "mine is finished: 2 complete" in resumed.out

    again = sweep("run", "mine.yaml", "--set", "knobs.bottleneck=256", "--set", "budget.trials=1", "--set", "seeds=0")
    assert again.code == 0
    assert "a sweep 'mine' is there already; this one is called 'mine-2'" in again.out
    assert "sweep resume mine)" in again.out
    assert "mine-2 is finished: 1 complete" in again.out

    spec = place / "sweeps" / "mine" / "spec.yaml"
    spec.write_text(spec.read_text().replace("model: cnn_autoencoder", "model: unet"))
    damaged = sweep("resume", "mine")
    assert damaged.code == 2
    assert "but got 'unet'" in damaged.err


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_without_any_value_says_why(
    sweep: Callable[..., Said], spec_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = sweep("run", spec_file, *settings("model=user_models:Fateful", "knobs.fate=refuse"))
    assert said.code == 1
    assert "no trial of mine has a value; the first reason: fate must not be 'refuse', but it is; choose another" in said.out
    assert "Traceback" not in said.out + said.err
    assert os.listdir(tmp_path / "sweeps") == ["mine"]


def test_ctrl_c_names_the_folder_and_the_store_to_go_on_with(
    sweep: Callable[..., Said], spec_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeper.runner.run", interrupted)
    said = sweep("run", spec_file, "--home", f"{tmp_path}/my sweeps", "--store", "http://head:5000")
    assert said.code == 130
    assert f"sweep resume mine --home '{tmp_path}/my sweeps' --store http://head:5000" in said.out
