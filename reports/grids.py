"""Picture grids: for each document, image set and hole the same test images as input, as every model and classical method fills them, and
as they are; below each row where each fill is wrong.

Which images are shown is not chosen by hand. Of the test images that every run has recorded, by their error (the mean squared error over
the hole, averaged over the models): the three best, the three in the middle, the three worst. The classical fills take no part in that
order unless there is nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reports import partial_mean
from reports.fills import GREY, Fills, read_fills, read_plain, slug
from reports.selection import Cell, Run, Sweep
from reports.table import Table
from sweeper.tracking import Store

CLASSICAL = "classical_fill"
PLAIN_TITLE = "ring mean"
PARTS, EACH = 3, 3
TILE_PX, LARGEST_PX = 96, 160
GAP_PX, LINE_PX, SIDE_PX, HEADER_PX, FOOT_PX, BAR_PX = 4, 14, 52, 60, 40, 260
HEAD_LINES = 4
ERROR_COLOURS = "magma"
AROUND = 235
QUALITY = 80


@dataclass(frozen=True)
class Grid:
    """A grid that was drawn.

    Attributes:
        document: whose models it shows.
        title: images and holes.
        caption: what is seen and how the rows were chosen.
        file: its name in the folder it was written to.
    """

    document: str
    title: str
    caption: str
    file: str


@dataclass(frozen=True)
class _Column:
    """A model's or method's fills under its heading."""

    title: str
    model: str
    fills: Fills


def draw_grids(
    filled: Mapping[str, tuple[Table, Sequence[Cell]]], sweeps: Sequence[Sweep], store: Store, folder: Path, *, photographs: bool = True
) -> list[Grid]:
    """Draws every grid that the store has fills for, and the one figure of pictures that needs no run.

    Args:
        filled: each table with its cells, by name.
        sweeps: of the store.
        store: has the runs' fills.
        folder: where the pictures go; made where there is something to draw.
        photographs: show input and truth of images that may not be published, too.

    Returns:
        The grids by document and title.
    """
    grids: list[Grid] = []
    by_name = {sweep.row.run_id: sweep for sweep in sweeps}
    for document in dict.fromkeys(table.document for table, _ in filled.values()):
        shown = _runs([(table, cells) for table, cells in filled.values() if table.document == document], by_name)
        for plain, sweep, columns in _groups(shown, by_name, store):
            folder.mkdir(parents=True, exist_ok=True)
            title = f"{sweep.tag('sweep.data')} at {sweep.tag('sweep.image_px')} px, {sweep.tag('sweep.mask')}"
            alike = sum((grid.document, grid.title) == (document, title) for grid in grids)  # other test images of the same set
            file = slug(f"{document}-{title}") + (f"-{alike + 1}" if alike else "") + ".webp"
            bare = not (photographs or plain.publishable)
            picture, caption = _grid(plain, columns, bare=bare)
            picture.save(folder / file, quality=QUALITY, method=4)
            grids.append(Grid(document, title, caption, file))
        if document == partial_mean.DOCUMENT:
            grids.append(Grid(document, partial_mean.TITLE, partial_mean.draw_partial_mean(folder), partial_mean.FILE))
    return sorted(grids, key=lambda grid: (grid.document, grid.title, grid.file))


def grids_section(grids: Iterable[Grid], folder: str) -> str:
    """The grids as a section of a page beside whose file `folder` lies; empty where there are none."""
    parts = [f"### {each.document}: {each.title}\n\n{each.caption}\n\n![{each.title}]({folder}/{each.file})\n" for each in grids]
    return "\n".join(["\n## Pictures\n", *parts]) if parts else ""


def _runs(tables: Sequence[tuple[Table, Sequence[Cell]]], sweeps: Mapping[str, Sweep]) -> list[tuple[str, Run]]:
    """The final runs that a document's cells show, one a configuration, under the heading that its row has; where a sweep fills cells with
    trials of its search alone, its best configuration's final run under the model's name."""
    shown: dict[str, tuple[str, Run]] = {}
    searched: dict[str, Sweep] = {}
    for table, cells in tables:
        for cell in cells:
            if not cell.runs:
                continue
            first = cell.runs[0]
            if first.kind == "final":
                title = cell.row.title if isinstance(cell.row.title, str) else f"{table.rows_title} {cell.row.title}"
                shown.setdefault(first.run_id, (title, first))
            elif first.kind != "baseline" and first.sweep.run_id in sweeps:
                searched.setdefault(first.sweep.run_id, sweeps[first.sweep.run_id])
    covered = {run.sweep.run_id for _, run in shown.values()}
    for run_id, sweep in searched.items():
        if run_id not in covered and sweep.finals:
            ranked = sweep.ranked()
            best = next((run for run in sweep.finals if ranked and run.knobs == ranked[0].knobs), sweep.finals[0])
            shown.setdefault(best.run_id, (f"{best.model} ({sweep.row.name})", best))
    return list(shown.values())


def _groups(shown: Iterable[tuple[str, Run]], sweeps: Mapping[str, Sweep], store: Store) -> list[tuple[Fills, Sweep, list[_Column]]]:
    """The runs that have filled the same holes of the same images, with those images and the plain fill's fills."""
    groups: dict[str, tuple[Fills, Sweep, list[_Column]]] = {}
    for title, run in shown:
        fills = read_fills(store, run)
        sweep = sweeps.get(run.sweep.run_id)
        if fills is None or sweep is None or not len(fills.digest):
            continue
        first = str(fills.digest[0])
        if first not in groups:
            plain = read_plain(store, sweep)
            if plain is None or plain.truth is None or first != str(plain.digest[0]):
                continue
            groups[first] = (plain, sweep, [])
        groups[first][2].append(_Column(title, run.model, fills))
    return list(groups.values())


