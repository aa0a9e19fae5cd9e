"""What a knob is: a name, what it may be, what the paper says, and why its bounds are where they are."""

from dataclasses import dataclass
from typing import Any, Literal

Value = bool | int | float | str


@dataclass(frozen=True)
class Choice:
    """A knob that takes one of several values.

    Attributes:
        values: all that are allowed.
        paper: the source's value; one of `values`.
        unit: "" where it has none.
        source: section or table that gives the value, or "not given in the source".
        reason: why these values.
    """

    values: tuple[Value, ...]
    paper: Value
    unit: str
    source: str
    reason: str

    @property
    def allowed(self) -> str:
        """The values in words."""
        return ", ".join(str(value) for value in self.values)

    def holds(self, value: Any) -> bool:
        """Whether `value` is allowed: equal to one of `values` and of its type, where True, 1, 1.0 and "1" are four things."""
        return any(value == allowed and type(value) is type(allowed) for allowed in self.values)


@dataclass(frozen=True)
class Interval:
    """A number between two bounds, both included.

    Attributes:
        low: least value.
        high: greatest value.
        paper: the source's value; inside the bounds.
        unit: "" where it has none.
        source: section or table that gives the value, or "not given in the source".
        reason: why these bounds.
        kind: "float" or "int".
        log: search on a logarithmic scale.
    """

    low: float
    high: float
    paper: float
    unit: str
    source: str
    reason: str
    kind: Literal["float", "int"] = "float"
    log: bool = False

    @property
    def allowed(self) -> str:
        """The bounds in words."""
        words = f"{self.low:g} to {self.high:g}"
        if self.kind == "int":
            words += ", whole"
        return words + (", log scale" if self.log else "")

    def holds(self, value: Any) -> bool:
        """Whether `value` is a number of the right kind within the bounds."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.kind == "float" or isinstance(value, int))


Knob = Choice | Interval
Space = dict[str, Knob]
