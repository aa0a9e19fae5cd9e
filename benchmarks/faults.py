"""What is left of a sweep after something went wrong: nothing may be lost, and nothing may be there twice.

    python -m benchmarks.faults [--case "worker killed"] ...

Real sweeps of a tiny model in processes of their own; real processes are killed, real stores and disks taken away. The scenarios are
those of the tests (`make faults`). Each takes 10 to 60 seconds on two cores.
"""

import argparse
import tempfile
import time

from tests.sweeper.faults import CASES, Finding, NotPossibleHereError, play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="one case; may be repeated (default: all)")
    arguments = parser.parse_args()
    print(f"{'case':<34}{'finished':>9}{'lost':>6}{'twice':>7}{'running':>9}{'recover s':>11}{'whole s':>9}")
    with tempfile.TemporaryDirectory() as data_dir:
        for case in arguments.case or CASES:
            begun_s = time.monotonic()
            try:
                row = in_numbers(play(case, data_dir))
            except NotPossibleHereError as error:
                row = f"  not possible here: {error}"
            except AssertionError as error:
                row = f"  failed: {str(error).strip().splitlines()[-1]}"
            print(f"{case:<34}{row}{time.monotonic() - begun_s:>9.0f}", flush=True)


def in_numbers(found: Finding) -> str:
    row = f"{found.finished:>9}{found.lost:>6}{found.duplicated:>7}{found.running:>9}{found.recover_s:>11.1f}"
    return row + "".join(f"\n    {problem}" for problem in found.problems)


if __name__ == "__main__":
    main()
