import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.html_page import rendered, sections
from tests.reports.browser import installed, look, running
from tests.reports.filled import ranked_report

SHOWN = ["thesis_ranking", "beyond_cnns_1", "thesis_3.2", "maggiordomo_figure_4"]
TABLE = "document.querySelector('#thesis_ranking table')"
HEADING = f"[...{TABLE}.tHead.rows[1].cells].find(cell => cell.textContent.startsWith('measured'))"
COLUMN = f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[2].dataset.sort)"


@pytest.fixture(scope="module")
def page(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranked_report(empty_home, tmp_path_factory.mktemp("html") / "home", SHOWN, ["html"]) / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    command = installed()
    if command is None:
        pytest.skip("no browser is installed here: chromium or google-chrome")
    with running(command) as address:
        yield address


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_real_browser(page: Path, browser: str, width: int) -> None:
    """At a phone's and at a desktop's width: nothing to scroll sideways, every picture there, nothing to complain of, and it sorts."""
    every = "document.querySelectorAll('details').forEach(part => part.open = true)"
    pictures = "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    sideways = "[document.documentElement.scrollWidth, window.innerWidth]"
    click = f"{HEADING}.querySelector('button').click()"
    sort = f"[{HEADING}.getAttribute('aria-sort'), {COLUMN}]"
    scripts = [sideways, every, sideways, pictures, sort, click, sort, click, sort]
    (closed, _, opened, widths, before, _, up, _, down), complaints = look(browser, page, width, scripts)
    for scroll, window in (closed, opened):
        assert scroll <= window == width
    assert len(widths) == 3  # two figures and the sweep's picture; what is not measured has no figure
    assert min(widths) > 0
    measured = ["16.2", "16.85", "17.05"]
    assert before[0] is None
    assert [f"{float(value):.4g}" for value in before[1][:3]] == measured[::-1]
    assert (up[0], [f"{float(value):.4g}" for value in up[1][:3]]) == ("ascending", measured)
    assert (down[0], [f"{float(value):.4g}" for value in down[1][:3]]) == ("descending", measured[::-1])
    assert set(up[1][3:]) == set(down[1][3:]) == {""}  # what is not measured stays last
    assert complaints == []


@pytest.mark.browser
def test_headings_are_sorted_by_from_the_keyboard_and_a_run_is_found(page: Path, browser: str) -> None:
    focus = f"{HEADING}.querySelector('button').focus(), document.activeElement.tagName"
    follow = "(location.hash = '#thesis_ranking-runs', new Promise(done => setTimeout(() => done(location.hash), 0)))"
    opened = "document.getElementById('thesis_ranking-runs').open"
    (tag, before, _, after), complaints = look(browser, page, 1280, [focus, opened, follow, opened])
    assert (tag, before, after) == ("BUTTON", False, True)
    assert complaints == []


def test_the_page_asks_nobody_for_anything(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "@import" not in text
    assert "url(" not in text


def test_the_first_screen_says_who_fills_best_by_how_much_how_sure_and_with_which_command(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    card = re.sub(r"<[^>]*>|\s+", " ", text[text.index('<article class="card">') : text.index("</article>")])
    card = re.sub(r"\s+", " ", card)
    assert "cifar10_cars, 32 px, random_square 12 px hole, 1,000 test images whole-image autoencoder 17.05 ± 0.05 dB" in card
    assert "over the ring mean +3.15 dB" in card
    assert "over the best classical fill, biharmonic +0.85 dB" in card
    assert "over the second, direct CNN +0.20 dB" in card
    assert "How sure: not separated from direct CNN: the 95 % intervals of the means overlap." in card
    assert "sweep run thesis_image_autoencoder" in card


def test_text_from_the_store_is_text_and_links_to_other_files_are_words() -> None:
    html = rendered("| a |\n| --- |\n| <script>x</script> [CSV](a.csv) [there](https://example.org/) |\n\n![picture](x.png)\n")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<span>CSV</span>" in html
    assert '<a href="https://example.org/">there</a>' in html
    assert "<img" not in html


def test_a_page_falls_into_its_sections() -> None:
    found = sections("# Title\n\nwords\n\n## First\n\n- a\n\n## Second\n\nb\n", without=["Second"])
    assert [(section.title, str(section.text)) for section in found] == [("First", "<ul>\n<li>a</li>\n</ul>\n")]
