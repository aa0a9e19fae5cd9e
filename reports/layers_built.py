"""A published layer table beside the network of a run: which run, which of its layers stands beside which row, and what differs.

The run is one of the newest finished sweep that meets the table's conditions and has kept its layers; its `layers.json` was read from the
run's model, built with the run's configuration. Rows and layers are put side by side in order, so that as many entries as possible agree; a
row or layer that is left over has no counterpart.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from reports.errors import ReportError
from reports.layers import LayerRow, LayerTable
from reports.selection import FINISHED, Run, Sweep, has_knobs, meets
from reports.table import Part
from sweeper.errors import TrackingError
from sweeper.layers import FILE
from sweeper.rows import Reader


class BuiltLayer(Part):
    """A layer of a run's model; `trainables.layers` says what the fields are."""

    network: str
    name: str
    kind: str
    follows: tuple[str, ...]
    filter: str
    stride: int | None
    padding: str
    output: tuple[int, ...]
    parameters: int

    @property
    def after(self) -> tuple[str, ...]:
        """What follows it, without the number of dimensions: "BatchNorm2d" is "BatchNorm"."""
        return tuple(re.sub(r"[123]d$", "", name) for name in self.follows)

    @property
    def step(self) -> str:
        """The stride as text; empty where it has none."""
        return "" if self.stride is None else str(self.stride)

    @property
    def size(self) -> str:
        """Its output, "32x32x64"."""
        return "x".join(map(str, self.output))


@dataclass(frozen=True)
class Pair:
    """A row of the table beside a layer; one of them may be missing.

    Attributes:
        row: None where the source has none.
        layer: None where nothing is built.
        differences: what differs, in words; empty where everything that the source gives agrees.
    """

    row: LayerRow | None
    layer: BuiltLayer | None
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A table with what was built.

    Attributes:
        table: the published one.
        pairs: in order; without a layer where nothing is built.
        left_out: layers of the part whose kind the source's table does not list.
        layers: all layers of the model.
        run: whose layers they are; None where there is none.
        sweep: the run's.
    """

    table: LayerTable
    pairs: tuple[Pair, ...]
    left_out: tuple[BuiltLayer, ...] = ()
    layers: tuple[BuiltLayer, ...] = ()
    run: Run | None = None
    sweep: Sweep | None = None

    @property
    def agreeing(self) -> int:
        """Rows of the source that agree with what is built."""
        return sum(pair.row is not None and not pair.differences for pair in self.pairs)

    @property
    def words(self) -> str:
        """How many rows agree, in words."""
        return f"{self.agreeing} of {len(self.table.rows)} rows agree" + (surplus(self) if self.run else "; not built yet")


def surplus(comparison: Comparison) -> str:
    """What is built beyond the source's rows, in words; empty where nothing is."""
    count = sum(pair.row is None for pair in comparison.pairs)
    return f"; {count} built layer{'s' if count > 1 else ''} not in the source" if count else ""


def compare(table: LayerTable, sweeps: Sequence[Sweep], store: Reader) -> Comparison:
    """Puts the table beside a run's layers.

    Args:
        table: a published table.
        sweeps: the newest first.
        store: has the runs' files.

    Raises:
        ReportError: a run's `layers.json` that holds no layers.
    """
    for sweep in sweeps:
        if sweep.tag("sweep.state") != FINISHED or not meets(sweep, table.where):
            continue
        run = next((run for run in sweep.trials if has_knobs(run, table.where)), None)
        layers = None if run is None else _layers_of(run, store)
        if layers is not None:
            mine = [layer for layer in layers if table.holds(layer.network, layer.name)]
            shown = [layer for layer in mine if layer.kind not in table.skip]
            left_out = tuple(layer for layer in mine if layer.kind in table.skip)
            return Comparison(table, _pairs(table, shown), left_out, layers, run, sweep)
    return Comparison(table, tuple(Pair(row, None, ("not built yet",)) for row in table.rows))


def _layers_of(run: Run, store: Reader) -> tuple[BuiltLayer, ...] | None:
    """The layers that a run has kept; None where it has none."""
    try:
        text = store.fetch(run.run_id, FILE).read_text(encoding="utf-8")
    except TrackingError:  # a model that gives no table, or a sweep from before runs kept theirs: another run may have it
        return None
    try:
        return TypeAdapter(tuple[BuiltLayer, ...]).validate_python(json.loads(text))
    except (ValidationError, json.JSONDecodeError) as error:
        raise ReportError(
            f"{FILE} of run {run.run_id} must hold the layers of its model, but does not ({error}); log the right file, or delete the run"
        ) from error


def _pairs(table: LayerTable, layers: Sequence[BuiltLayer]) -> tuple[Pair, ...]:
    """Rows and layers side by side in order, with as many agreeing entries as possible."""
    rows = table.rows
    best = [[0] * (len(layers) + 1) for _ in range(len(rows) + 1)]  # of the rows and layers from here on
    for i in reversed(range(len(rows))):
        for j in reversed(range(len(layers))):
            together = best[i + 1][j + 1] + _agreements(table, rows[i], layers[j])
            best[i][j] = max(together, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(rows) and j < len(layers):
        if best[i][j] == best[i + 1][j + 1] + _agreements(table, rows[i], layers[j]):
            pairs.append(Pair(rows[i], layers[j], tuple(_differences(table, rows[i], layers[j]))))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append(_alone(rows[i]))
            i += 1
        else:
            pairs.append(_surplus(layers[j]))
            j += 1
    return (*pairs, *map(_alone, rows[i:]), *map(_surplus, layers[j:]))


def _alone(row: LayerRow) -> Pair:
    return Pair(row, None, ("nothing is built for this row",))


def _surplus(layer: BuiltLayer) -> Pair:
    return Pair(None, layer, ("not in the source",))


def _entries(table: LayerTable, row: LayerRow, layer: BuiltLayer) -> list[tuple[str, str, str, bool]]:
    """What the source gives of a row: its name, the source's entry, what is built, and whether they agree."""
    padding = f"{row.padding} ({table.padding(row)})" if table.padding(row) != row.padding.lower() else row.padding
    shape = row.shape
    while len(shape) > len(layer.output) and shape[-1] == 1:  # the source writes a vector as N x 1
        shape = shape[:-1]
    entries = [
        ("layer", row.layer, layer.kind, row.layer == layer.kind),
        ("filter", row.filter, layer.filter, row.filter == layer.filter),
        ("stride", row.step, layer.step, row.step == layer.step),
        ("padding", padding, layer.padding, table.padding(row) == layer.padding),
        ("output", row.output, layer.size, shape == layer.output),
    ]
    after = ("what follows", " + ".join(row.after) or "nothing", " + ".join(layer.after) or "nothing", row.after == layer.after)
    return [entry for entry in entries if entry[1]] + [after]


def _agreements(table: LayerTable, row: LayerRow, layer: BuiltLayer) -> int:
    return sum(agrees for _, _, _, agrees in _entries(table, row, layer))


def _differences(table: LayerTable, row: LayerRow, layer: BuiltLayer) -> list[str]:
    entries = _entries(table, row, layer)
    return [f"{name}: {given} in the source, {built or 'none'} built" for name, given, built, agrees in entries if not agrees]
