"""What each part can do on this machine, measured in a few seconds each with the engine's own code."""

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper import cluster, ray_session
from sweeper.budget import Spending
from sweeper.checkpoints import FolderPlace
from sweeper.choice import modes_of
from sweeper.driver import session_request
from sweeper.home import DEFAULT_STORE, Home
from sweeper.journal import Journal
from sweeper.nodes import check_resources
from sweeper.planning import VALUES_A_CALL, Capacity
from sweeper.rooms import Rooms, SessionRequest
from sweeper.search import Assignment, Proposals, scheduler
from sweeper.search.storage import delete_study
from sweeper.space import resolve
from sweeper.spec import Resources, Spec
from sweeper.tracking import Point, Store
from sweeper.trial import TrialPlan

STUDY_TRIALS = 40
JOURNAL_RESULTS = 300
STORE_CALLS = 10
TUNE_STEPS = 50
HEAD_S = 1.0
NAME = "sweep-plan"


@dataclass
class StillSession:
    """Trains nothing: what a step takes is what the engine takes."""

    objective: str
    steps: int = 0
    parameters: int = 0
    memory_gib: float = 0.0
    collapse_reason: str = ""

    @property
    def epoch(self) -> float:
        """One step is one."""
        return float(self.steps)

    def step(self) -> dict[str, float]:
        """Counts."""
        self.steps += 1
        return {"loss": 1.0, self.objective: 1.0}

    def save(self, folder: Path) -> None:
        """Writes next to nothing."""
        (Path(folder) / "checkpoint.pt").write_bytes(b"0")

    def load(self, folder: Path) -> None:
        """Nothing to load."""

    def restore_best(self) -> None:
        """Nothing to put back."""

    def close(self) -> None:
        """Nothing to end."""

    def evaluate(self, split: str) -> dict[str, float]:
        """Nothing to measure."""
        return {self.objective: 1.0}

    def evaluate_with_fills(self, split: str) -> tuple[dict[str, float], bytes]:
        """Nothing to measure, and nothing to see."""
        return self.evaluate(split), b""


def open_still(request: SessionRequest) -> StillSession:
    """Implements `Rooms.open_session`; runs on a worker."""
    return StillSession(request.objective)


class _Counting:
    """Implements `cluster.Listener`: hands out runs, and notes the driver's CPU at the first and the last result."""

    def __init__(self, trials: int) -> None:
        self._left = [Assignment(f"search-{number:04d}", number, NAME, {}, 0) for number in range(trials)]
        self.results = 0
        self.first_s = self.last_s = 0.0

    def next(self) -> Assignment | None:
        """The next run."""
        return self._left.pop(0) if self._left else None

    def on_start(self, assignment: Assignment) -> None:
        """Nothing."""

    def on_result(self, trial: str, result: dict[str, Any]) -> None:
        """Counts."""
        self.last_s = time.process_time()
        self.first_s = self.first_s or self.last_s
        self.results += 1

    def on_change(self, trial: str, step: int, knobs: dict[str, Any], donor: str, checkpoint: str) -> None:
        """Nothing."""

    def on_lost(self, trial: str, note: str) -> None:
        """Nothing."""

    def on_checkpoint(self, name: str, size: int) -> None:
        """Nothing."""

    def on_end(self, trial: str, result: dict[str, Any], error: str | None) -> None:
        """Nothing."""

    def out_of_time(self) -> bool:
        """Never."""
        return False


def calibrate(spec: Spec, rooms: Rooms, home: Home, values: int, storage_bytes_s: float) -> Capacity:
    """Measures every part.

    Args:
        spec: the sweep; its study's and store's kinds are measured.
        rooms: the neighbours.
        home: where the sweep would live: the journal is measured on its disk.
        values: numbers a result.
        storage_bytes_s: bandwidth of the shared storage, as the user gives it.

    Raises:
        SweepError: a store, study or Ray that does not answer.
    """
    with tempfile.TemporaryDirectory(prefix=".sweep-plan-", dir=home.root) as name:
        folder = Path(name)
        journal_result_s, journal_trial_s = measure_journal(folder / "journal", values)
        study_trial_s, growth_s, study_result_s = measure_study(spec, rooms, folder)
        store_trial_s, call_s, value_s = measure_store(home, folder, values)
        tune_s, head_calls_s = measure_tune(spec, rooms, folder)
    return Capacity(
        tune_result_s=tune_s,
        journal_result_s=journal_result_s,
        journal_trial_s=journal_trial_s,
        study_trial_s=study_trial_s,
        study_growth_s=growth_s,
        study_result_s=study_result_s,
        store_trial_s=store_trial_s,
        store_call_s=call_s,
        store_value_s=value_s,
        head_calls_s=head_calls_s,
        storage_bytes_s=storage_bytes_s,
        free_bytes=shutil.disk_usage(home.root).free,
    )


