"""Whether the best configurations can be told apart: confidence intervals of their means over seeds.

Source: Student's t interval of a mean of normally distributed values; 95 %.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit  # Student's t quantile; `scipy.stats` takes a second to import

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the values.
        deviation: the sample standard deviation; None of a single value.
        count: how many values.
        low: lower end of the mean's 95 % confidence interval; minus infinity for a single value.
        high: upper end.
    """

    mean: float
    deviation: float | None
    count: int
    low: float
    high: float

    def overlaps(self, other: "Estimate") -> bool:
        """Whether the intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of some seeds' values with its confidence interval.

    Raises:
        ValueError: no value.
    """
    if not values:
        raise ValueError("an estimate needs at least one value, but got none; leave the configuration out")
    mean, count = statistics.fmean(values), len(values)
    if count == 1:
        return Estimate(mean, None, 1, -math.inf, math.inf)
    deviation = statistics.stdev(values)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return Estimate(mean, deviation, count, mean - half, mean + half)


def unseparated(values: Mapping[str, Sequence[float]], mode: str) -> list[str]:
    """Which configurations cannot be told apart from the best one.

    Args:
        values: over seeds, by configuration.
        mode: "min" or "max".

    Returns:
        The best one and those whose intervals overlap its own, the best first; empty where no other one does.
    """
    sign = 1 if mode == "min" else -1
    found = sorted(((sign * (each := estimate(own)).mean, name, each) for name, own in values.items() if own), key=lambda entry: entry[:2])
    if not found:
        return []
    leader = found[0][2]
    near = [name for _, name, each in found[1:] if each.overlaps(leader)]
    return [found[0][1], *near] if near else []
