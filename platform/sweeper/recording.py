"""A finished sweep as a recording: the learning curve of every configuration, from the table that `sweep export --steps` writes.

A recording is whole: each trial was trained until it ended by itself. What is searched is told by the values that were recorded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.errors import SpecError, first_line
from sweeper.journal import SPENT
from sweeper.rooms import Knob
from sweeper.space import KnobSearch

SUFFIXES = (".csv", ".parquet")
NEEDED = ("trial", "role", "model", "state", "reason", "step", "epoch", "wall_s")
PARAM = "param."
LIST_VALUES = 5  # a number with more recorded values than these was drawn from a range
LOG_RATIO = 10.0  # and a positive one that spans so much, from a logarithmic one
_WHOLE = ("complete", "collapsed", "diverged")
_REMEDY = "write it with: sweep export NAME --to FILE.parquet --steps"


@dataclass(frozen=True)
class Curve:
    """One configuration as it was trained.

    Attributes:
        trial: its name in the recorded sweep.
        knobs: those that differ between the recorded configurations.
        state: how it ended: "complete", "collapsed" or "diverged".
        values: the objective after each step; NaN where it has none.
        seconds: what each step took.
        epochs: what each step trained.
    """

    trial: str
    knobs: Mapping[str, Any]
    state: str
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    epochs: tuple[float, ...]


@dataclass(frozen=True)
class Recording:
    """All curves of a sweep.

    Attributes:
        name: of the sweep or the file.
        model: what was trained.
        metric: the objective.
        mode: "min" or "max".
        curves: in the order of the trials.
        notes: what the user should hear of it.
    """

    name: str
    model: str
    metric: str
    mode: str
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def steps(self) -> int:
        """Steps of the longest curve."""
        return max(len(curve.values) for curve in self.curves)

    @property
    def epochs(self) -> float:
        """Epochs of all curves together."""
        return sum(sum(curve.epochs) for curve in self.curves)

    @cached_property
    def best(self) -> float:
        """The best value of any step of any curve."""
        values = [value for curve in self.curves for value in curve.values if math.isfinite(value)]
        return min(values) if self.mode == "min" else max(values)

    def target(self, within: float) -> float:
        """The value that is `within` (a share) of the best one."""
        return self.best + within * abs(self.best) * (1 if self.mode == "min" else -1)

    def reaches(self, value: float, target: float) -> bool:
        """Whether a value is as good as a target; NaN is not."""
        return value <= target if self.mode == "min" else value >= target

    def searched(self, documented: Mapping[str, Knob]) -> dict[str, KnobSearch]:
        """How each knob is searched: a list of the recorded values, or the range that they span.

        Args:
            documented: the model's knobs; empty for a user's own model.
        """
        names = self.curves[0].knobs
        return {name: _searched([curve.knobs[name] for curve in self.curves], documented.get(name)) for name in names}


def read_table(file: Path) -> pd.DataFrame:
    """An exported table.

    Raises:
        SpecError: a file that is not there, or is no table.
    """
    if not file.is_file():
        raise SpecError(f"a recording must be a file that exists, but {file} does not; {_REMEDY}")
    try:
        return pd.read_csv(file) if file.suffix.lower() == ".csv" else pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own errors are ValueErrors
        raise SpecError(f"a recording must be a table, but {file} cannot be read ({first_line(error)}); {_REMEDY}") from error


def recorded_model(table: pd.DataFrame, name: str) -> str:
    """The model of a table's search trials.

    Raises:
        SpecError: a table without the needed columns or trials, or with several models.
    """
    missing = [column for column in NEEDED if column not in table]
    if missing:
        raise SpecError(f"{name}: a recording must have the columns {', '.join(NEEDED)}, but lacks {', '.join(missing)}; {_REMEDY}")
    models = sorted(set(table.loc[table["role"] == "search", "model"]))
    if len(models) != 1:
        raise SpecError(f"{name}: a recording must be of one model, but has {', '.join(models) or 'none'}; record them one by one")
    return str(models[0])


def recording(table: pd.DataFrame, name: str, metric: str, mode: str) -> Recording:
    """The recording that a table holds.

    Args:
        table: one row a step, of all trials; final runs are passed over.
        name: of the sweep or the file, for messages.
        metric: the objective.
        mode: "min" or "max".

    Raises:
        SpecError: curves that a scheduler cut off, fewer than two of them, or none with a value.
    """
    model = recorded_model(table, name)
    search = table[table["role"] == "search"]
    if metric not in search:
        raise SpecError(f"{name}: the objective must be recorded, but there is no column {metric!r}; name another with --metric")
    kept = search[search["state"].isin(_WHOLE)]
    notes = _left_out(search[~search["state"].isin(_WHOLE)], name)
    trials = [(str(trial), rows.sort_values("step")) for trial, rows in kept.groupby("trial", sort=True)]
    if len(trials) < 2 or not kept[metric].map(math.isfinite).any():
        raise SpecError(f"{name}: a recording must have two whole curves of {metric} or more, but has {len(trials)}; record more trials")
    columns = [column for column in map(str, kept) if column.startswith(PARAM) and kept[column].nunique(dropna=False) > 1]
    if not columns:
        raise SpecError(f"{name}: the configurations of a recording must differ, but have equal knobs; record a sweep that searches one")
    curves = tuple(_curve(trial, rows, columns, metric) for trial, rows in trials)
    return Recording(name, model, metric, mode, curves, tuple(notes))


def _left_out(rest: pd.DataFrame, name: str) -> list[str]:
    """What is told of trials that are no whole curves.

    Raises:
        SpecError: a scheduler has stopped some of them.
    """
    spent = rest["reason"].fillna("").astype(str).str.endswith(SPENT)
    stopped = rest[(rest["state"] == "stopped") & ~spent]["trial"].nunique()
    if stopped:
        raise SpecError(
            f"{name}: the curves of a recording must be whole, but {stopped} trials were stopped early, and what they would have come to "
            "is not known; record a sweep with scheduler: {kind: none}"
        )
    counts = rest.groupby("state")["trial"].nunique()
    return [f"{count} trials of state {state!r} are left out: their curves are not whole" for state, count in counts.items()]


def _curve(trial: str, rows: pd.DataFrame, columns: list[str], metric: str) -> Curve:
    first = rows.iloc[0]
    return Curve(
        trial,
        {column.removeprefix(PARAM): _plain(first[column]) for column in columns},
        str(first["state"]),
        tuple(map(float, rows[metric])),
        _differences(rows["wall_s"]),
        _differences(rows["epoch"]),
    )


def _differences(totals: "pd.Series[float]") -> tuple[float, ...]:
    """What each step adds to a running total; a step without a total adds nothing."""
    return tuple(map(float, totals.ffill().fillna(0.0).diff().fillna(totals).fillna(0.0).clip(lower=0.0)))


def _plain(value: Any) -> Any:
    """A cell as plain Python has it, True and False as the words that every format holds; a knob that a configuration lacks is ""."""
    value = value.item() if hasattr(value, "item") else value
    value = str(value) if isinstance(value, bool) else value
    return "" if value is None or value != value else value


def _searched(values: list[Any], knob: Knob | None) -> KnobSearch:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    listed = tuple(dict.fromkeys(values))
    if not numbers or getattr(knob, "values", None) or len(listed) <= LIST_VALUES:
        return KnobSearch(first=values[0], values=listed)
    low, high = min(values), max(values)
    log = getattr(knob, "log", low > 0 and high / low >= LOG_RATIO) if low > 0 else False
    whole = all(isinstance(value, int) for value in values)
    return KnobSearch(first=values[0], low=low, high=high, log=bool(log), whole=whole)
