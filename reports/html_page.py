"""The report as one page of HTML that needs nothing but itself: no network, figures and pictures within it."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup
from PIL import Image

from reports.contents import Contents
from reports.curves_drawn import curves_page, drawn
from reports.index_page import how_to_read
from reports.keepsakes import Keepsakes
from reports.layers_page import layers_page
from reports.selection import Sweep
from reports.separation import separation
from reports.sweep_page import picture_caption, sweep_page, terms
from reports.table_page import table_page
from reports.view import View

WEBP_QUALITY = 82


@dataclass(frozen=True)
class Section:
    """A part of a page that is folded away: its heading and its content."""

    title: str
    text: Markup


@dataclass(frozen=True)
class Folded:
    """A layer table, a figure over epochs or a sweep, as the page shows it.

    Attributes:
        name: of the table or sweep.
        title: its heading.
        caption: what it shows, or how to read its pictures.
        words: how much of it is there.
        there: whether anything is.
        text: all of it, where it is not in sections.
        sections: its parts.
        figure: a data URI; empty where it has none.
        uri: of its pictures, likewise.
        plots: title and data URI of each of its plots.
    """

    name: str
    title: str = ""
    caption: str = ""
    words: str = ""
    there: bool = True
    text: str = ""
    sections: tuple[Section, ...] = ()
    figure: str = ""
    uri: str = ""
    plots: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Texts:
    """What stands under a table: its separation in words, its figure as a data URI, and its folded sections."""

    separation: Markup
    figure: str
    sections: tuple[Section, ...]


def html_page(contents: Contents, views: Sequence[View], folder: Path, keepsakes: Keepsakes) -> str:
    """The page.

    Args:
        contents: what it shows.
        views: of the tables.
        folder: the report's; holds `tables/NAME.svg` of `contents.drawn`, and the files of `contents.pictures`.
        keepsakes: pictures and plots of the sweeps.
    """
    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(
        answers=contents.answers,
        tables=views,
        texts={view.table.name: _texts(view, contents, folder) for view in views},
        measured=sum(view.measured for view in views),
        cells=sum(len(view.shown) for view in views),
        stale=sum(view.stale for view in views),
        layers=_layers(contents),
        curves=_curves(contents, folder),
        pictures=[
            {"title": picture.title, "caption": picture.caption, "uri": picture_uri((folder / picture.file).read_bytes())}
            for picture in contents.pictures
        ],
        sweeps=[_sweep(sweep, keepsakes) for sweep in contents.sweeps],
        glossary=rendered(terms()),
        reading=rendered(how_to_read(contents.filled)),
    )


def rendered(text: str) -> Markup:
    """Markdown as HTML: tables can be sorted and scroll in their own box; links to other files of the report stay as their words."""
    return Markup(_parser().render(text))


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")


def sections(page: str, *, without: Sequence[str] = ()) -> tuple[Section, ...]:
    """The parts of a Markdown page that stand under a "## " heading.

    Args:
        page: in Markdown.
        without: headings that are left out.
    """
    parts = [part.partition("\n") for part in f"\n{page}".split("\n## ")[1:]]
    return tuple(Section(title.strip(), rendered(text)) for title, _, text in parts if title.strip() not in without)


def data_uri(kind: str, content: bytes) -> str:
    """A file within an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(content: bytes) -> str:
    """A picture, compressed as WebP where it is not yet."""
    with Image.open(io.BytesIO(content)) as picture:
        if picture.format != "WEBP":
            packed = io.BytesIO()
            picture.convert("RGB").save(packed, "WEBP", quality=WEBP_QUALITY, method=4)
            content = packed.getvalue()
    return data_uri("image/webp", content)


def _figure(name: str, contents: Contents, folder: Path) -> str:
    """A figure's data URI; empty where nothing is measured to draw."""
    if name not in contents.drawn:
        return ""
    return data_uri("image/svg+xml", (folder / "tables" / f"{name}.svg").read_bytes())


def _texts(view: View, contents: Contents, folder: Path) -> Texts:
    table, cells = contents.filled[view.table.name]
    parts = (*_reasons(view), *sections(table_page(table, cells, view.lineage)))
    return Texts(rendered(separation(table, cells)), _figure(table.name, contents, folder), parts)


def _reasons(view: View) -> Iterator[Section]:
    """Why each verdict is what it is, and why a number is stale; what several cells share stands once."""
    for title, words in (("Why each verdict", "verdict"), ("What is stale", "stale")):
        places: dict[str, list[str]] = {}
        for line in view.lines:
            for heading, cell in zip(view.headings, line.cells, strict=True):
                reason = cell.stale if words == "stale" else f"**{cell.verdict}**: {cell.reason}" if cell.verdict else ""
                if reason:
                    places.setdefault(reason, []).append(f"{line.title}, {heading.column.title}")
        if places:
            yield Section(title, rendered("".join(f"- {'; '.join(those)}: {reason}.\n" for reason, those in places.items())))


def _layers(contents: Contents) -> list[Folded]:
    return [
        Folded(
            name,
            title=f"{comparison.table.document}, {comparison.table.label}",
            caption=comparison.table.caption,
            words=comparison.words,
            text=rendered(layers_page(comparison, contents.today).partition("\n")[2]),
        )
        for name, comparison in contents.layers.items()
    ]


def _curves(contents: Contents, folder: Path) -> list[Folded]:
    return [
        Folded(
            figure.name,
            title=f"{figure.document}, {figure.label}",
            caption=figure.caption,
            words=drawn(figure, found),
            there=bool(found),
            sections=sections(curves_page(figure, found, contents.today)),
            figure=_figure(figure.name, contents, folder),
        )
        for figure, found in contents.curves
    ]


def _sweep(sweep: Sweep, keepsakes: Keepsakes) -> Folded:
    picture = keepsakes.picture(sweep)
    words = [sweep.tag("sweep.state"), sweep.tag("sweep.model"), sweep.tag("sweep.data"), f"{len(sweep.trials)} runs"]
    return Folded(
        sweep.row.name,
        words=", ".join(word for word in words if word),
        text=rendered(sweep_page(sweep, None, pictures=False).partition("\n")[2]),
        caption=picture_caption(sweep),
        uri="" if picture is None else picture_uri(picture),
        plots=tuple((still.title, data_uri("image/svg+xml", still.content)) for still in keepsakes.stills(sweep)),
    )


class _Renderer(RendererHTML):
    """markdown-it's own, but for tables, links and pictures."""

    def table_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="sortable">\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return "</table></div>\n"

    def heading_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return "<h4>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return "</h4>\n"

    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        target = str(tokens[index].attrGet("href") or "")
        return self.renderToken(tokens, index, options, env) if target.startswith(("http://", "https://")) else "<span>"

    def link_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        opening = _opening(tokens, index)
        return "</a>" if str(opening.attrGet("href") or "").startswith(("http://", "https://")) else "</span>"

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return ""


def _opening(tokens: Sequence[Token], closing: int) -> Token:
    """The token that opens the link which another one closes; links do not nest."""
    return next(token for token in reversed(tokens[:closing]) if token.type == "link_open")
