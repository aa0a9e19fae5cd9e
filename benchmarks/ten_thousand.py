"""How many trials a second the engine starts, runs and writes down where a trial takes no time; the driver's memory; looking at the store.

    python -m benchmarks.ten_thousand [--trials 10000] [--plain-trials 60]

Random search over a model of three numbers (`tests/sweeper/toy_rooms.py`): what is measured is the engine, with journal, study, a
checkpoint a trial and MLflow on SQLite. Beside it, on the same machine: Ray Tune as its documentation shows it, a function that reports
once, with its MLflow callback, for as many trials as can be paid for. Both are timed from the first start to the end, MLflow's last call
included; what comes before (imports, Ray) is told apart. `sweep list`, `show` and `status` are timed as whole processes, each the median
of three.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar, finish, spread
from benchmarks.processes import resident_mib
from sweeper.home import Home
from sweeper.runner import run
from sweeper.validation import validate
from tests.sweeper.toy_rooms import toy_rooms

REPEATS = 3
COMMAND = "from sweeper.cli.app import command; command()"
TIMES, MEMORY_MIB, COMMAND_S = 10.0, 1.0, 3.0
POINTS = 10
NAME = "many"


class Watch:
    """Implements `sweeper.recorder.Progress`; notes when trials start and end, and the driver's memory now and then."""

    def __init__(self, trials: int) -> None:
        self._every = max(trials // (4 * POINTS), 1)
        self.first_s = self.last_s = 0.0
        self.gaps_s: list[float] = []
        self.memory: list[tuple[int, float]] = []
        self.ended_count = 0

    def stage(self, title: str, total: int, done: int) -> None:
        """Nothing."""

    def started(self, trial: str) -> None:
        """A worker that has ended a trial has got the next one."""
        now = time.perf_counter()
        self.first_s = self.first_s or now
        if self.ended_count:
            self.gaps_s.append(now - self.last_s)

    def advanced(self, trial: str, step: int, value: float) -> None:
        """Nothing."""

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """One more."""
        self.last_s = time.perf_counter()
        self.ended_count += 1
        if self.ended_count % self._every == 0:
            self.memory.append((self.ended_count, resident_mib(os.getpid())))

    def note(self, text: str) -> None:
        """Worth a line here too."""
        print(text, flush=True)


def sweep(trials: int, folder: Path) -> dict[str, Any]:
    """A sweep in this process."""
    rooms = toy_rooms()
    fields: dict[str, Any] = {
        "name": NAME,
        "model": "toy",
        "data": {"name": "photos"},
        "knobs": {"rate": {"low": 0.1, "high": 0.9}, "shift": {"low": -1.0, "high": 1.0}},
        "search": {"algorithm": "random"},
        "budget": {"trials": trials, "epochs": 1},
        "seeds": 0,
        "pictures": 0,
    }
    watch, begun_s = Watch(trials), time.perf_counter()
    outcome = run(validate(fields, rooms), rooms, Home(folder), watch, spec_name=NAME)
    over_s = time.perf_counter()
    states = Counter(record.state for record in outcome.records)
    if states != {"complete": trials} or outcome.unsent:
        raise SystemExit(f"every trial must be complete and sent, but they are {dict(states)}, unsent: {outcome.unsent or 'nothing'}")
    sizes = {path.name: path.stat().st_size / 2**20 for path in (folder / "mlflow.db", *(folder / "sweeps" / NAME).glob("*.*"))}
    return {
        "trial_s": (over_s - watch.first_s) / trials,
        "loop_trial_s": (watch.last_s - watch.first_s) / trials,
        "before_s": watch.first_s - begun_s,
        "gap_s": statistics.median(watch.gaps_s),
        "memory_mib": watch.memory,
        "growth_mib": growth(watch.memory),
        "sizes_mib": sizes,
    }


def growth(memory: list[tuple[int, float]]) -> float:
    """MiB that 100 trials add: the slope of a line through the later three quarters, where buffers have their size."""
    later = memory[len(memory) // 4 :]
    slope, _ = statistics.linear_regression([count for count, _ in later], [size for _, size in later])
    return 100 * slope


def plain(trials: int, folder: Path) -> float:
    """Seconds a trial of plain Ray Tune; what the first two cost more than others, the start of Ray, is taken off by a run of two."""
    return max((_plain(trials, folder / "many") - _plain(2, folder / "two")) / (trials - 2), 1e-9)


def _plain(trials: int, folder: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.rivals", "ray_trivial", str(folder), "--trials", str(trials)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["took_s"])


def _timed(arguments: list[str]) -> float:
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--plain-trials", type=int, default=60)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path("platform").resolve()), str(Path().resolve()), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain_s = plain(given.plain_trials, folder / "plain")
        print(f"plain Ray Tune: {plain_s:.2f} s a trial", flush=True)
        (folder / "home").mkdir()
        found = sweep(given.trials, folder / "home")
        looks = {
            name: [_timed([name, *([] if name == "list" else [NAME]), "--home", str(folder / "home")]) for _ in range(REPEATS)]
            for name in ("list", "show", "status")
        }
    ratio = plain_s / found["trial_s"]
    sizes = ", ".join(f"{name} {size:.1f}" for name, size in found["sizes_mib"].items())
    rows = [
        ("trials a second", f"{1 / found['trial_s']:.1f}"),
        ("the loop alone, before the last of MLflow's calls", f"{1 / found['loop_trial_s']:.1f}"),
        ("plain Ray Tune with its MLflow callback", f"{1 / plain_s:.2f}"),
        ("times as many", f"{ratio:.1f}"),
        ("from one trial's end to the next one's start, ms, median", f"{1000 * found['gap_s']:.0f}"),
        ("before the first start, s", f"{found['before_s']:.1f}"),
        ("driver's memory at the end, MiB", f"{found['memory_mib'][-1][1]:.0f}"),
        ("driver's memory, MiB more every 100 trials", f"{found['growth_mib']:.2f}"),
        ("sizes, MiB", sizes),
        *((f"sweep {name}, s", spread(seconds)) for name, seconds in looks.items()),
    ]
    bars = [
        Bar(f"{given.trials} trials: times the trials a second of plain Ray Tune", ratio, TIMES, at_most=False),
        Bar(f"{given.trials} trials: MiB of the driver every 100 trials", found["growth_mib"], MEMORY_MIB),
        *(Bar(f"{given.trials} trials: sweep {name}, s", statistics.median(seconds), COMMAND_S) for name, seconds in looks.items()),
    ]
    finish("ten_thousand", ("what", "measured"), rows, bars, trials=given.trials, plain_trial_s=plain_s, looks_s=looks, **found)


if __name__ == "__main__":
    main()
