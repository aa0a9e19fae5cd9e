"""Runs every benchmark, one after the other, and ends with one table of the bars: which are met, and by how much others are missed.

    python -m benchmarks [NAME ...] [--thorough]

The settings are chosen so that all of them take less than half an hour on two cores; with --thorough each takes its own, which is hours.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bars import FOLDER, Bar, print_table

SHORT: dict[str, list[str]] = {
    "overhead": ["--trials", "16", "--trial-s", "5"],
    "ten_thousand": ["--trials", "1000", "--plain-trials", "24"],
    "throughput": ["--repetitions", "3", "--seconds", "0.5"],
    "memory": ["--workers", "1", "4", "8", "--train", "2000", "--reused", "200"],
    "metrics_logging": ["--repetitions", "1", "--without-plain"],
    "quickstart": [],
    "decoding": ["--repetitions", "1"],
    "report_build": ["--runs", "1000", "--repeats", "1"],
    "early_stopping": [],
}


def bars_of(name: str) -> list[Bar]:
    """The bars in a benchmark's file; of the throughput, a model each."""
    file = FOLDER / f"{name}.json"
    if not file.exists():
        return []
    content: dict[str, Any] = json.loads(file.read_text())
    if "bars" in content:
        return [Bar(**bar) for bar in content["bars"]]
    models = content.get("models", {})
    return [Bar(f"throughput: {model} over plain", found["ratio"], found["goal"], at_most=False) for model, found in models.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHORT)}; default: all")
    parser.add_argument("--thorough", action="store_true", help="each with its own settings")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in SHORT]
    if unknown:
        parser.error(f"NAME must be one of {', '.join(SHORT)}, but got {', '.join(unknown)}")
    here, rows, failed = Path(__file__).parent, [], []
    names = [name for name in given.names or SHORT if (here / f"{name}.py").exists()]
    begun_s = time.perf_counter()
    for number, name in enumerate(names, start=1):
        print(f"\n[{number}/{len(names)}] {name}, after {(time.perf_counter() - begun_s) / 60:.0f} min\n", flush=True)
        (FOLDER / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *([] if given.thorough else SHORT[name])]
        code = subprocess.run(command, check=False).returncode
        bars = bars_of(name)
        rows += [bar.row for bar in bars]
        if code:
            failed.append(name)
            rows.append((f"{name}: ended with code {code}", "", "", "failed"))
        elif not bars:
            rows.append((f"{name}: see its own table above", "", "", ""))
    print(f"\nall of it took {(time.perf_counter() - begun_s) / 60:.0f} min\n")
    print_table(("bar", "measured", "asked for", ""), rows)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
