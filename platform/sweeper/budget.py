"""What a sweep has spent, and whether that is all it may: wall time, hours of accelerators, money.

Spending is counted over all attempts at a sweep: the journal keeps the counts, and a resumed sweep goes on from them. Accelerator-hours
are those that trials held; the price is that of the cluster's nodes while the sweep ran, busy or not, since that is what is billed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.spec import Budget

HOUR_S = 3600.0
OTHER_NODES = "default"
NODES_S = 5.0


@dataclass(frozen=True)
class Spending:
    """What was spent.

    Attributes:
        wall_s: seconds in which trials ran.
        accelerator_h: GPUs that trials held, times the hours for which they held them.
        cost: price of the nodes, in the unit of the spec's prices.
    """

    wall_s: float = 0.0
    accelerator_h: float = 0.0
    cost: float = 0.0


class Meter:
    """Counts what a sweep spends.

    Thread safety: for the driver's loop alone.
    """

    def __init__(
        self,
        budget: Budget,
        gpus: float,
        nodes: Callable[[], Sequence[str]],
        before: Spending = Spending(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins where an earlier attempt stood; nothing counts before `resume`.

        Args:
            budget: the limits and prices.
            gpus: that one trial holds.
            nodes: the types of the nodes that are there now; asked every few seconds.
            before: what earlier attempts spent.
            clock: seconds that only grow.
        """
        self._budget = budget
        self._gpus = gpus
        self._nodes = nodes
        self._clock = clock
        self._spent = before
        self._running = 0
        self._since: float | None = None
        self._price_h, self._priced = 0.0, float("-inf")

    def resume(self) -> None:
        """The clock runs from now on."""
        self._since = self._clock()

    def pause(self) -> None:
        """The clock stands still until `resume`."""
        self.spent()
        self._since = None

    def started(self) -> None:
        """A trial begins to hold its resources."""
        self.spent()
        self._running += 1

    def ended(self) -> None:
        """A trial lets its resources go."""
        self.spent()
        self._running -= 1

    def spent(self) -> Spending:
        """What was spent up to now."""
        if self._since is None:
            return self._spent
        now = self._clock()
        passed_s, self._since = now - self._since, now
        self._spent = replace(
            self._spent,
            wall_s=self._spent.wall_s + passed_s,
            accelerator_h=self._spent.accelerator_h + self._running * self._gpus * passed_s / HOUR_S,
            cost=self._spent.cost + self._price(now) * passed_s / HOUR_S,
        )
        return self._spent

    def reached(self, reserve: Spending = Spending()) -> str:
        """The first limit that is reached, in words; "" while there is none.

        Args:
            reserve: what must be left for what comes after.
        """
        spent, budget = self.spent(), self._budget
        for limit, value, kept, words in (
            (budget.wall_s, spent.wall_s, reserve.wall_s, "the sweep's time was spent"),
            (budget.accelerator_h, spent.accelerator_h, reserve.accelerator_h, "the sweep's accelerator-hours were spent"),
            (budget.cost, spent.cost, reserve.cost, "the sweep's money was spent"),
        ):
            if limit is not None and value + kept >= limit:
                return words
        return ""

    def share(self, trial_s: float, trials: int, at_once: int) -> Spending:
        """What some more trials would take.

        Args:
            trial_s: wall time of one.
            trials: how many.
            at_once: how many at the same time.
        """
        wall_s = trial_s * -(-trials // max(at_once, 1))
        return Spending(wall_s, trials * self._gpus * trial_s / HOUR_S, self._price(self._clock()) * wall_s / HOUR_S)

    def _price(self, now: float) -> float:
        """Price an hour of all nodes together."""
        if self._budget.prices and now - self._priced >= NODES_S:
            self._price_h, self._priced = price_an_hour(self._budget.prices, self._nodes()), now
        return self._price_h


def price_an_hour(prices: Mapping[str, float], nodes: Sequence[str]) -> float:
    """Price of some nodes; one whose type has no price costs that of "default", or nothing."""
    return sum(prices.get(kind, prices.get(OTHER_NODES, 0.0)) for kind in nodes)
