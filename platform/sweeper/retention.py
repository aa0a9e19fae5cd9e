"""Which checkpoints stay on disk: the newest of each trial, a quota for the whole sweep, and at its end those of the best.

Ray Tune would keep the newest of each trial within one attempt at a sweep. This looks at all attempts and all trials together. The newest
whole checkpoint of a trial that has not ended, and of the best trial, is never removed.
"""

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sweeper.home import Home
from sweeper.journal import ENDED, TrialRecord, ranked
from sweeper.spec import Checkpoints

GIB = 2**30
FILE = "checkpoint.pt"


def checkpoints_of(folder: Path, trial: str) -> list[Path]:
    """A trial's checkpoint folders over all attempts, the newest first."""
    return sorted(folder.glob(f"attempt-*/{trial}/checkpoint_*"), key=_age, reverse=True)


def checkpoints_for(home: Home, sweep: str, record: TrialRecord) -> list[Path]:
    """A trial's checkpoint folders, the newest first; of one that was not trained again, those of its source."""
    own = checkpoints_of(home.folder(sweep) / "checkpoints", record.trial)
    if own or record.source is None:
        return own
    return checkpoints_of(home.folder(record.source.sweep) / "checkpoints", record.source.trial)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, as far as can be told without loading it: PyTorch's files are zip archives."""
    return zipfile.is_zipfile(checkpoint / FILE)


class Keeper:
    """Removes checkpoints while a sweep runs and when it is over.

    Thread safety: for the driver's loop alone. Ownership: every folder `attempt-*/TRIAL/checkpoint_*`; a running trial's newest belongs
    to its worker.
    """

    def __init__(self, folder: Path, rules: Checkpoints, metric: str, mode: str, least: int = 1) -> None:
        """Looks at what is there.

        Args:
            folder: holds the attempts.
            rules: what is kept.
            metric: the objective.
            mode: "min" or "max".
            least: how many of a running trial's newest are never removed; others may want to go on from them.
        """
        self._least = least
        self._folder = folder
        self._rules = rules
        self._objective = (metric, mode)
        self._quota = None if rules.quota_gib is None else int(rules.quota_gib * GIB)
        self._sizes: dict[str, dict[Path, int]] = {}
        for trial in {path.parent.name for path in folder.glob("attempt-*/*/checkpoint_*")}:
            self._look(trial)

    def trim(self, trial: str, records: Mapping[str, TrialRecord]) -> None:
        """Brings the sweep's checkpoints below the quota as far as they may go; to be called after every step of a trial.

        Args:
            trial: whose step it was.
            records: every trial by name.
        """
        running = [name for name, record in records.items() if record.state not in ENDED]
        for name in {trial, *running}:
            self._look(name)
        self._thin(trial)
        if self._quota is None:
            return
        excess = sum(size for sizes in self._sizes.values() for size in sizes.values()) - self._quota
        for path in self._victims(records) if excess > 0 else ():
            excess -= self._remove(path)
            if excess <= 0:
                return

    def finish(self, records: Mapping[str, TrialRecord]) -> None:
        """Keeps the best trials' checkpoints and those of the final runs, once a sweep is over."""
        if self._rules.best is None:
            return
        best = {record.trial for record in ranked(records.values(), *self._objective)[: self._rules.best]}
        for name, record in records.items():
            if record.kind == "search" and name not in best:
                for path in checkpoints_of(self._folder, name):
                    self._remove(path)

    def _victims(self, records: Mapping[str, TrialRecord]) -> Iterator[Path]:
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
            yield from sorted(self._sizes.get(name, {}), key=_age)
        for name in best + [record.trial for record in records.values() if record.state not in ENDED]:
            yield from self._older_than(name, self._least)

    def _thin(self, trial: str) -> None:
        """Leaves a trial the newest whole checkpoints that the rules give it, and what is newer than those."""
        for path in self._older_than(trial, max(self._rules.keep, self._least)):
            self._remove(path)

    def _older_than(self, trial: str, count: int) -> list[Path]:
        """What is older than a trial's `count` newest whole checkpoints, the oldest first."""
        paths = sorted(self._sizes.get(trial, {}), key=_age)
        whole = [path for path in paths if is_whole(path)]
        return paths[: paths.index(whole[-count])] if len(whole) >= count else []

    def _look(self, trial: str) -> None:
        self._sizes[trial] = {path: size_of(path) for path in checkpoints_of(self._folder, trial)}

    def _remove(self, path: Path) -> int:
        """Removes a checkpoint, which Ray may be doing too; returns its size."""
        shutil.rmtree(path, ignore_errors=True)
        return self._sizes.get(path.parent.name, {}).pop(path, 0)


def size_of(folder: Path) -> int:
    """Bytes of a folder's files; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _age(path: Path) -> tuple[str, str]:
    return path.parts[-3], path.name
