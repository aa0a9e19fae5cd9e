"""Picture grids: for each document, image set and hole the same test images as input, as every model and classical method fills them, and
as they are; below each row where each fill is wrong. Of photographs that are not free to be published only what was filled in is shown.

Which images are shown is not chosen by hand. Of the test images that every run has recorded, by their error (the mean squared error over
the hole, averaged over the models): the three best, the three in the middle, the three worst. The classical fills take no part in that
order unless there is nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reports import partial_mean
from reports.contents import Picture
from reports.fills import Fills, read_fills, read_plain, slug
from reports.grid_sheet import Column, drawn
from reports.selection import Cell, Run, Sweep
from reports.table import Table
from sweeper.rows import Reader

CLASSICAL = "classical_fill"
PLAIN_TITLE = "ring mean"
PARTS, EACH = 3, 3
QUALITY = 80


def draw_grids(
    filled: Mapping[str, tuple[Table, Sequence[Cell]]], sweeps: Sequence[Sweep], store: Reader, folder: Path, *, photographs: bool = True
) -> list[Picture]:
    """Draws every grid that the store has fills for, and the one figure of pictures that needs no run.

    Args:
        filled: each table with its cells, by name.
        sweeps: of the store.
        store: has the runs' fills.
        folder: where the pictures go; made where there is something to draw.
        photographs: show input and truth of images that may not be published, too.

    Returns:
        The grids by document and title; each file from the report's folder, whose own folder `folder` is.
    """
    grids: list[Picture] = []
    by_name = {sweep.row.run_id: sweep for sweep in sweeps}
    for document in dict.fromkeys(table.document for table, _ in filled.values()):
        shown = _runs([(table, cells) for table, cells in filled.values() if table.document == document], by_name)
        for plain, sweep, columns in _groups(shown, by_name, store):
            folder.mkdir(parents=True, exist_ok=True)
            title = f"{document}: {sweep.tag('sweep.data')} at {sweep.tag('sweep.image_px')} px, {sweep.tag('sweep.mask')}"
            alike = sum(grid.title == title for grid in grids)  # other test images of the same set
            file = slug(title) + (f"-{alike + 1}" if alike else "") + ".webp"
            bare = plain.truth is None or not (photographs or plain.publishable)
            sheet, caption = _grid(plain, columns, bare=bare)
            sheet.save(folder / file, quality=QUALITY, method=4)
            grids.append(Picture(title, caption, f"{folder.name}/{file}"))
        if document == partial_mean.DOCUMENT:
            caption = partial_mean.draw_partial_mean(folder)
            grids.append(Picture(f"{document}: {partial_mean.TITLE}", caption, f"{folder.name}/{partial_mean.FILE}"))
    return sorted(grids, key=lambda grid: (grid.title, grid.file))


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


def _groups(shown: Iterable[tuple[str, Run]], sweeps: Mapping[str, Sweep], store: Reader) -> list[tuple[Fills, Sweep, list[Column]]]:
    """The runs that have filled the same holes of the same images, with those images and the plain fill's fills."""
    groups: dict[str, tuple[Fills, Sweep, list[Column]]] = {}
    for title, run in shown:
        fills = read_fills(store, run)
        sweep = sweeps.get(run.sweep.run_id)
        if fills is None or sweep is None or not len(fills.digest):
            continue
        first = str(fills.digest[0])
        if first not in groups:
            plain = read_plain(store, sweep)
            if plain is None or first != str(plain.digest[0]):
                continue
            groups[first] = (plain, sweep, [])
        groups[first][2].append(Column(title, run.model, fills))
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


def _grid(plain: Fills, columns: Sequence[Column], *, bare: bool) -> tuple[Image.Image, str]:
    """The picture and its caption; `bare`: no pixel of the images, only what the models made."""
    learned = [column for column in columns if column.model != CLASSICAL]
    classical = [column for column in columns if column.model == CLASSICAL]
    if not any(column.title.lower().startswith(PLAIN_TITLE) for column in classical):
        classical.insert(0, Column(PLAIN_TITLE, CLASSICAL, plain))
    every = [*learned, *classical]
    shared = set(map(str, plain.digest)).intersection(*(map(str, column.fills.digest) for column in every))
    digests = [str(digest) for digest in plain.digest if str(digest) in shared]
    judged = learned or classical
    errors = np.mean([column.fills.mse[column.fills.places(digests)] for column in judged], axis=0)
    rows = chosen_rows(digests, errors)
    sheet = drawn(plain, every, rows, dict(zip(digests, errors, strict=True)), bare=bare)
    which = "those of all recorded" if rows[0][0] == "" else "the three best, the three in the middle and the three worst of the first"
    caption = (
        f"{'Only what was filled in' if bare else 'Input, fills and truth'}: {which} {len(digests)} test images by mean squared error over "
        f"the hole, averaged over {'the models' if learned else 'the fills'}; none was chosen by hand. Left: that error. "
        "Under each fill: its PSNR over the hole."
    )
    if bare:
        caption += " Input and truth, and what would tell of them, are left out, since these photographs are not ours to publish."
    else:
        caption += (
            " Below each row: how far each fill is from the truth, the mean absolute difference over the three channels, on one scale for "
            "the whole grid."
        )
    return sheet, caption
