"""How a picture grid is laid out: a column for each model, two rows for each image, the scale of the errors at the foot.

All sizes are in pixels of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reports.fills import GREY, Fills

TILE_PX, LARGEST_PX = 96, 160
GAP_PX, LINE_PX, SIDE_PX, HEADER_PX, FOOT_PX, BAR_PX = 4, 14, 52, 76, 40, 260
HEAD_LINES = 5
ERROR_COLOURS = "magma"
AROUND = 235


@dataclass(frozen=True)
class Column:
    """A model's or method's fills under its heading."""

    title: str
    model: str
    fills: Fills


def drawn(
    plain: Fills, columns: Sequence[Column], rows: Sequence[tuple[str, str]], errors: Mapping[str, float], *, bare: bool
) -> Image.Image:
    """The picture.

    Args:
        plain: the plain fill's fills, with the truth unless `bare`.
        columns: from left to right.
        rows: place in the order and digest of each image, from top to bottom.
        errors: of each image, by digest.
        bare: show what was filled in alone: no input, no truth, no map of the errors, nothing of what lies around all holes.
    """
    digests = [digest for _, digest in rows]
    holes = plain.hole[plain.places(digests)]
    shown = _around(holes) if bare else slice(None)
    truths = None if bare or plain.truth is None else plain.truth[plain.places(digests)]
    sheet = _Sheet(_tile_px(len(holes[0, shown])), len(rows), len(columns), mapped=truths is not None)
    sheet.rows([(name, f"{errors[digest]:.4f}") for name, digest in rows])
    if truths is not None:
        sheet.column(
            0, "input", [np.where(hole[..., None], GREY, truth).astype(np.uint8) for truth, hole in zip(truths, holes, strict=True)]
        )
        sheet.column(len(columns) + 1, "truth", list(truths))
    made = []
    for place, column in enumerate(columns):
        places = column.fills.places(digests)
        around = [None] * len(rows) if truths is None else list(truths)
        fills = [column.fills.filled(each, truth)[shown, shown] for each, truth in zip(places, around, strict=True)]
        sheet.column(place + (truths is not None), column.title, fills, [f"{psnr:.1f} dB" for psnr in column.fills.psnr[places]])
        made.append(fills)
    if truths is not None:
        wrong = np.abs(np.asarray(made, float) - truths).mean(axis=-1) / 255  # (columns, rows, H, W)
        greatest = float(wrong.max()) or 1.0
        maps = (mpl.colormaps[ERROR_COLOURS](wrong / greatest)[..., :3] * 255).round().astype(np.uint8)
        for place, own in enumerate(maps):
            sheet.maps(place + 1, list(np.where(holes[..., None], own, AROUND).astype(np.uint8)))
        sheet.scale(greatest)
    return sheet.image


class _Sheet:
    """A white sheet with places for tiles."""

    def __init__(self, side: int, rows: int, columns: int, *, mapped: bool) -> None:
        """`mapped`: with input and truth beside the columns, and maps below each row."""
        self._side = side
        self._row_px = side + GAP_PX + LINE_PX + (side + GAP_PX if mapped else 0)
        width = SIDE_PX + (columns + (2 if mapped else 0)) * (side + GAP_PX)
        height = HEADER_PX + rows * self._row_px + (FOOT_PX if mapped else 0)
        self.image = Image.new("RGB", (max(width, SIDE_PX + BAR_PX), height), "white")
        self._draw, self._font = ImageDraw.Draw(self.image), ImageFont.load_default(11)
        self._mapped = mapped

    def rows(self, names: Sequence[tuple[str, str]]) -> None:
        """Each row's name and error, on the left."""
        for row, words in enumerate(names):
            self._draw.text((GAP_PX, self._top(row)), "\n".join(words).strip(), fill="black", font=self._font)
            if self._mapped:
                self._draw.text((GAP_PX, self._top(row) + self._side + LINE_PX), "error", fill="dimgray", font=self._font)

    def column(self, place: int, title: str, pictures: Sequence[np.ndarray], notes: Sequence[str] = ()) -> None:
        """A heading, each row's picture, (H, W, 3) uint8, and what stands under it."""
        self._head(place, title)
        for row, picture in enumerate(pictures):
            self.image.paste(_tile(picture, self._side), (self._left(place), self._top(row)))
        for row, note in enumerate(notes):
            self._draw.text((self._left(place), self._top(row) + self._side), note, fill="dimgray", font=self._font)

    def maps(self, place: int, pictures: Sequence[np.ndarray]) -> None:
        """What lies below a column's pictures."""
        for row, picture in enumerate(pictures):
            self.image.paste(_tile(picture, self._side), (self._left(place), self._top(row) + self._side + LINE_PX))

    def scale(self, greatest: float) -> None:
        """The colours of the errors and what they mean, at the foot."""
        top = self.image.height - FOOT_PX + GAP_PX
        ramp = (mpl.colormaps[ERROR_COLOURS](np.linspace(0, 1, BAR_PX))[None, :, :3] * 255).round().astype(np.uint8)
        self.image.paste(Image.fromarray(np.repeat(ramp, LINE_PX, axis=0)), (SIDE_PX, top))
        self._draw.text((GAP_PX, top), "error", fill="black", font=self._font)
        for anchor, place, value in (("la", 0.0, 0.0), ("ma", 0.5, greatest / 2), ("ra", 1.0, greatest)):
            where = (SIDE_PX + place * BAR_PX, top + LINE_PX + 2)
            self._draw.text(where, f"{value:.2f}", fill="dimgray", font=self._font, anchor=anchor)

    def _left(self, place: int) -> int:
        return SIDE_PX + place * (self._side + GAP_PX)

    def _top(self, row: int) -> int:
        return HEADER_PX + row * self._row_px

    def _head(self, place: int, title: str) -> None:
        """A column's heading on as many lines as fit; words that are too long are cut."""
        lines = [""]
        for word in title.split():
            joined = f"{lines[-1]} {word}".strip()
            if lines[-1] and self._length(joined) > self._side:
                lines.append(word)
            else:
                lines[-1] = joined
        fitting = [line[: max(1, int(len(line) * min(1.0, self._side / (self._length(line) or 1.0))))] for line in lines]
        where = (self._left(place), HEADER_PX - GAP_PX)
        self._draw.multiline_text(where, "\n".join(fitting[:HEAD_LINES]), fill="black", font=self._font, anchor="ld", spacing=2)

    def _length(self, text: str) -> float:
        return self._draw.textlength(text, font=self._font)


def _around(holes: np.ndarray) -> slice:
    """Rows, and columns as well, of the smallest square that starts on the diagonal and holds (N, H, W) holes."""
    places = np.flatnonzero(holes.any(axis=(0, 1)) | holes.any(axis=(0, 2)))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(None)


def _tile_px(image_px: int) -> int:
    """Side of a tile: a whole multiple or a whole fraction of the image's, so that no pixel of a small image is smoothed."""
    return image_px * -(-TILE_PX // image_px) if image_px <= LARGEST_PX else image_px // -(-image_px // LARGEST_PX)


def _tile(picture: np.ndarray, side: int) -> Image.Image:
    """(H, W, 3) uint8 at the tile's size."""
    method = Image.Resampling.NEAREST if side >= len(picture) else Image.Resampling.BOX
    return Image.fromarray(picture).resize((side, side), method)
