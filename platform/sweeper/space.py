"""From a spec's knobs to what is searched: every knob either fixed, one of several values, or a number between bounds."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeper.rooms import Knob, Rooms
from sweeper.spec import SEARCH_ALL, SEED, Range, Setting, Spec

GRID_POINTS = 3


@dataclass(frozen=True)
class KnobSearch:
    """How one knob is searched.

    Attributes:
        values: the values to choose from; empty for a range. A single one is a fixed knob.
        low: least value of a range.
        high: greatest value of a range.
        log: whether the range is searched on a logarithmic scale.
        whole: whether the range holds whole numbers alone.
        points: how many values a grid takes of the range.
        first: the value of the first configuration: the paper's, or the nearest that is searched.
    """

    first: Any
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    points: int = GRID_POINTS

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return len(self.values) == 1

    def holds(self, value: Any) -> bool:
        """Whether the search may come upon a value."""
        if self.values:
            return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values)
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def grid(self) -> tuple[Any, ...]:
        """The values that a grid search takes."""
        if self.values:
            return self.values
        spread = np.geomspace if self.log else np.linspace
        points = [float(point) for point in spread(self.low, self.high, self.points)]
        points[0], points[-1] = self.low, self.high
        return tuple(dict.fromkeys(round(point) for point in points)) if self.whole else tuple(points)


def resolve(spec: Spec, rooms: Rooms) -> dict[str, dict[str, KnobSearch]]:
    """What is searched for every knob of each of a spec's models; see `resolve_knobs`."""
    return {model: resolve_knobs(spec, rooms, model) for model in spec.models}


def resolve_knobs(spec: Spec, rooms: Rooms, model: str | None = None) -> dict[str, KnobSearch]:
    """What is searched for every knob of a model.

    Args:
        spec: a spec whose knobs are known to be allowed.
        rooms: holds the model's documented knobs; a model without any ("module:Class") has just those that the spec names.
        model: one of the spec's; None = the first.

    Returns:
        One entry a knob, in the documented order; the seed last, where the spec repeats configurations.
    """
    model = spec.models[0] if model is None else model
    settings = spec.settings(model)
    named = [*settings, *(name for configuration in spec.configurations for name in configuration)]
    space: dict[str, Knob | None] = dict(rooms.spaces.get(model) or dict.fromkeys(named))
    if SEED in settings:
        space[SEED] = None
    for name in space:
        listed = [configuration[name] for configuration in spec.configurations if name in configuration]
        if listed:
            usual = [] if len(listed) == len(spec.configurations) else [_knob_search(settings.get(name), space[name]).first]
            settings[name] = [*(value for value in listed if value not in usual), *usual]  # the usual value last: `grid` looks there
    return {name: _knob_search(settings.get(name), knob) for name, knob in space.items()}


def _knob_search(setting: Setting | None, knob: Knob | None) -> KnobSearch:
    paper = knob.paper if knob is not None else None
    if setting is None:
        return KnobSearch(first=paper, values=(paper,))
    if setting == SEARCH_ALL and knob is not None:
        documented = getattr(knob, "values", None)
        setting = list(documented) if documented else Range(low=knob.low, high=knob.high)  # type: ignore[attr-defined]
    if isinstance(setting, Range):
        log = bool(getattr(knob, "log", False)) if setting.log is None else setting.log
        whole = getattr(knob, "kind", "float") == "int"
        low, high = (int(setting.low), int(setting.high)) if whole else (setting.low, setting.high)
        first = low if paper is None else min(max(paper, low), high)
        return KnobSearch(first, low=low, high=high, log=log, whole=whole, points=setting.points)
    values = tuple(dict.fromkeys(setting)) if isinstance(setting, list) else (setting,)
    return KnobSearch(first=paper if paper in values else values[0], values=values)


def first_configuration(searched: Mapping[str, KnobSearch]) -> dict[str, Any]:
    """The paper's own configuration, or the nearest one that is searched."""
    return {name: knob.first for name, knob in searched.items()}


def grid(searched: Mapping[str, KnobSearch], configurations: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every configuration of the grid, the first configuration first where the grid has it.

    Args:
        searched: how each knob is searched.
        configurations: a spec's hand-written list; a knob that one entry sets and another does not keeps its usual value in the other.

    Returns:
        The product of all knobs' values; with a list, the product of the knobs that it does not name, for each of its entries.
    """
    listed = {name for configuration in configurations for name in configuration}
    usual = {name: searched[name].values[-1] for name in listed}
    free = {name: knob.grid() for name, knob in searched.items() if name not in listed}
    cells = []
    for configuration in configurations or ({},):
        for values in itertools.product(*free.values()):
            cell = usual | dict(configuration) | dict(zip(free, values, strict=True))
            cells.append({name: cell[name] for name in searched})
    first = first_configuration(searched)
    return sorted(cells, key=lambda cell: cell != first)


def in_words(knob: str, unit: str) -> str:
    """A knob's name as people write it, with its unit where it does not say it: "hole (px)", "base filters", "rate (per step)"."""
    name = (knob.removesuffix("_px") if unit == "px" else knob).replace("_", " ")
    return name if not unit or name.endswith(unit) else f"{name} ({unit})"
