"""Which runs fill a cell.

The rule, in this order:

1. A candidate meets every condition of the cell. A trial must be complete: those that were stopped, diverged, failed or were interrupted
   never fill a cell.
2. All runs of one cell are from one sweep. Finished sweeps go before unfinished ones, which fill in only where no finished one has a
   candidate. Among equals the table's `choose` decides: "newest" takes the one begun last; "best_validation" the one whose candidates
   have the best mean of the column's metric on the validation split (at each run's best step), the newer one where they are equal.
3. Within the sweep: of search trials the one with the best objective on the validation split, by name where they are equal; of final
   runs all, the cell being their mean; of the baseline the only one. A cell over "every" trial is the mean of all that ended, those that
   collapsed or were stopped too, each at its last step.

The test split decides nothing.
"""

import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.glossary import glossary
from reports.table import Column, Row, Table, Where
from search_spaces import Value
from sweeper.rows import Reader, SweepRow

PREFIX = {"search": "best_", "every": "", "final": "test_", "baseline": "ring_mean_test_"}
FINISHED = "finished"
COMPLETE = "complete"
ENDED = (COMPLETE, "stopped", "collapsed")


@dataclass(frozen=True)
class Run:
    """One run of the store.

    Attributes:
        run_id: MLflow's.
        kind: "search", "every" (a search trial read at its last step), "final" or "baseline".
        trial: its name within the sweep; empty for the baseline, which is the sweep's own run.
        state: as the engine left it.
        seed: None for the baseline.
        knobs: its configuration, as text.
        metrics: last values by stored name ("best_l2_hole", "test_l2_hole", ...).
        sweep: the sweep it belongs to.
        model: what it trained; empty for the baseline.
        code: version of its model's code when it began, and of torch; empty where the store does not say.
        started_s: when it began, in seconds since 1970; NaN where the store does not say.
        ended_s: when it ended, likewise.
        artifacts: where the store keeps its files; empty for the baseline.
    """

    run_id: str
    kind: str
    trial: str
    state: str
    seed: int | None
    knobs: Mapping[str, str]
    metrics: Mapping[str, float]
    sweep: SweepRow
    model: str = ""
    code: str = ""
    started_s: float = math.nan
    ended_s: float = math.nan
    artifacts: str = ""

    def value(self, metric: str) -> float | None:
        """What the run says of a metric of the glossary; None where it is missing or infinite, which a store keeps as the largest float."""
        found = self.metrics.get(f"{PREFIX[self.kind]}{metric}")
        return found if found is not None and abs(found) < sys.float_info.max else None

    @property
    def split(self) -> str:
        """The split on which its figures were measured: "validation" for trials of the search, else "test"."""
        return "validation" if self.kind in ("search", "every") else "test"


@dataclass(frozen=True)
class Sweep:
    """A sweep with its runs."""

    row: SweepRow
    trials: tuple[Run, ...]

    def tag(self, name: str) -> str:
        """A tag, empty where it is missing."""
        return self.row.tags.get(name, "")

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split."""
        found: dict[str, int] = json.loads(self.tag("sweep.data_counts") or "{}")
        return found

    @property
    def baseline(self) -> Run:
        """The plain fill's figures, which the sweep's own run holds."""
        return Run(self.row.run_id, "baseline", "", COMPLETE, None, {}, self.row.metrics, self.row)

    def ranked(self) -> list[Run]:
        """Search trials with a finite objective, the best first, by name where they are equal."""
        sign = -1 if self.tag("sweep.mode") == "max" else 1
        objective = self.tag("sweep.objective")
        values = [(run.value(objective), run) for run in self.trials if run.kind == "search"]
        found = [(sign * value, run) for value, run in values if value is not None]
        return [run for _, run in sorted(found, key=lambda entry: (entry[0], entry[1].trial))]

    @property
    def finals(self) -> list[Run]:
        """Complete final runs, by name."""
        return sorted((run for run in self.trials if run.kind == "final" and run.state == COMPLETE), key=lambda run: run.trial)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        row: its row.
        column: its column.
        published: None where the source gives no value.
        value: None where it is not measured.
        spread: sample standard deviation over the runs; None where there are fewer than two.
        runs: what `value` comes from.
    """

    row: Row
    column: Column
    published: float | None
    value: float | None
    spread: float | None
    runs: tuple[Run, ...]

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.value is None or self.published is None else self.value - self.published

    @property
    def values(self) -> list[float]:
        """Of each run; `value` is their mean."""
        return [value for run in self.runs if (value := run.value(self.column.metric)) is not None]

    @property
    def plain(self) -> float | None:
        """What filling with the ring's mean reaches on the same images; None where the sweep did not measure it."""
        return self.runs[0].sweep.metrics.get(f"ring_mean_{self.runs[0].split}_{self.column.metric}") if self.runs else None


def read_sweeps(store: Reader) -> list[Sweep]:
    """All sweeps of a store with their runs, the newest first."""
    sweeps = []
    for row in store.sweeps():
        runs = [_run(record, row) for record in store.trials(row.name).to_dict("records")]
        sweeps.append(Sweep(row, tuple(sorted(runs, key=lambda run: run.trial))))
    return sorted(sweeps, key=lambda sweep: (sweep.row.started_s, sweep.row.run_id), reverse=True)


def fill(table: Table, sweeps: list[Sweep]) -> list[Cell]:
    """Every cell of a table, row by row.

    Args:
        table: a published table.
        sweeps: the newest first.
    """
    return [_cell(table, row, column, sweeps) for row in table.rows for column in table.columns]


