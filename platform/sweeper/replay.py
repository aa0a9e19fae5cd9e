"""What a search would have cost: recorded learning curves, replayed by the engine's own samplers and schedulers on a simulated clock.

A worker trains one configuration at a time; a step takes the seconds that were recorded. Each recorded configuration is begun at most once.
The clock stops at the first step whose value is as good as the target. Where a scheduler has stopped every configuration that comes so far,
what it stopped is trained on to its end, in the order of its beginning, and the clock goes on: the run is counted as lost.

What is not simulated: the start of a worker, of Ray and of a trial, which cost seconds and not minutes.
"""

import heapq
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sweeper.pairs import problems_of_pairs
from sweeper.recording import Curve, Recording
from sweeper.search.recorded import RecordedSearch, Rungs
from sweeper.space import KnobSearch
from sweeper.spec import Budget, Data, Objective, Scheduler, Search, Spec

BASELINE = ("random", Scheduler())
LATE = 0.9  # the share of the runs that is over when `trials_late` have begun


@dataclass(frozen=True)
class Policy:
    """A way to search.

    Attributes:
        algorithm: a key of `sweeper.capabilities.ALGORITHMS`.
        scheduler: when a trial is stopped.
        workers: how many train at once.
    """

    algorithm: str
    scheduler: Scheduler
    workers: int

    @property
    def is_baseline(self) -> bool:
        """Whether it is random search without early stopping."""
        return (self.algorithm, self.scheduler.kind) == (BASELINE[0], BASELINE[1].kind)


@dataclass(frozen=True)
class Run:
    """One replayed search.

    Attributes:
        seconds: on the simulated clock, until the target was reached; without a target until everything was over.
        trials: begun until then.
        epochs: trained until then, in whole steps.
        lost: whether the scheduler had stopped every configuration that reaches the target.
    """

    seconds: float
    trials: int
    epochs: float
    lost: bool = False


@dataclass(frozen=True)
class Outcome:
    """All replays of one policy, one a seed.

    Attributes:
        policy: what was replayed.
        seconds: the mean over the seeds.
        spread: least and greatest.
        error: the mean's standard error; 0 for a single run.
        trials: begun, the mean.
        trials_late: what nine in ten runs needed at the most.
        epochs: trained, the mean.
        lost: how many runs were lost; see `Run`.
        seeds: how many runs there are.
        of_random: mean seconds over those of random search without early stopping, on as many workers.
        of_grid: mean seconds over those that training every configuration to its end takes, on as many workers.
    """

    policy: Policy
    seconds: float
    spread: tuple[float, float]
    error: float
    trials: float
    trials_late: int
    epochs: float
    lost: int
    seeds: int
    of_random: float
    of_grid: float


def replay(recording: Recording, searched: Mapping[str, KnobSearch], policy: Policy, seed: int, target: float | None) -> Run:
    """One search over recorded curves.

    Args:
        recording: the curves.
        searched: how each knob is searched; holds every recorded configuration.
        policy: how to search.
        seed: of the search.
        target: the value to come to, one that a curve reaches; None = train whatever the policy would.
    """
    spec = _spec(recording, policy, seed)
    search = RecordedSearch(spec, searched, [curve.knobs for curve in recording.curves], recording.mode)
    return _Clock(recording, search, Rungs(spec, recording.mode, recording.steps), policy.workers, target).run()


def outcomes(
    recording: Recording, searched: Mapping[str, KnobSearch], policies: Iterable[Policy], seeds: int, within: float
) -> Iterator[Outcome]:
    """Replays policies under the seeds 0, 1, ...; each outcome as soon as it is there.

    Args:
        recording: the curves.
        searched: how each knob is searched.
        policies: in the order of the answers; random search without early stopping is replayed beside them in any case.
        seeds: how many for each.
        within: how near the best recorded value the target is, as a share of it.
    """
    target = recording.target(within)
    randoms: dict[int, list[Run]] = {}
    for policy in policies:
        workers = policy.workers
        if workers not in randoms:
            baseline = Policy(*BASELINE, workers)
            randoms[workers] = [replay(recording, searched, baseline, seed, target) for seed in range(seeds)]
        runs = randoms[workers]
        if not policy.is_baseline:
            runs = [replay(recording, searched, policy, seed, target) for seed in range(seeds)]
        whole = replay(recording, searched, Policy("grid", Scheduler(), workers), 0, None)
        yield _outcome(policy, runs, statistics.mean(run.seconds for run in randoms[workers]), whole.seconds)


def problems(recording: Recording, policy: Policy) -> list[str]:
    """Why an algorithm and a scheduler cannot be replayed together; empty where they can."""
    spec = _spec(recording, policy, 0)
    return list(problems_of_pairs({"search": spec.search, "scheduler": spec.scheduler, "objective": spec.objective, "budget": spec.budget}))


