import shutil
import subprocess
from pathlib import Path

import pytest

from reports.latex import escape
from reports.layers import read_layer_tables
from tests.reports.filled import ranked_report

ENGINES = {
    "pdflatex": ["-interaction=nonstopmode", "-halt-on-error"],
    "lualatex": ["-interaction=nonstopmode", "-halt-on-error"],
    "tectonic": ["--only-cached"],
}
SHOWN = ["thesis_ranking", "beyond_cnns_1", "lsgan_3.2", "thesis_3.4"]


@pytest.fixture(scope="module")
def folder(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranked_report(empty_home, tmp_path_factory.mktemp("latex") / "home", SHOWN, ["latex"])


def test_the_document_compiles(folder: Path, tmp_path: Path) -> None:
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        pytest.skip(f"no LaTeX is installed here: {', '.join(ENGINES)}")
    shutil.copytree(folder, tmp_path / "report")
    done = subprocess.run(
        [engine, *ENGINES[engine], "report.tex"], cwd=tmp_path / "report", capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull \\hbox" not in done.stdout
    assert (tmp_path / "report" / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_table_has_published_measured_spread_and_count(folder: Path) -> None:
    ranking = (folder / "tables" / "thesis_ranking.tex").read_text(encoding="utf-8")
    assert "1 & whole-image autoencoder & 17.050 \\ensuremath{\\pm} 0.050 & 3" in ranking
    assert "\\toprule" in ranking
    assert "\\label{tab:thesis-ranking}" in ranking
    curve = (folder / "tables" / "beyond_cnns_1.tex").read_text(encoding="utf-8")
    assert "256 & 7.02 & 2.80 & \\ensuremath{-}4.22 &" in curve
    assert "\\input{tables/beyond_cnns_1.tex}" in (folder / "report.tex").read_text(encoding="utf-8")


def test_a_layer_table_has_the_source_beside_what_is_built(folder: Path) -> None:
    layers = (folder / "tables" / "thesis_3.4.tex").read_text(encoding="utf-8")
    published = next(part for part in read_layer_tables() if part.name == "thesis_3.4").rows
    lines = layers.split("\\midrule\n")[1].split("\n\\bottomrule")[0].splitlines()
    assert [line.split(" & ")[0] for line in lines] == [escape(row.title) for row in published]
    assert all(line.count(" & ") == 11 for line in lines)
    assert lines[0].split(" & ")[1] == escape(published[0].filter)
    assert "\\input{tables/thesis_3.4.tex}" in (folder / "report.tex").read_text(encoding="utf-8")


def test_whatever_a_text_holds_is_printed() -> None:
    assert escape("50 % of a_b & {c} #1 $x^2 ~ \\d") == (
        "50 \\% of a\\_b \\& \\{c\\} \\#1 \\$x\\textasciicircum{}2 \\textasciitilde{} \\textbackslash{}d"
    )
    assert escape("± 3 × é Müller\nnext") == "\\ensuremath{\\pm} 3 \\ensuremath{\\times} \\'{e} M\\\"{u}ller next"
    assert escape("絵") == "[U+7D75]"
