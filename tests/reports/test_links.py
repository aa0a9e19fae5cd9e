from pathlib import Path

from reports.build import build
from sweeper.home import Home
from tests.reports.filled import ranked_store
from tests.reports.links import dead_links, targets

KINDS = ["thesis_ranking", "beyond_cnns_1", "thesis_3.2", "maggiordomo_figure_4", "maggiordomo_centre_hole"]


def test_every_link_and_picture_of_a_report_leads_somewhere(home: Path) -> None:
    ranked_store(home)
    folder = build(Home(home), only=KINDS).folder
    assert "tables/thesis_ranking.md" in targets((folder / "index.md").read_text())
    assert "curve.png" in targets((folder / "sweeps" / "curve.md").read_text())
    assert "grids/maggiordomo-figure-3.webp" in targets((folder / "index.md").read_text())
    assert list(dead_links(folder)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# One thing\n\n[b](b.md) ![c](c.png) [here](#one-thing) [gone](#other) [out](../d.md) [web](https://x.org)\n"
    )
    (tmp_path / "b.md").write_text("b\n")
    assert list(dead_links(tmp_path)) == ["a.md: c.png", "a.md: #other", "a.md: ../d.md"]
