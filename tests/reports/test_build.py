import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import reports.build
import reports.writing
from reports.build import build
from reports.curves import read_curves
from reports.errors import ReportError
from reports.layers import read_layer_tables
from reports.table import read_tables
from reports.writing import formats_of
from sweeper.home import Home
from tests.reports.conftest import Filler, small_store
from tests.reports.links import dead_links

ROOT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def command(*arguments: str, cwd: Path, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `python -m reports.build`, or a piece of code, with nothing but the packages on the path."""
    what = ["-m", "reports.build"] if code is None else ["-c", code]
    environment = {key: value for key, value in os.environ.items() if key not in ("SWEEP_HOME", "MLFLOW_TRACKING_URI")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    return subprocess.run(
        [sys.executable, *what, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def main_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reports.build", *arguments])
    with pytest.raises(SystemExit) as ended:
        reports.build.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_it_works_from_any_directory_with_nothing_heavy_imported(filler: Filler, home: Path) -> None:
    small_store(filler)
    code = (
        "import sys, reports.build\n"
        "try:\n    reports.build.main()\n"
        "except SystemExit as end:\n    print('code', end.code)\n"
        "print('heavy', [name for name in ('ray', 'torch', 'optuna', 'trainables') if name in sys.modules])"
    )
    done = command(cwd=home, code=code)
    lines = done.stdout.splitlines()
    assert [line for line in lines[:-4] if ": 0 of " not in line] == ["beyond_cnns_1: 2 of 8 cells measured"]
    assert "beyond_cnns_2: 0 of 13 cells measured" in lines
    assert lines[-4:] == [
        "1 sweep",
        f"report: {(home / 'report' / 'index.html').resolve()}",
        "code 0",
        "heavy []",
    ]
    assert done.stderr == ""
    assert (home / "report" / "index.md").is_file()


def test_a_missing_store_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    done = command("--home", str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error an MLflow store must exist, but there is none at sqlite:///")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_two_builds_give_the_same_bytes(filler: Filler, home: Path) -> None:
    small_store(filler)
    first, second = build(Home(home), home / "first"), build(Home(home), home / "second")
    assert contents(first.folder) == contents(second.folder)
    drawn = {name for name, (measured, _) in first.measured.items() if measured}
    assert "beyond_cnns_1" in drawn
    assert set(contents(first.folder)) == {
        "index.html",
        "index.md",
        "report.json",
        "report.tex",
        *(f"tables/{table.name}.{ending}" for table in read_tables() for ending in ("md", "csv", "tex")),
        *(f"tables/{name}.{ending}" for name in drawn for ending in ("png", "svg")),
        *(f"tables/{table.name}.{ending}" for table in read_layer_tables() for ending in ("md", "csv", "tex")),
        *(f"tables/{curves.name}.{ending}" for curves in read_curves() for ending in ("md", "csv")),
        "grids/maggiordomo-figure-3.webp",
        "sweeps/small.md",
        "sweeps/small.png",
    }


def test_figures_have_no_date_and_a_sweeps_picture_is_copied(filler: Filler, home: Path) -> None:
    picture = small_store(filler)
    folder = build(Home(home), only=["beyond_cnns_1"]).folder
    with Image.open(folder / "tables" / "beyond_cnns_1.png") as figure:
        assert figure.width > 800
    assert b"<dc:date>" not in (folder / "tables" / "beyond_cnns_1.svg").read_bytes()
    assert (folder / "sweeps" / "small.png").read_bytes() == picture
    assert "](small.png)" in (folder / "sweeps" / "small.md").read_text()


def test_a_build_takes_the_place_of_an_earlier_one(filler: Filler, home: Path) -> None:
    small_store(filler)
    build(Home(home), only=["beyond_cnns_2"])
    assert not (home / "report" / "tables" / "beyond_cnns_1.md").exists()
    build(Home(home), only=["beyond_cnns_1"])
    assert {path.name for path in (home / "report" / "tables").iterdir()} == {
        f"beyond_cnns_1.{e}" for e in ("md", "csv", "png", "svg", "tex")
    }


def test_an_earlier_report_stays_when_a_build_fails(filler: Filler, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_store(filler)
    before = contents(build(Home(home), only=["beyond_cnns_1"]).folder)
    there = set(os.listdir(home))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reports.writing, "draw", full_disk)
    with pytest.raises(ReportError, match=r"must be written whole, but .*No space left on device"):
        build(Home(home))
    assert contents(home / "report") == before
    assert set(os.listdir(home)) == there


def test_an_earlier_report_stays_when_a_table_file_is_bad(
    filler: Filler, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_store(filler)
    before = contents(build(Home(home), only=["beyond_cnns_1"]).folder)
    (tmp_path / "mine.yaml").write_text("document: mine\nnumbr: 1\n")
    assert main_with(monkeypatch, "--home", str(home), "--tables", str(tmp_path)) == 2
    told = capsys.readouterr()
    assert "mine.yaml, numbr: is no key of a table file; remove it" in told.err
    assert "mine.yaml, number: field required" in told.err
    assert "Traceback" not in told.err
    assert contents(home / "report") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "beyond_cnns_7"], "error --only must name one of animal_faces_discriminator, "),
        (["--format", "md,pdf"], "error --format must be of md, csv, latex, html, but got pdf; name some of these"),
        (["--format", ","], "error --format must be of md, csv, latex, html, but got none; name some of these"),
        (["--out", "."], "must be new, empty or an earlier report"),
        (["--out", "mlflow.db"], "must be new, empty or an earlier report"),
        (["--out", "mlflow.db/report"], "the report's folder must be writable"),
        (["--store", "sqlite:///broken.db"], "error an MLflow store must answer at sqlite:///"),
        (["--store", "sqlite:///other.db"], "error an MLflow store must exist, but there is none at sqlite:///"),
    ],
)
def test_a_users_mistake_is_told_and_changes_nothing(
    home: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "broken.db").write_text("this is text and no database")
    monkeypatch.chdir(home)
    before = contents(home)
    assert main_with(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert contents(home) == before


@pytest.mark.parametrize("damaged", [False, True])
def test_a_picture_that_is_gone_or_damaged_costs_the_picture_alone(damaged: bool, filler: Filler, home: Path) -> None:
    parent = filler.sweep("bare")
    if damaged:
        (home / "best.png").write_bytes(b"no picture")
        filler.store.log_file(parent, home / "best.png", "pictures")
    filler.trial("bare", parent, "search-0000", {"best_l2_hole": 3.0})
    filler.done()
    folder = build(Home(home), only=["beyond_cnns_1"]).folder / "sweeps"
    assert not (folder / "bare.png").exists()
    assert "| 1 | search-0000 | complete | 3 | 9 |" in (folder / "bare.md").read_text()


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["md"], {"index.md", "beyond_cnns_1.md", "beyond_cnns_1.png", "beyond_cnns_1.svg", "small.md", "small.png"}),
        (["csv"], {"beyond_cnns_1.csv"}),
        (["latex,csv"], {"report.tex", "beyond_cnns_1.tex", "beyond_cnns_1.csv", "beyond_cnns_1.png", "beyond_cnns_1.svg"}),
        (["html", "csv"], {"index.html", "beyond_cnns_1.csv", "beyond_cnns_1.png", "beyond_cnns_1.svg"}),
    ],
)
def test_a_format_writes_its_own_files_alone(filler: Filler, home: Path, formats: list[str], files: set[str]) -> None:
    small_store(filler)
    folder = build(Home(home), only=["beyond_cnns_1"], formats=formats_of(formats)).folder
    assert {Path(name).name for name in contents(folder)} == files | {"report.json"}
    assert list(dead_links(folder)) == []
