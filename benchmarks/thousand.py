"""Whether a sweep of a thousand trials completes, and how long the commands that look at it take.

    python -m benchmarks.thousand [--trials 1000]

Random search over a model of three numbers that trains in no time: what is measured is the engine. `sweep list`, `show` and `status` are
timed as whole processes, each the median of three.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sweeper.home import Home
from sweeper.runner import run
from sweeper.validation import validate
from tests.sweeper.conftest import SilentProgress
from tests.sweeper.toy_rooms import toy_rooms

REPEATS = 3
COMMAND = "from sweeper.cli.app import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    rooms = toy_rooms()
    spec = validate(
        {
            "name": "thousand",
            "model": "toy",
            "data": {"name": "photos"},
            "knobs": {"rate": {"low": 0.1, "high": 0.9}, "shift": {"low": -1.0, "high": 1.0}},
            "search": {"algorithm": "random"},
            "budget": {"trials": trials, "epochs": 1},
            "seeds": 0,
            "pictures": 0,
        },
        rooms,
    )
    with tempfile.TemporaryDirectory() as folder:
        begun_s = time.perf_counter()
        outcome = run(spec, rooms, Home(Path(folder)), SilentProgress(), spec_name="thousand")
        took_s = time.perf_counter() - begun_s
        states = Counter(record.state for record in outcome.records)
        print(
            f"{trials} trials in {took_s:.0f} s, {took_s / trials:.2f} s each: {dict(states)}; unsent: {outcome.unsent or 'nothing'}",
            flush=True,
        )
        for arguments in (["list"], ["show", "thousand"], ["status", "thousand"]):
            seconds = [_timed([*arguments, "--home", folder]) for _ in range(REPEATS)]
            print(
                f"sweep {' '.join(arguments):<16} {statistics.median(seconds):.2f} s ({min(seconds):.2f} - {max(seconds):.2f})", flush=True
            )


def _timed(arguments: list[str]) -> float:
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - begun_s


if __name__ == "__main__":
    main()
