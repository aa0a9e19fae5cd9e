"""All that a report shows, read from the store before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.curves import Curves
from reports.curves_drawn import Trace
from reports.freshness import Today
from reports.layers_built import Comparison
from reports.lineage import Lineage
from reports.minute import Answer, answers
from reports.selection import Cell, Sweep
from reports.table import Table


@dataclass(frozen=True)
class Picture:
    """A picture grid that lies in the report's folder.

    Attributes:
        title: what it shows, in a few words.
        caption: how to read it.
        file: its path from the report's folder.
    """

    title: str
    caption: str
    file: str


@dataclass(frozen=True)
class Contents:
    """What a report shows.

    Attributes:
        filled: each table with its cells, by name.
        layers: each layer table with what was built, by name.
        curves: each figure over epochs with what is drawn.
        sweeps: the newest first.
        today: says what is stale.
        pictures: picture grids of the report's own.
    """

    filled: Mapping[str, tuple[Table, list[Cell]]]
    layers: Mapping[str, Comparison]
    curves: Sequence[tuple[Curves, list[Trace]]]
    sweeps: list[Sweep]
    today: Today
    pictures: Sequence[Picture] = ()

    @cached_property
    def answers(self) -> list[Answer]:
        """Which model fills best on each data set."""
        return answers(self.filled, self.sweeps, self.today)

    @cached_property
    def drawn(self) -> frozenset[str]:
        """Names of the tables and figures over epochs that have something measured to draw."""
        tables = {name for name, (_, cells) in self.filled.items() if any(cell.value is not None for cell in cells)}
        return frozenset(tables | {curves.name for curves, found in self.curves if found})

    def lineage(self, cells: Sequence[Cell]) -> Lineage:
        """Where a table's cells come from."""
        return Lineage.of(cells, self.sweeps, self.today)

    @property
    def names(self) -> list[str]:
        """Of all tables and figures."""
        return [*self.filled, *self.layers, *(curves.name for curves, _ in self.curves)]