def _spec(recording: Recording, policy: Policy, seed: int) -> Spec:
    """The sweep that is replayed, as far as samplers and schedulers look at it."""
    return Spec(
        name="replay",
        model=recording.model,
        data=Data(name="recorded"),
        search=Search(algorithm=policy.algorithm, seed=seed),
        scheduler=policy.scheduler,
        objective=Objective(metric=recording.metric),
        budget=Budget(trials=len(recording.curves), epochs=recording.steps),
    )


def _outcome(policy: Policy, runs: list[Run], random_s: float, grid_s: float) -> Outcome:
    seconds = [run.seconds for run in runs]
    mean_s = statistics.mean(seconds)
    return Outcome(
        policy,
        seconds=mean_s,
        spread=(min(seconds), max(seconds)),
        error=statistics.stdev(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else 0.0,
        trials=statistics.mean(run.trials for run in runs),
        trials_late=sorted(run.trials for run in runs)[math.ceil(LATE * len(runs)) - 1],
        epochs=statistics.mean(run.epochs for run in runs),
        lost=sum(run.lost for run in runs),
        seeds=len(runs),
        of_random=mean_s / random_s,
        of_grid=mean_s / grid_s,
    )


class _Clock:
    """One replay under way: the ends of the steps that are being trained, the earliest first."""

    def __init__(self, recording: Recording, search: RecordedSearch, rungs: Rungs, workers: int, target: float | None) -> None:
        self._recording, self._search, self._rungs, self._workers, self._target = recording, search, rungs, workers, target
        self._events: list[tuple[float, int, int]] = []  # when, a number that keeps the order of equal times, the curve's place
        self._numbered = 0
        self._now_s = 0.0
        self._epochs = 0.0
        self._steps: dict[int, int] = {}  # done, of every curve that was begun
        self._stopped: list[int] = []

    def run(self) -> Run:
        """Until the target is reached, or everything is over."""
        for _ in range(self._workers):
            self._begin_next()
        while self._events:
            index = self._finish_step()
            if self._at_target(index):
                return self._run()
            if self._goes_on(index):
                self._train(index)
            else:
                self._begin_next()
        return self._run() if self._target is None else self._go_on_with_stopped()

    def _go_on_with_stopped(self) -> Run:
        """Trains what was stopped to its end, until the target is reached."""
        waiting = iter(sorted(self._stopped, key=list(self._steps).index))
        for _, index in zip(range(self._workers), waiting, strict=False):
            self._train(index)
        while self._events:
            index = self._finish_step()
            if self._at_target(index):
                break
            following = index if self._steps[index] < len(self._curve(index).values) else next(waiting, None)
            if following is not None:
                self._train(following)
        return self._run(lost=True)

    def _begin_next(self) -> None:
        """A worker that is free takes the next configuration."""
        index = self._search.ask()
        if index is not None:
            self._steps[index] = 0
            self._rungs.begin(self._curve(index).trial)
            self._train(index)

    def _train(self, index: int) -> None:
        """A worker begins a curve's next step."""
        ends_s = self._now_s + self._curve(index).seconds[self._steps[index]]
        heapq.heappush(self._events, (ends_s, self._numbered, index))
        self._numbered += 1

    def _finish_step(self) -> int:
        """The clock goes to the end of the next step; the curve that it belongs to."""
        self._now_s, _, index = heapq.heappop(self._events)
        self._epochs += self._curve(index).epochs[self._steps[index]]
        self._steps[index] += 1
        return index

    def _at_target(self, index: int) -> bool:
        value = self._curve(index).values[self._steps[index] - 1]
        return self._target is not None and self._recording.reaches(value, self._target)

    def _goes_on(self, index: int) -> bool:
        """Tells search and scheduler of a step, and says whether the trial has another one."""
        curve, step = self._curve(index), self._steps[index]
        value = curve.values[step - 1]
        if math.isfinite(value):
            self._search.report(index, step, value)
        if step == len(curve.values):
            self._rungs.end(curve.trial, step, value)
            self._search.tell(index, curve.state, self._best(index))
            return False
        if self._rungs.stops(curve.trial, step, value):
            self._search.tell(index, "stopped", self._best(index))
            self._stopped.append(index)
            return False
        return True

    def _best(self, index: int) -> float | None:
        values = [value for value in self._curve(index).values[: self._steps[index]] if math.isfinite(value)]
        if not values:
            return None
        return min(values) if self._recording.mode == "min" else max(values)

    def _curve(self, index: int) -> Curve:
        return self._recording.curves[index]

    def _run(self, *, lost: bool = False) -> Run:
        return Run(self._now_s, len(self._steps), self._epochs, lost)
