"""What is missing of the tables or stale, and which sweep computes it.

A cell is missing where no run fills it, or those of a sweep that has not finished; stale where `reports.freshness` says so. A layer table
or a figure over epochs is missing where no finished sweep has a complete trial that meets its conditions, stale where those trials are. A
row that no run can fill (`unfilled`) wants nothing.

The sweep of a cell is one of the table's `sweeps`: the spec that the cell's conditions name, else the first one whose model, data, holes,
counts and knobs meet them for certain, else the first one whose best trial may.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from reports.curves import Curves
from reports.errors import ReportError
from reports.freshness import Today
from reports.layers import LayerTable
from reports.selection import COMPLETE, FINISHED, Cell, Run, Sweep, fill, has_knobs, meets
from reports.table import Filled, Table, Where
from search_spaces import SPACES, Value
from sweeper.spec import SEARCH_ALL, Range, Spec, read_spec

MISSING = "not measured"


@dataclass(frozen=True)
class Lack:
    """Something that a sweep has to compute.

    Attributes:
        table: the table's or the figure's name.
        cell: "row / column"; empty where the whole table or figure is meant.
        reason: `MISSING`, or more on why it is missing, or why it is stale.
        stale: whether there is a number, which is of no use any more.
        sweep: the spec whose sweep computes it; empty where the table's file names none that can.
        fill: how the table is filled, in the words of its file.
    """

    table: str
    cell: str
    reason: str
    stale: bool
    sweep: str
    fill: str

    @property
    def command(self) -> str:
        """What computes it."""
        return f"sweep run {self.sweep}" if self.sweep else self.fill

    @property
    def line(self) -> str:
        """All of it in one line."""
        place = f"{self.table}, {self.cell}" if self.cell else self.table
        return f"{place}: {f'stale, {self.reason}' if self.stale else self.reason}; {self.command}"


def lacks(part: Filled, sweeps: Sequence[Sweep], today: Today, cells: Sequence[Cell] | None = None) -> list[Lack]:
    """What is missing or stale of a table, a layer table or a figure over epochs, in its order.

    Args:
        part: one of `Table`, `LayerTable`, `Curves`.
        sweeps: of the store, the newest first.
        today: says what is stale.
        cells: of a table that was filled already; None = it is filled.
    """
    if isinstance(part, Table):
        return list(_of_cells(part, fill(part, list(sweeps)) if cells is None else cells, today))
    if isinstance(part, LayerTable):
        return _of_whole(part, part.where, sweeps, today)
    assert isinstance(part, Curves)
    return _of_whole(part, part.where, sweeps, today)


def _of_cells(table: Table, cells: Sequence[Cell], today: Today) -> Iterator[Lack]:
    for cell in cells:
        if cell.row.unfilled:
            continue
        stale = today.stale_any(cell.runs)
        reason = stale or _missing(cell)
        if reason:
            where = table.conditions(cell.row, cell.column)
            made = cell.runs[0].sweep.tags.get("sweep.spec", "") if cell.runs else ""
            sweep = next((name for name in table.sweeps if Path(name).stem == made), "") or sweep_for(table, where)
            yield Lack(table.name, f"{cell.row.title} / {cell.column.title}", reason, bool(stale), sweep, table.fill)


def _missing(cell: Cell) -> str:
    """Why a cell is missing; empty where it is not."""
    if cell.value is None:
        return MISSING
    unfinished = dict.fromkeys(run.sweep.name for run in cell.runs if run.sweep.tags.get("sweep.state") != FINISHED)
    return f"{MISSING} to the end, sweep {', '.join(unfinished)} is not finished" if unfinished else ""


def _of_whole(part: Filled, where: Where, sweeps: Sequence[Sweep], today: Today) -> list[Lack]:
    runs = _first(sweeps, where, lambda run: run.kind == "search" and run.state == COMPLETE)
    reason = today.stale_any(runs) if runs else MISSING
    return [Lack(part.name, "", reason, bool(runs), sweep_for(part, where), part.fill)] if reason else []


def _first(sweeps: Sequence[Sweep], where: Where, suits: Callable[[Run], bool]) -> list[Run]:
    """The runs of the newest finished sweep that has any that meet the conditions."""
    for sweep in sweeps:
        if sweep.tag("sweep.state") == FINISHED and meets(sweep, where):
            runs = [run for run in sweep.trials if suits(run) and has_knobs(run, where)]
            if runs:
                return runs
    return []


def sweep_for(part: Filled, where: Where) -> str:
    """The sweep that computes what some conditions ask for; empty where none of the table's can."""
    if where.spec is not None:
        return next((name for name in part.sweeps if Path(name).stem == where.spec), "")
    able = [name for name in part.sweeps if can_meet(spec_of(name), where)]
    return next((name for name in able if _surely(spec_of(name), where)), able[0] if able else "")


@lru_cache(maxsize=256)
def spec_of(name: str) -> Spec:
    """A spec by its name or path, with its fields' types checked.

    Raises:
        SpecError: there is none, or it cannot be read.
        ReportError: it has fields that no spec has, or values of another type; `sweeper.validation` tells the rest before anything runs.
    """
    fields = read_spec(name)
    try:
        return Spec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ReportError(
            f"the sweeps of a table must be specs that can be run, but {name} cannot ({place}: {first['msg']}); mend it, "
            f"sweep run {name} --dry-run tells every problem"
        ) from error


def can_meet(spec: Spec, where: Where) -> bool:
    """Whether a sweep of a spec can have runs that meet some conditions; counts that the spec leaves to the image set are believed."""
    facts = [(where.data, spec.data.name), (where.image_px, spec.data.image_px), (where.mask, spec.mask.described)]
    counts = {"train": where.train_images, "validation": where.validation_images, "test": where.test_images}
    if any(wanted is not None and wanted != given for wanted, given in facts):
        return False
    if any(count is not None and getattr(spec.data, split) not in (None, count) for split, count in counts.items()):
        return False
    if where.runs == "final" and not spec.seeds:
        return False
    models = spec.models if where.model is None else [model for model in spec.models if model == where.model]
    return any(all(_can_have(spec, model, knob, value) for knob, value in where.knobs.items()) for model in models)


def _surely(spec: Spec, where: Where) -> bool:
    """Whether every final run of a sweep that can meet some conditions does, or there is one of each configuration."""
    if where.runs != "final" or spec.finals == "every":
        return True
    free = {knob for model in spec.models for knob, setting in spec.settings(model).items() if isinstance(setting, Range | list)}
    free |= {knob for model in spec.models for knob, setting in spec.settings(model).items() if setting == SEARCH_ALL}
    free |= {knob for entry in spec.configurations for knob in entry}
    return not free & where.knobs.keys() and len(spec.models) == 1


def _can_have(spec: Spec, model: str, knob: str, value: Value) -> bool:
    """Whether a knob takes a value in one of a spec's trials."""
    listed = [entry[knob] for entry in spec.configurations if knob in entry]
    if listed:
        return value in listed
    known = SPACES.get(model, {}).get(knob)
    settings = spec.settings(model)
    if knob not in settings:
        return known is not None and known.paper == value
    setting = settings[knob]
    if isinstance(setting, Range):
        return isinstance(value, int | float) and setting.low <= value <= setting.high
    if isinstance(setting, list):
        return value in setting
    if setting == SEARCH_ALL:
        return known is not None and known.holds(value)
    return bool(setting == value)
