"""What a sweep has left in the store to be looked at: its picture grid, and still plots of its search."""

import io
from dataclasses import dataclass

from PIL import Image

from reports.fills import may_be_shown
from reports.selection import Sweep
from sweeper.errors import TrackingError
from sweeper.rows import Reader

PICTURE = "pictures/best.png"
FIGURES = "figures"
TITLES = {"parallel": "Parallel coordinates", "importance-ped_anova": "Importance of the knobs (PED-ANOVA)", "pareto": "Pareto front"}


@dataclass(frozen=True)
class Still:
    """A plot: its title, a file name of its own among the sweep's, and the SVG file's content."""

    title: str
    file: str
    content: bytes


class Keepsakes:
    """Reads them, where they are there: a sweep without pictures, or whose pictures were moved away, is still worth its numbers."""

    def __init__(self, store: Reader, *, photographs: bool = True) -> None:
        """Reads nothing yet.

        Args:
            store: where they are.
            photographs: whether images may be shown that are not to be published.
        """
        self._store = store
        self._photographs = photographs
        self._pictures: dict[str, bytes | None] = {}
        self._stills: dict[str, list[Still]] = {}

    def picture(self, sweep: Sweep) -> bytes | None:
        """A sweep's picture grid, a PNG file's content; None also where it is damaged. Read once, however many pages show it."""
        run_id = sweep.row.run_id
        if run_id not in self._pictures:
            self._pictures[run_id] = self._read_picture(sweep)
        return self._pictures[run_id]

    def stills(self, sweep: Sweep) -> list[Still]:
        """A sweep's plots: parallel coordinates, importance of the knobs, Pareto front; likewise."""
        run_id = sweep.row.run_id
        if run_id not in self._stills:
            self._stills[run_id] = self._read_stills(sweep)
        return self._stills[run_id]

    def _read_picture(self, sweep: Sweep) -> bytes | None:
        if not (self._photographs or may_be_shown(self._store, sweep)):
            return None
        try:
            content = self._store.fetch(sweep.row.run_id, PICTURE).read_bytes()
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
        except (TrackingError, OSError, SyntaxError):  # the last two are what Pillow says of a damaged file
            return None
        return content

    def _read_stills(self, sweep: Sweep) -> list[Still]:
        try:
            place = self._store.fetch(sweep.row.run_id, FIGURES)
        except TrackingError:  # a sweep of one trial has none
            return []
        found = []
        for name, title in TITLES.items():
            for file in sorted(place.glob(f"{name}*.svg")):
                metric = file.stem.removeprefix(name).removeprefix("-")
                found.append(Still(f"{title}, {metric}" if metric else title, file.name, file.read_bytes()))
        return found
