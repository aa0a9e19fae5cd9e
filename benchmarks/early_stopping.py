"""How much sooner TPE with ASHA comes near the best configuration than random search and a full grid, on recorded learning curves.

    python -m benchmarks.early_stopping [FILE.parquet] [--seeds 50]

The curves are of a real sweep of 64 configurations or more on real images (`benchmarks/recording.yaml`); what is simulated is the clock.
Samplers, schedulers and their settings are the engine's own. `sweep replay` asks the same of any finished sweep.
"""

import argparse
from pathlib import Path

from benchmarks.bars import Bar, finish
from sweeper.cli.replay import document, print_outcomes
from sweeper.cli.rooms import installed_rooms
from sweeper.cli.screen import out
from sweeper.recording import read_table, recording
from sweeper.replay import Policy, outcomes
from sweeper.spec import Scheduler

CURVES = Path(__file__).parent / "curves" / "cnn_autoencoder_cifar10.parquet"
METRIC, WITHIN, BAR = "l2_hole", 0.02, 0.25
WORKERS = (1, 4, 16)
ALGORITHMS = ("tpe", "random", "grid")
KINDS = (Scheduler(kind="asha"), Scheduler())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=CURVES)
    parser.add_argument("--seeds", type=int, default=50)
    arguments = parser.parse_args()
    rooms = installed_rooms()
    recorded = recording(read_table(arguments.file), arguments.file.stem, METRIC, rooms.metrics[METRIC])
    searched = recorded.searched(rooms.spaces.get(recorded.model, {}))
    policies = [Policy(algorithm, kind, workers) for workers in WORKERS for algorithm in ALGORITHMS for kind in KINDS]
    found = list(outcomes(recorded, searched, policies, arguments.seeds, WITHIN))
    print_outcomes(out, recorded, searched, found, WITHIN, recorded.notes)
    ours = [each for each in found if (each.policy.algorithm, each.policy.scheduler.kind) == ("tpe", "asha")]
    rows = [(str(each.policy.workers), f"{each.of_random:.3f}", f"{each.of_grid:.3f}") for each in ours]
    bars = [Bar(f"early stopping: TPE with ASHA over random search, {each.policy.workers} at once", each.of_random, BAR) for each in ours]
    headings = ("TPE with ASHA, at once", "of random search's time", "of the whole grid's")
    finish("early_stopping", headings, rows, bars, **document(recorded, searched, found, WITHIN, recorded.notes))


if __name__ == "__main__":
    main()
