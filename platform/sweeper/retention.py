"""Which checkpoints stay on disk: the newest of each trial, a quota for the whole sweep, and at its end those of the best.

Ray Tune would keep the newest of each trial within one attempt at a sweep. This looks at all attempts and all trials together. The newest
whole checkpoint of a trial that has not ended, and of the best trial, is never removed.
"""

from collections.abc import Iterator, Mapping

from sweeper.checkpoints import Checkpoint, Place, checkpoints_of, place_of
from sweeper.home import Home
from sweeper.journal import ENDED, TrialRecord, ranked
from sweeper.spec import Checkpoints

GIB = 2**30


def checkpoints_for(home: Home, place: Place, record: TrialRecord) -> list[Checkpoint]:
    """A trial's checkpoints, the newest first; of one that was not trained again, those of its source.

    Args:
        home: where the sweeps live.
        place: where the trial's own sweep keeps its checkpoints.
        record: the trial.
    """
    own = checkpoints_of(place, record.trial)
    if own or record.source is None:
        return own
    return checkpoints_of(place_of(home, record.source.sweep), record.source.trial)


class Keeper:
    """Removes checkpoints while a sweep runs and when it is over.

    Thread safety: for the driver's loop alone. Ownership: every folder `attempt-*/TRIAL/checkpoint_*`; a running trial's newest belongs
    to its worker.

    Attributes:
        place: where the checkpoints lie.
    """

    def __init__(self, place: Place, rules: Checkpoints, metric: str, mode: str, least: int = 1) -> None:
        """Touches nothing.

        Args:
            place: holds the attempts.
            rules: what is kept.
            metric: the objective.
            mode: "min" or "max".
            least: how many of a running trial's newest are never removed; others may want to go on from them.
        """
        self.place = place
        self._least = least
        self._rules = rules
        self._objective = (metric, mode)
        self._quota = None if rules.quota_gib is None else int(rules.quota_gib * GIB)
        self._sizes: dict[str, dict[str, int]] = {}
        self._looked = False

    def trim(self, trial: str, records: Mapping[str, TrialRecord]) -> None:
        """Leaves a trial its newest checkpoints, and brings the sweep's below the quota as far as they may go; after every step of a trial.

        Args:
            trial: whose step it was.
            records: every trial by name.
        """
        if self._quota is None:
            self._sizes = {trial: dict.fromkeys(self.place.names(trial), 0)}
            self._thin(trial)
            return
        running = [name for name, record in records.items() if record.state not in ENDED]
        for name in {trial, *running, *(self.place.trials() if not self._looked else ())}:
            self._sizes[name] = {checkpoint: self.place.size(checkpoint) for checkpoint in self.place.names(name)}
        self._looked = True
        self._thin(trial)
        excess = sum(size for sizes in self._sizes.values() for size in sizes.values()) - self._quota
        for checkpoint in self._victims(records) if excess > 0 else ():
            excess -= self._remove(checkpoint)
            if excess <= 0:
                return

    def finish(self, records: Mapping[str, TrialRecord]) -> None:
        """Keeps the best trials' checkpoints and those of the final runs, once a sweep is over."""
        if self._rules.best is None:
            return
        best = {record.trial for record in ranked(records.values(), *self._objective)[: self._rules.best]}
        self.place.look_again()
        for name, record in records.items():
            if record.kind == "search" and name not in best:
                for checkpoint in self.place.names(name):
                    self._remove(checkpoint)

    def _victims(self, records: Mapping[str, TrialRecord]) -> Iterator[str]:
        """What may be removed, first what is missed least: the worst trials', the final runs', older ones of the best and the running."""
        order = [record.trial for record in ranked(records.values(), *self._objective)]
        ended = [record for record in records.values() if record.state in ENDED]
        place = {name: number for number, name in enumerate(order)}
        worst_first = sorted(
            (record.trial for record in ended if record.kind == "search"), key=lambda name: place.get(name, len(place)), reverse=True
        )
        finals = [record.trial for record in ended if record.kind != "search"]
        best = order[:1]
        for name in [name for name in worst_first if name not in best] + finals:
            yield from sorted(self._sizes.get(name, {}))
        for name in best + [record.trial for record in records.values() if record.state not in ENDED]:
            yield from self._older_than(name, self._least)

    def _thin(self, trial: str) -> None:
        """Leaves a trial the newest whole checkpoints that the rules give it, and what is newer than those."""
        for checkpoint in self._older_than(trial, max(self._rules.keep, self._least)):
            self._remove(checkpoint)

    def _older_than(self, trial: str, count: int) -> list[str]:
        """What is older than a trial's `count` newest whole checkpoints, the oldest first."""
        names = sorted(self._sizes.get(trial, {}))
        whole = [name for name in names if self.place.is_whole(name)]
        return names[: names.index(whole[-count])] if len(whole) >= count else []

    def _remove(self, name: str) -> int:
        """Removes a checkpoint, which may be gone already; returns its size."""
        self.place.remove(name)
        return self._sizes.get(name.split("/")[1], {}).pop(name, 0)