def measure_journal(folder: Path, values: int) -> tuple[float, float]:
    """Seconds of a result with its clock, and of a trial's start and end, as `StageListener` writes them."""
    metrics = {f"metric_{index}": float(index) for index in range(values)}
    trials = JOURNAL_RESULTS // 10
    with Journal(folder) as journal:
        begun_s = time.perf_counter()
        for number in range(trials):
            journal.start(f"search-{number:04d}", number, NAME, metrics, 0)
            journal.end(f"search-{number:04d}", "complete")
        trial_s = (time.perf_counter() - begun_s) / trials
        begun_s = time.perf_counter()
        for step in range(JOURNAL_RESULTS):
            journal.result("search-0000", step, metrics)
            journal.clock(Spending())
        return (time.perf_counter() - begun_s) / JOURNAL_RESULTS, trial_s


def measure_study(spec: Spec, rooms: Rooms, folder: Path) -> tuple[float, float, float]:
    """Seconds of asking and telling in an empty study, what each trial in it adds to them, and seconds of an intermediate value."""
    modes = modes_of(spec, rooms)
    metric, also = spec.objective.metric, {name: modes[name] for name in spec.objective.also}
    budget = spec.budget.model_copy(update={"trials": STUDY_TRIALS})
    private = spec.model_copy(update={"name": f"{NAME}-{secrets.token_hex(6)}", "budget": budget})
    took_s, reported_s = [], []
    try:
        proposals = Proposals(private, resolve(spec, rooms), modes[metric], folder, also)
        for number in range(proposals.limit):
            begun_s = time.perf_counter()
            assignment = proposals.ask()
            asked_s = time.perf_counter()
            if assignment is None:
                break
            proposals.report(assignment.trial, 1, float(number))
            told_s = time.perf_counter()
            proposals.tell(assignment.trial, "complete", [float(number)] * (1 + len(also)))
            took_s.append(asked_s - begun_s + time.perf_counter() - told_s)
            reported_s.append(told_s - asked_s)
    finally:
        delete_study(private, folder)
    first_s, growth_s = line(took_s)
    return first_s, growth_s, sum(reported_s) / len(reported_s)


def line(values: list[float]) -> tuple[float, float]:
    """The least-squares line through values at 0, 1, 2, ...: where it begins and how it climbs, neither below 0."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    spread = sum((index - middle) ** 2 for index in range(count))
    slope = sum((index - middle) * (value - mean) for index, value in enumerate(values)) / spread if spread else 0.0
    slope = max(slope, 0.0)
    return max(mean - slope * middle, 0.0), slope


def measure_store(home: Home, folder: Path, values: int) -> tuple[float, float, float]:
    """Seconds of beginning and closing a run as the writer does, of a call with metrics, and of each value in it.

    A SQLite store is measured in a new file beside the home's; a server is asked itself, and the runs are deleted again.
    """
    own = home.store_file is not None
    store = Store(Home(folder, DEFAULT_STORE).store_uri if own else home.store_uri)
    sweep = f"{NAME}-{secrets.token_hex(6)}"
    params = {f"knob_{index}": "1" for index in range(10)}
    runs, took_s = [], 0.0
    try:
        parent = store.begin(sweep, "sweep", None, None, {}, {})
        for number in range(STORE_CALLS):
            begun_s = time.perf_counter()
            run = store.begin(sweep, "search", f"search-{number:04d}", parent, {"sweep.seed": "0"}, params)
            store.log_text(run, "layers.json", "[]\n")
            store.log(run, _points(values, 0), {"sweep.state": "complete"})
            store.end(run, "complete")
            took_s += time.perf_counter() - begun_s
            runs.append(run)
        few_s = _timed(lambda step: store.log(runs[0], _points(1, step), {}), STORE_CALLS)
        many_s = _timed(lambda step: store.log(runs[1], _points(VALUES_A_CALL, step), {}), 3)
        store.end(parent, "finished")
    finally:
        if not own:
            store.delete(sweep, lambda note: None)
    value_s = max(many_s - few_s, 0.0) / (VALUES_A_CALL - 1)
    return took_s / STORE_CALLS, max(few_s - value_s, 0.0), value_s


def measure_tune(spec: Spec, rooms: Rooms, folder: Path) -> tuple[float, float]:
    """The driver's CPU seconds a result, and small requests a second that Ray's head answers."""
    still = replace(rooms, open_session=open_still)
    private = spec.model_copy(update={"scheduler": type(spec.scheduler)()})
    request = replace(session_request(private, NAME, {}, 0), step_images=None, device="cpu", threads=1)
    listener, trials = _Counting(2), 2
    with ray_session.connected(None):
        plan = TrialPlan(still, request, float(TUNE_STEPS))
        mode = modes_of(spec, rooms)[spec.objective.metric]
        rungs, room = scheduler(private, mode, TUNE_STEPS), check_resources(Resources())
        cluster.run_trials(plan, listener, rungs, room, FolderPlace(folder), at_once=trials, limit=trials)
        return (listener.last_s - listener.first_s) / max(listener.results - 1, 1), cluster.head_calls_a_second(HEAD_S)


def _timed(call: Callable[[int], Any], times: int) -> float:
    """Mean seconds of a call, which is given 0, 1, 2, ..."""
    begun_s = time.perf_counter()
    for step in range(times):
        call(step + 1)
    return (time.perf_counter() - begun_s) / times


def _points(count: int, step: int) -> list[Point]:
    return [Point(f"metric_{index}", float(index), step, time.time()) for index in range(count)]