def chosen_rows(digests: Sequence[str], errors: np.ndarray) -> list[tuple[str, str]]:
    """Which images are shown: (place, digest), the best first.

    Args:
        digests: of the images.
        errors: (N,) of each; of equal ones the first in `digests` goes first.
    """
    order = np.argsort(errors, kind="stable")
    if len(order) <= PARTS * EACH:
        return [("", digests[each]) for each in order]
    starts = {"best": 0, "median": (len(order) - EACH) // 2, "worst": len(order) - EACH}
    return [(name, digests[each]) for name, start in starts.items() for each in order[start : start + EACH]]


def _grid(plain: Fills, columns: Sequence[_Column], *, bare: bool) -> tuple[Image.Image, str]:
    """The picture and its caption; `bare`: no pixel of the images, only what the models made."""
    learned = [column for column in columns if column.model != CLASSICAL]
    classical = [column for column in columns if column.model == CLASSICAL]
    if not any(column.title.lower() == PLAIN_TITLE for column in classical):
        classical.insert(0, _Column(PLAIN_TITLE, CLASSICAL, plain))
    every = [*learned, *classical]
    shared = set(map(str, plain.digest)).intersection(*(map(str, column.fills.digest) for column in every))
    digests = [str(digest) for digest in plain.digest if str(digest) in shared]
    judged = learned or classical
    errors = np.mean([column.fills.mse[column.fills.places(digests)] for column in judged], axis=0)
    rows = chosen_rows(digests, errors)
    picture = _drawn(plain, every, rows, dict(zip(digests, errors, strict=True)), bare=bare)
    which = "those of all recorded" if rows[0][0] == "" else "the three best, the three in the middle and the three worst of the first"
    whose = "the models" if learned else "the fills"
    caption = (
        f"{'Only what was filled in' if bare else 'Input, fills and truth'}: {which} {len(digests)} test images by mean squared error over "
        f"the hole, averaged over {whose}; none was chosen by hand. Left: that error. Below each row: how far each fill is from the truth, "
        "the mean absolute difference over the three channels, on one scale for the whole grid; under each fill its PSNR over the hole."
    )
    if bare:
        caption += " Input and truth are left out, since these photographs are not ours to publish."
    return picture, caption


def _drawn(
    plain: Fills, every: Sequence[_Column], rows: Sequence[tuple[str, str]], errors: Mapping[str, float], *, bare: bool
) -> Image.Image:
    """Lays the tiles out: a header, then for each image its row and the row of its errors; the scale of the errors at the foot."""
    digests = [digest for _, digest in rows]
    places = plain.places(digests)
    truths = plain.truth[places] if plain.truth is not None else np.zeros((0,))
    fills = [
        [column.fills.filled(place, truth) for place, truth in zip(column.fills.places(digests), truths, strict=True)] for column in every
    ]
    wrong = [np.abs(np.asarray(column, float) - truths).mean(axis=-1) / 255 for column in fills]  # each (rows, H, W)
    greatest = max(float(each.max()) for each in wrong) or 1.0
    holes = plain.hole[places]
    colours = mpl.colormaps[ERROR_COLOURS]
    columns = [
        (column.title, made, (colours(each / greatest)[..., :3] * 255).round().astype(np.uint8))
        for column, made, each in zip(every, fills, wrong, strict=True)
    ]
    side = _tile_px(plain.image_px)
    width = SIDE_PX + (len(columns) + (0 if bare else 2)) * (side + GAP_PX)
    sheet = Image.new("RGB", (max(width, SIDE_PX + BAR_PX), HEADER_PX + len(rows) * _row_px(side) + FOOT_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    ends = [] if bare else [("input", [_grey(truth, hole) for truth, hole in zip(truths, holes, strict=True)]), ("truth", list(truths))]
    lefts = [SIDE_PX + place * (side + GAP_PX) for place in range(len(columns) + len(ends))]
    for left, (title, pictures) in zip((lefts[0], lefts[-1]), ends, strict=False):
        _head(draw, left, title, side, font)
        for row, picture in enumerate(pictures):
            sheet.paste(_tile(picture, side), (left, HEADER_PX + row * _row_px(side)))
    for place, (left, (title, made, maps)) in enumerate(zip(lefts[0 if bare else 1 :], columns, strict=False)):
        _head(draw, left, title, side, font)
        psnr = every[place].fills.psnr[every[place].fills.places(digests)]
        for row, hole in enumerate(holes):
            top = HEADER_PX + row * _row_px(side)
            shown = np.where(hole[..., None], made[row], GREY).astype(np.uint8) if bare else made[row]
            sheet.paste(_tile(shown, side), (left, top))
            draw.text((left, top + side), f"{psnr[row]:.1f} dB", fill="dimgray", font=font)
            sheet.paste(_tile(np.where(hole[..., None], maps[row], AROUND).astype(np.uint8), side), (left, top + side + LINE_PX))
    for row, (name, digest) in enumerate(rows):
        draw.text((GAP_PX, HEADER_PX + row * _row_px(side)), f"{name}\n{errors[digest]:.4f}".strip(), fill="black", font=font)
        draw.text((GAP_PX, HEADER_PX + row * _row_px(side) + side + LINE_PX), "error", fill="dimgray", font=font)
    _scale(sheet, draw, font, greatest)
    return sheet


def _scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, greatest: float) -> None:
    """The colours of the errors and what they mean, at the foot."""
    top = sheet.height - FOOT_PX + GAP_PX
    ramp = (mpl.colormaps[ERROR_COLOURS](np.linspace(0, 1, BAR_PX))[None, :, :3] * 255).round().astype(np.uint8)
    sheet.paste(Image.fromarray(np.repeat(ramp, LINE_PX, axis=0)), (SIDE_PX, top))
    draw.text((GAP_PX, top), "error", fill="black", font=font)
    for anchor, place, value in (("la", 0.0, 0.0), ("ma", 0.5, greatest / 2), ("ra", 1.0, greatest)):
        draw.text((SIDE_PX + place * BAR_PX, top + LINE_PX + 2), f"{value:.2f}", fill="dimgray", font=font, anchor=anchor)


def _row_px(side: int) -> int:
    """Height of an image's two rows."""
    return 2 * (side + GAP_PX) + LINE_PX


def _tile_px(image_px: int) -> int:
    """Side of a tile: a whole multiple or a whole fraction of the image's, so that no pixel of a small image is smoothed."""
    return image_px * -(-TILE_PX // image_px) if image_px <= LARGEST_PX else image_px // -(-image_px // LARGEST_PX)


def _tile(picture: np.ndarray, side: int) -> Image.Image:
    """(H, W, 3) uint8 at the tile's size."""
    method = Image.Resampling.NEAREST if side >= len(picture) else Image.Resampling.BOX
    return Image.fromarray(picture).resize((side, side), method)


def _grey(truth: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: an image with its hole grey."""
    return np.where(hole[..., None], GREY, truth).astype(np.uint8)


def _head(draw: ImageDraw.ImageDraw, left: int, title: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> None:
    """A column's heading on as many lines as fit; words that are too long are cut."""
    lines = [""]
    for word in title.split():
        joined = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(joined, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = joined
    fitting = [
        line if draw.textlength(line, font=font) <= width else line[: max(1, int(len(line) * width / draw.textlength(line, font=font)))]
        for line in lines
    ]
    draw.multiline_text((left, HEADER_PX - GAP_PX), "\n".join(fitting[:HEAD_LINES]), fill="black", font=font, anchor="ld", spacing=2)
