"""A table's figure, published beside measured; the same input gives the same bytes, as PNG and as SVG."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.patches import Patch

from reports.markdown import NOT_GIVEN, number
from reports.selection import Cell
from reports.table import Column, Table

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#999999"
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # each further one is looked up for each text
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "reports",
}
SVG_FONTS = ["DejaVu Sans", "Verdana", "Arial"]  # as wide as each other; the reader's machine has one of them
WIDTH_IN, HEIGHT_IN = 7.0, 4.2
BAR_IN, PANEL_IN = 0.24, 0.7
TITLE_IN = 0.06
BAR = 0.4
PNG_DPI = 120
FEWEST_A_PROCESS = 6  # a process takes as long to start as to draw some figures


def draw(table: Table, cells: Sequence[Cell], folder: Path) -> None:
    """Writes NAME.png and NAME.svg into a folder.

    Args:
        table: says which kind of figure.
        cells: of the table.
        folder: is there.
    """
    with styled():
        if table.figure.kind == "curves":
            figure = panels_figure(HEIGHT_IN)
            _curves(figure.subplots(), table, cells)
        else:
            figure = panels_figure(0.6 + len(table.columns) * (PANEL_IN + 2 * BAR_IN * len(table.rows)))
            panels = figure.subplots(len(table.columns), squeeze=False)[:, 0]
            for column, colour, axes in zip(table.columns, _colours(len(table.columns)), panels, strict=True):
                _bars(axes, table, column, [cell for cell in cells if cell.column.key == column.key], colour)
        entitle(figure, f"{table.document}, {table.label}")
        save(figure, table.name, folder)


def draw_side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Calls functions that draw figures, where there are many of them in as many processes as there are cores.

    Args:
        jobs: can be pickled, each with what it draws.
    """
    processes = min(os.cpu_count() or 1, len(jobs) // FEWEST_A_PROCESS)
    if processes < 2:
        for job in jobs:
            job()
        return
    with ProcessPoolExecutor(processes - 1, mp_context=get_context("spawn")) as pool:  # "fork" would copy the store's threads half-way
        begun = [pool.submit(job) for job in jobs]
        for job, other in reversed(list(zip(jobs, begun, strict=True))):  # this process draws too, from the other end
            if other.cancel():
                job()
        for other in begun:
            if not other.cancelled():
                other.result()


@contextmanager
def styled() -> Iterator[None]:
    """The reports' own style for the length of a `with`, whatever a user's matplotlib is set to."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def save(figure: Figure, name: str, folder: Path) -> None:
    """Writes NAME.png and NAME.svg, without dates.

    Both have the layout that is computed once, places of the axes' labels included: to measure all texts takes longer than to draw them.
    The SVG's letters are text, which a reader can search and copy, and which takes a third of the time that their outlines take. The
    canvases are asked themselves, since `Figure.savefig` would draw everything twice.
    """
    figure.set_dpi(PNG_DPI)
    png = FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    _hold_labels(figure, png)
    png.print_png(folder / f"{name}.png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})  # type: ignore[no-untyped-call]
    with mpl.rc_context({"font.sans-serif": SVG_FONTS}):
        FigureCanvasSVG(figure).print_svg(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]


def _hold_labels(figure: Figure, canvas: FigureCanvasAgg) -> None:
    """Keeps the labels of all axes where the layout has them, relative to the axes; each drawing would else measure all ticks anew."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_label_text():
                axis.get_tightbbox(canvas.get_renderer())  # type: ignore[no-untyped-call]  # places the label
                place = list(axis.label.get_position())  # one along the axes, in their own units; one away from them, in pixels
                away = 1 if axis is axes.xaxis else 0
                place[away] = (place[away] - axes.bbox.min[away]) / axes.bbox.size[away]
                axis.set_label_coords(place[0], place[1])


def panels_figure(height_in: float) -> Figure:
    """An empty figure of the reports' width."""
    return Figure(figsize=(WIDTH_IN, height_in), layout=TightLayoutEngine(rect=None))  # type: ignore[arg-type]  # any other is laid out twice


def entitle(figure: Figure, title: str) -> None:
    """Puts a title at the very top, above the first panel's own."""
    figure.suptitle(title, y=1 - TITLE_IN / figure.get_figheight())


def _curves(axes: Axes, table: Table, cells: Sequence[Cell]) -> None:
    """One colour a column; published dashed with open marks, measured solid; the plain fill on the same images dotted."""
    for column, colour in zip(table.columns, _colours(len(table.columns)), strict=True):
        mine = sorted((cell for cell in cells if cell.column.key == column.key), key=lambda cell: float(cell.row.title))
        published = [(float(cell.row.title), cell.published) for cell in mine if cell.published is not None]
        measured = [(float(cell.row.title), cell.value, cell.spread or 0.0) for cell in mine if cell.value is not None]
        if published:
            x, y = zip(*published, strict=True)
            axes.plot(x, y, "o--", color=colour, markerfacecolor="white", label=f"{column.title}, published")
        if measured:
            places, values, spreads = zip(*measured, strict=True)
            axes.errorbar(places, values, yerr=spreads, fmt="o-", color=colour, capsize=3, label=f"{column.title}, measured")
        else:
            axes.plot([], [], "-", color=colour, label=f"{column.title}: not measured")
    for value in sorted({cell.plain for cell in cells if cell.plain is not None}):
        axes.axhline(value, color=GREY, linestyle=":", label=f"ring mean, {value:.{table.decimals}f}")
    ticks = sorted({float(row.title) for row in table.rows})
    if table.figure.x_scale == "log2":
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(table.rows_title)
    axes.set_ylabel(_wrapped(table.unit))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _bars(axes: Axes, table: Table, column: Column, cells: Sequence[Cell], colour: str) -> None:
    """One panel a column, one row a cell: published in grey where the source gives a value, measured in colour."""
    given = any(cell.published is not None for cell in cells)
    measured = [(place + (BAR / 2 if given else 0), cell.value, cell.spread or 0.0) for place, cell in enumerate(cells)]
    _row_of_bars(axes, measured, colour, [number(cell.value, table.decimals) for cell in cells])
    if given:
        published = [(place - BAR / 2, cell.published, 0.0) for place, cell in enumerate(cells)]
        _row_of_bars(axes, published, GREY, [number(cell.published, table.decimals, NOT_GIVEN) for cell in cells])
    axes.set_yticks(range(len(cells)), [str(cell.row.title) for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    values = [value for cell in cells for value in (cell.published, cell.value) if value is not None]
    axes.set_xlim(0, 1.25 * (max(values, default=1.0) or 1.0))
    axes.locator_params(axis="x", nbins=4)  # each bar has its number; a label takes as long to draw as ten bars
    axes.set_title(column.title, loc="left", y=1.0)
    if given:
        swatches = [Patch(color=GREY, label="published"), Patch(color=colour, label="measured")]
        axes.legend(handles=swatches, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _row_of_bars(axes: Axes, bars: Sequence[tuple[float, float | None, float]], colour: str, texts: Sequence[str]) -> None:
    """Bars of one colour, each (place, value, spread), with their numbers; the words alone where there is no value.

    The numbers stay out of the layout, which has room for them in the axes and would else measure each.
    """
    drawn = [(place, value, spread) for place, value, spread in bars if value is not None]
    if drawn:
        places, values, spreads = zip(*drawn, strict=True)
        axes.barh(places, values, BAR, color=colour)
        spread_bars = [(place, value, spread) for place, value, spread in drawn if spread]
        if spread_bars:
            places, values, spreads = zip(*spread_bars, strict=True)
            axes.errorbar(values, places, xerr=spreads, fmt="none", ecolor="black")
    for (place, value, spread), text in zip(bars, texts, strict=True):
        shade = GREY if value is None else "black"
        axes.text((value or 0) + spread, place, f" {text}", va="center", fontsize=8, color=shade).set_in_layout(False)


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _wrapped(text: str, width: int = 42) -> str:
    """Text in lines of at most `width` characters, where words allow."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
