"""How long the quickstart takes where the environment is installed: preparing the data, the sweep, its pictures, and the papers' tables.

    python -m benchmarks.quickstart [--repetitions 1]

What `make quickstart` runs, in an empty home with an empty data folder, as whole processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bars import Bar, finish, spread

COMMAND = "from sweeper.cli.app import command; command()"
MOST_S = 90.0


def quickstart(folder: Path) -> tuple[float, float]:
    """Seconds of the sweep and of the report."""
    folder.mkdir()
    environment = os.environ | {"SWEEP_DATA_DIR": str(folder / "data")}
    environment.pop("RAY_ADDRESS", None)
    paths = [str(Path("platform").resolve()), str(Path().resolve()), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    sweep = [sys.executable, "-c", COMMAND, "run", "quickstart", "--home", str(folder)]
    report = [sys.executable, "-m", "reports.build", "--home", str(folder), "--out", str(folder / "report")]
    took = []
    for command in (sweep, report):
        begun_s = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        took.append(time.perf_counter() - begun_s)
    return took[0], took[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        took = [quickstart(Path(scratch) / str(turn)) for turn in range(given.repetitions)]
    whole = [sum(parts) for parts in took]
    rows = [
        ("sweep run quickstart, s", spread([sweep_s for sweep_s, _ in took], 1)),
        ("reports.build, s", spread([report_s for _, report_s in took], 1)),
        ("together, s", spread(whole, 1)),
    ]
    finish(
        "quickstart", ("what", "measured"), rows, [Bar("quickstart, warm environment, s", statistics.median(whole), MOST_S)], took_s=took
    )


if __name__ == "__main__":
    main()
