"""All that a report shows, read from the store before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.curves import Curves
from reports.curves_drawn import Trace
from reports.freshness import Today
from reports.grids import Grid
from reports.layers_built import Comparison
from reports.lineage import Lineage
from reports.minute import Answer, answers
from reports.selection import Cell, Sweep
from reports.stills import Still
from reports.table import Table

GRIDS = "grids"  # the folder of the picture grids in the report's


@dataclass(frozen=True)
class Shots:
    """What a sweep has left to look at: its picture grid as an image file's bytes, None where it has none, and plots of its search."""

    grid: bytes | None
    stills: Sequence[Still]


@dataclass(frozen=True)
class Contents:
    """What a report shows.

    Attributes:
        filled: each table with its cells, by name.
        layers: each layer table with what was built, by name.
        curves: each figure over epochs with what is drawn.
        sweeps: the newest first.
        today: says what is stale.
        grids: the picture grids, which lie in the report's folder under `GRIDS`.
    """

    filled: Mapping[str, tuple[Table, list[Cell]]]
    layers: Mapping[str, Comparison]
    curves: Sequence[tuple[Curves, list[Trace]]]
    sweeps: list[Sweep]
    today: Today
    grids: Sequence[Grid]

    @cached_property
    def answers(self) -> list[Answer]:
        """Which model fills best on each data set."""
        return answers(self.filled, self.sweeps, self.today)

    def lineage(self, cells: Sequence[Cell]) -> Lineage:
        """Where a table's cells come from."""
        return Lineage.of(cells, self.sweeps, self.today)

    @property
    def names(self) -> list[str]:
        """Of all tables and figures."""
        return [*self.filled, *self.layers, *(curves.name for curves, _ in self.curves)]
