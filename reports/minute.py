"""Which model fills holes best on each data set, by how much, how sure that is, and which command made the number.

The rule:

1. A task is a data set with its image size, its hole and its number of test images. What is compared within it was measured on the test
   split of the same task, after everything was chosen.
2. The entrants of a task are the rows of the tables, each with the runs that `reports.selection` picks. Where no table covers a task, they
   are its finished sweeps: for every model the best configuration on the validation split, from the sweep begun last.
3. They are compared by the metric that most of them have, of several such by the first in `PREFERRED`.
4. Two entrants are separated where the 95 % confidence intervals of their means over seeds have no value in common. A classical fill learns
   nothing and has no seeds: its value counts as exact. What was trained under one seed alone cannot be separated from anything.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from reports.freshness import Today
from reports.glossary import Term, glossary
from reports.lineage import commit_of, epochs
from reports.selection import FINISHED, Cell, Run, Sweep
from reports.table import Table
from sweeper.separation import Estimate, estimate

PREFERRED = ("psnr_hole", "mse_hole", "l2_hole")
CLASSICAL = "classical_fill"
TEST = ("final", "baseline")


@dataclass(frozen=True)
class Task:
    """What is filled."""

    data: str
    image_px: str
    mask: str
    test_images: int

    @property
    def words(self) -> str:
        """In one line."""
        return f"{self.data}, {self.image_px} px, {self.mask} hole, {self.test_images:,} test images"


@dataclass(frozen=True)
class Entrant:
    """One that fills a task's holes.

    Attributes:
        title: the table's row, or the model.
        runs: all of one sweep.
        table: the table's name; empty where it is from none.
    """

    title: str
    runs: tuple[Run, ...]
    table: str = ""

    @property
    def classical(self) -> bool:
        """Whether it fills without having learned anything."""
        return all(run.kind == "baseline" or run.model == CLASSICAL for run in self.runs)

    def values(self, metric: str) -> list[float]:
        """Of each run; empty where one lacks it."""
        found = [value for run in self.runs if (value := run.value(metric)) is not None]
        return found if len(found) == len(self.runs) else []


@dataclass(frozen=True)
class Standing:
    """An entrant's result: the mean over its runs."""

    entrant: Entrant
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the runs."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation; None of a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> Estimate | None:
        """Of the mean; None of a model that was trained under one seed alone."""
        if len(self.values) == 1 and not self.entrant.classical:
            return None
        return estimate(self.values) if len(self.values) > 1 else Estimate(self.mean, None, 1, self.mean, self.mean)

    def apart(self, other: "Standing") -> bool | None:
        """Whether the two are separated; None where that was not measured."""
        mine, its = self.interval, other.interval
        return None if mine is None or its is None else not mine.overlaps(its)


@dataclass(frozen=True)
class Answer:
    """What is known of a task.

    Attributes:
        task: what is filled.
        metric: what is compared.
        standings: the best first.
        ring_mean: what filling with the ring's mean reaches on the same images; None where that was not measured.
        sweep: the one that made the best number.
        stale: why the best number is stale; empty where it is not.
    """

    task: Task
    metric: str
    standings: tuple[Standing, ...]
    ring_mean: float | None
    sweep: Sweep
    stale: str = ""

    @property
    def term(self) -> Term:
        """What the metric means."""
        return glossary()[self.metric]

    @property
    def best(self) -> Standing:
        """The first."""
        return self.standings[0]

    @property
    def second(self) -> Standing | None:
        """The one after it."""
        return self.standings[1] if len(self.standings) > 1 else None

    @property
    def classical(self) -> Standing | None:
        """The best of the classical fills beside the best one itself."""
        return next((standing for standing in self.standings[1:] if standing.entrant.classical), None)

    @property
    def near(self) -> list[str]:
        """Those that are not separated from the best."""
        return [standing.entrant.title for standing in self.standings[1:] if self.best.apart(standing) is False]

    def lead(self, value: float) -> str:
        """By how much the best is ahead of a value: "+0.17 dB", "6 % less error"; the same way round where it is behind."""
        if self.term.unit == "dB":
            return f"{self.best.mean - value:+.2f} dB"
        less = value - self.best.mean
        amount = f"{100 * abs(less) / value:.0f} %" if value else shown(abs(less), self.metric)
        return f"{amount} {'less' if less >= 0 else 'more'} error"

    @property
    def value(self) -> str:
        """The best's value with its spread: "17.05 ± 0.03 dB"."""
        unit = "" if self.term.unit == "1" else f" {self.term.unit}"
        spread = "" if self.best.spread is None else f" ± {self.best.spread:.2g}"
        return f"{shown(self.best.mean, self.metric)}{spread}{unit}"

    @property
    def sharpness(self) -> float | None:
        """Gradient energy of the best fills over the truth's; None where that was not measured."""
        values = self.best.entrant.values("sharpness_hole")
        return statistics.fmean(values) if values else None

    @property
    def seeds(self) -> str:
        """How many runs the value is a mean of."""
        count = len(self.best.values)
        if self.best.entrant.classical:
            return "no training, so no seeds"
        return f"mean of {count} seeds" if count > 1 else "one seed"

    @property
    def sure(self) -> str:
        """How sure the first place is."""
        if self.second is None:
            return "nothing to compare with on these images"
        if self.near:
            return f"not separated from {', '.join(self.near)}: the 95 % intervals of the means overlap"
        if self.best.entrant.classical and self.second.entrant.classical:
            second = self.second.entrant.title
            return f"exact on these images, since neither it nor {second} is trained; other images may rank them otherwise"
        if self.best.apart(self.second):
            return f"separated from {self.second.entrant.title}: the 95 % intervals of the means do not overlap"
        single = [standing.entrant.title for standing in self.standings[:2] if standing.interval is None]
        return f"unknown: one seed alone of {' and of '.join(single)}"

    @property
    def command(self) -> str:
        """What a user types to compute it again."""
        spec = self.sweep.tag("sweep.spec")
        return f"sweep run {spec}" if _shipped(spec) else f"sweep run {spec}.yaml"

    @property
    def made(self) -> str:
        """Sweep, length and code of the best number."""
        length = next((text for run in self.best.entrant.runs if (text := epochs(run))), "")
        trained = "" if self.best.entrant.classical or not length else f", {length} epochs"
        return f"sweep {self.sweep.row.name}{trained}, commit {commit_of(self.sweep) or 'unknown'}"