def ranking(table: Table, cells: Sequence[Cell]) -> tuple[Table, list[Cell]]:
    """The table and its cells with the rows in the order of their measured values in the column `ranked_by`, the best first.

    Rows that are not measured there come last, in the file's order. A table that is not ranked stays as it is.
    """
    if not table.ranked_by:
        return table, list(cells)
    values = {cell.row.title: cell.value for cell in cells if cell.column.key == table.ranked_by}
    metric = next(column.metric for column in table.columns if column.key == table.ranked_by)

    def badness(row: Row) -> float:
        value = values[row.title]
        return math.inf if value is None else {"min": value, "max": -value, "one": abs(value - 1)}[glossary()[metric].mode]

    rows = tuple(sorted(table.rows, key=badness))
    places = {row.title: place for place, row in enumerate(rows)}
    return table.model_copy(update={"rows": rows}), sorted(cells, key=lambda cell: places[cell.row.title])


def same(text: str | None, value: Value) -> bool:
    """Whether a stored text says a value: "0.50" says 0.5, "True" says True and not 1."""
    if text is None or isinstance(value, bool | str):
        return text == str(value)
    try:
        return float(text) == value
    except ValueError:
        return False


def _cell(table: Table, row: Row, column: Column, sweeps: list[Sweep]) -> Cell:
    published = row.published.get(column.key)
    runs = () if row.unfilled else _choose(table.conditions(row, column), column.metric, table.choose, sweeps)
    values = [value for run in runs if (value := run.value(column.metric)) is not None]
    if not values or len(values) < len(runs):
        return Cell(row, column, published, None, None, ())
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Cell(row, column, published, statistics.fmean(values), spread, tuple(runs))


def _choose(where: Where, metric: str, choose: str, sweeps: list[Sweep]) -> tuple[Run, ...]:
    """The runs of one cell; see the module's docstring."""
    found = [(sweep, runs) for sweep in sweeps if meets(sweep, where) and (runs := _candidates(sweep, where))]
    finished = [entry for entry in found if entry[0].tag("sweep.state") == FINISHED]
    if not found:
        return ()
    best = finished or found
    if choose == "best_validation":
        best = sorted(best, key=_by_validation(metric))
    return tuple(best[0][1])


def _candidates(sweep: Sweep, where: Where) -> list[Run]:
    """The runs that a sweep offers for a cell."""
    if where.runs == "baseline":
        return [sweep.baseline]
    if where.runs == "every":
        ended = [run for run in sweep.trials if run.kind == "search" and run.state in ENDED and has_knobs(run, where)]
        return [dataclasses.replace(run, kind="every") for run in ended]
    if where.runs == "final":
        return [run for run in sweep.finals if has_knobs(run, where)]
    return [run for run in sweep.ranked() if run.state == COMPLETE and has_knobs(run, where)][:1]


def has_knobs(run: Run, where: Where) -> bool:
    """Whether a run is of the conditions' model and has the values of their knobs."""
    return where.model in (None, run.model) and all(same(run.knobs.get(knob), value) for knob, value in where.knobs.items())


def _by_validation(metric: str) -> Callable[[tuple[Sweep, list[Run]]], float]:
    """Sort key: the smaller, the better on validation."""
    mode = glossary()[metric].mode

    def badness(entry: tuple[Sweep, list[Run]]) -> float:
        values = [run.metrics.get(f"best_{metric}", math.nan) for run in entry[1]]
        mean = statistics.fmean(values)
        if not math.isfinite(mean):
            return math.inf
        return {"min": mean, "max": -mean, "one": abs(mean - 1)}[mode]

    return badness


def meets(sweep: Sweep, where: Where) -> bool:
    """Whether a sweep meets the conditions that are not about single runs."""
    tags: dict[str, Value | None] = {
        "sweep.spec": where.spec,
        "sweep.data": where.data,
        "sweep.image_px": where.image_px,
        "sweep.mask": where.mask,
    }
    counts = {"train": where.train_images, "validation": where.validation_images, "test": where.test_images}
    named = where.model is None or where.model in sweep.tag("sweep.model").split(", ")  # several models may share a sweep
    return (
        named
        and all(value is None or same(sweep.tag(tag), value) for tag, value in tags.items())
        and all(count is None or sweep.counts.get(split) == count for split, count in counts.items())
    )


def _run(record: Mapping[Any, Any], sweep: SweepRow) -> Run:
    """A row of `Store.trials`; cells that another trial of the sweep has and this one has not are empty there."""
    texts = {key.removeprefix("param."): value for key, value in record.items() if key.startswith("param.") and isinstance(value, str)}
    metrics = {
        key.removeprefix("metric."): float(value)
        for key, value in record.items()
        if key.startswith("metric.") and isinstance(value, int | float) and not math.isnan(value)
    }
    seed = int(record["seed"])
    model = str(record.get("model") or sweep.tags.get("sweep.model", ""))
    return Run(
        run_id=record["run_id"],
        kind=record["role"],
        trial=record["trial"],
        state=record["state"],
        seed=seed if seed >= 0 else None,
        knobs=texts,
        metrics=metrics,
        sweep=sweep,
        model=model,
        code=record["code"],
        started_s=float(record["started_s"]),
        ended_s=float(record["ended_s"]),
        artifacts=record["artifacts"],
    )
