"""The README's tour, typed as it stands there."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SWEEP = [sys.executable, "-c", "from sweeper.cli.app import command; command()"]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def tour() -> list[list[str]]:
    """The tour's commands, word by word."""
    (block,) = (block for block in blocks("sh") if "sweep extend own" in block)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> dict[str, str]:
    """What each command of the tour printed, typed in a fresh folder with the README's files in it."""
    folder = tmp_path_factory.mktemp("tour")
    for block in blocks("python") + blocks("yaml"):
        named = re.match(r"# (\S+\.(?:py|yaml))\n", block)
        if named:
            (folder / named[1]).write_text(block, encoding="utf-8")
    hidden = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SWEEP_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}", "SWEEP_DATA_DIR": data_dir}
    printed = {"folder": str(folder)}
    for command, *arguments in tour():
        assert command == "sweep"
        done = subprocess.run([*SWEEP, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        printed[" ".join(arguments[:2])] = done.stdout
    return printed


@pytest.mark.tour
@pytest.mark.timeout(900)
def test_the_tour_runs_as_it_stands_in_the_readme(said: dict[str, str]) -> None:
    assert "quickstart is finished" in said["run quickstart"]
    assert "own is finished: 3 complete" in said["run own.yaml"]
    assert "own is finished: 4 complete" in said["extend own"]
    assert "own is finished: 4 complete" in said["resume own"]
    assert "Pareto front" in said["run front.yaml"]
    with (Path(said["folder"]) / "own.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["role"] == "search"]
    assert len(rows) == 4


def test_the_example_of_ones_own_model_is_short() -> None:
    (block,) = (block for block in blocks("python") if block.startswith("# blur_net.py"))
    assert len([line for line in block.splitlines() if line.strip()]) <= 42