def answers(filled: Mapping[str, tuple[Table, Sequence[Cell]]], sweeps: Sequence[Sweep], today: Today) -> list[Answer]:
    """What is known of every task that something was measured on, by data set and hole.

    Args:
        filled: each table with its cells, by name.
        sweeps: the newest first.
        today: says what is stale.
    """
    by_id = {sweep.row.run_id: sweep for sweep in sweeps}
    entrants: dict[Task, list[Entrant]] = {}
    for name, (table, cells) in filled.items():
        for cell in cells:
            if cell.runs and cell.runs[0].kind in TEST:
                entrant = Entrant(_title(table, cell), cell.runs, name)
                entrants.setdefault(_task(by_id[cell.runs[0].sweep.run_id]), []).append(entrant)
    covered = set(entrants)
    for sweep in sweeps:
        if sweep.tag("sweep.state") == FINISHED and sweep.finals and _task(sweep) not in covered:
            known = entrants.setdefault(_task(sweep), [])
            titles = {entrant.title for entrant in known}
            known += [entrant for entrant in _of_sweep(sweep) if entrant.title not in titles]
    found = [_answer(task, list(_distinct(those)), by_id, today) for task, those in entrants.items()]
    return sorted((answer for answer in found if answer), key=lambda answer: (answer.task.data, answer.task.mask, -answer.task.test_images))


def shown(value: float, metric: str) -> str:
    """A number with two decimals in dB, else in four digits."""
    return f"{value:.2f}" if glossary()[metric].unit == "dB" else f"{value:.4g}"


def _title(table: Table, cell: Cell) -> str:
    """The row's heading, which a number alone does not tell outside its table."""
    return cell.row.title if isinstance(cell.row.title, str) else f"{table.document} {table.label}, {table.rows_title} {cell.row.title}"


def _task(sweep: Sweep) -> Task:
    return Task(sweep.tag("sweep.data"), sweep.tag("sweep.image_px"), sweep.tag("sweep.mask"), sweep.counts.get("test", 0))


def _of_sweep(sweep: Sweep) -> Iterator[Entrant]:
    """Of every model the best configuration on the validation split; of the classical fills each; and the plain fill."""
    ranked = sweep.ranked()
    for model in dict.fromkeys(run.model for run in sweep.finals):
        best = next((run.knobs for run in ranked if run.model == model), None)
        mine = tuple(run for run in sweep.finals if run.model == model and (best is None or run.knobs == best))
        if mine:
            yield Entrant(model, mine)
    if any(name.startswith("ring_mean_test_") for name in sweep.row.metrics):
        yield Entrant("ring mean", (sweep.baseline,))


def _distinct(entrants: Iterable[Entrant]) -> Iterator[Entrant]:
    """Each set of runs once, under the title that comes first."""
    seen = set()
    for entrant in entrants:
        runs = frozenset((run.run_id, run.kind) for run in entrant.runs)
        if runs not in seen:
            seen.add(runs)
            yield entrant


def _answer(task: Task, entrants: Sequence[Entrant], sweeps: Mapping[str, Sweep], today: Today) -> Answer | None:
    counts = {metric: sum(bool(entrant.values(metric)) for entrant in entrants) for metric in PREFERRED}
    metric = max(PREFERRED, key=lambda name: counts[name])
    if not counts[metric]:
        return None
    sign = -1 if glossary()[metric].mode == "max" else 1
    standings = [Standing(entrant, tuple(values)) for entrant in entrants if (values := entrant.values(metric))]
    standings.sort(key=lambda standing: sign * standing.mean)
    sweep = sweeps[standings[0].entrant.runs[0].sweep.run_id]
    plain = sweep.row.metrics.get(f"ring_mean_test_{metric}", math.nan)
    stale = today.stale_any(standings[0].entrant.runs)
    return Answer(task, metric, tuple(standings), plain if math.isfinite(plain) else None, sweep, stale)


def _shipped(spec: str) -> bool:
    """Whether a spec of that name comes with the project."""
    return bool(spec) and "/" not in spec and files("sweeper").joinpath("specs", f"{spec}.yaml").is_file()
