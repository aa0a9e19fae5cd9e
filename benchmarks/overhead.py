"""What a sweep of short trials costs beyond the trainings themselves, and what it costs in the hands of others.

    python -m benchmarks.overhead [--trials 32] [--trial-s 10] [--repetitions 1] [--without syne_tune ...]

Every contender trains the same `cnn_autoencoder` on the same photographs with the same learning rates, two trials at a time. The measure is
the wall time of a bare loop of these trainings in two processes that have imported everything and trained before. Of all others the whole
process counts, from its start to its end: imports, start of Ray, workers, MLflow on SQLite, everything. Contenders are run in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.bars import Bar, finish, spread
from benchmarks.training import DATA, FIXED, MASK, learning_rates, threads

COMMAND = "from sweeper.cli.app import command; command()"
RIVALS = {
    "ray_tune": "Ray Tune, function, MLflow callback",
    "optuna": "Optuna, two processes, MLflow",
    "syne_tune": "Syne Tune, local backend",
}
SYNE_TUNE = Path("build/syne_tune")
INSTALL = f"pip install --no-deps --target {SYNE_TUNE} syne-tune dill sortedcontainers psutil"
MOST = 1.10


def product(trials: int, steps: int, folder: Path, environment: dict[str, str]) -> float:
    """Wall time of `sweep run`, as a user types it."""
    folder.mkdir(parents=True)
    spec = {
        "name": "overhead",
        "model": "cnn_autoencoder",
        "data": dict(DATA),
        "mask": dict(MASK),
        "knobs": {**FIXED, "learning_rate": learning_rates(trials)},
        "search": {"algorithm": "grid"},
        "scheduler": {"kind": "none"},
        "budget": {"trials": trials, "epochs": steps},
        "resources": {"cpus": threads()},
        "seeds": 0,
        "pictures": 0,
    }
    (folder / "overhead.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-c", COMMAND, "run", str(folder / "overhead.yaml"), "--fresh", "--home", str(folder)]
    return _timed(command, environment, folder)[0]


def rival(what: str, trials: int, steps: int, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall time of the whole process, and what its own clock says."""
    folder.mkdir(parents=True)
    arguments = [what, str(folder), "--trials", str(trials), "--steps", str(steps)]
    return _timed([sys.executable, "-m", "benchmarks.rivals", *arguments], environment, folder)


def _timed(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    begun_s = time.perf_counter()
    with open(folder / "err.txt", "w", encoding="utf-8") as err:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment, check=False)
    took_s = time.perf_counter() - begun_s
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{(folder / 'err.txt').read_text()[-4000:]}")
    last = done.stdout.strip().splitlines()[-1]
    return took_s, json.loads(last)["took_s"] if last.startswith("{") else took_s


def has_syne_tune(environment: dict[str, str]) -> bool:
    """Whether Syne Tune can be imported."""
    probe = "import syne_tune.backend, syne_tune.optimizer.schedulers.single_fidelity_scheduler"
    return subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--trial-s", type=float, default=10.0, help="seconds of training a trial, about")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--without", nargs="*", default=[], choices=list(RIVALS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        paths = [str(Path("platform").resolve()), str(Path().resolve()), str(SYNE_TUNE.resolve()), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "SWEEP_DATA_DIR": str(place / "data"),
            "SYNETUNE_FOLDER": str(place / "syne"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment.pop("MLFLOW_TRACKING_URI", None)
        rivals = [name for name in RIVALS if name not in given.without]
        if "syne_tune" in rivals and not has_syne_tune(environment):
            print(f"Syne Tune is not installed: its row is left out. To have it: {INSTALL}", flush=True)
            rivals.remove("syne_tune")
        epoch_s = rival("epoch", 4, 1, place / "epoch", environment)[1]
        steps = max(1, round(given.trial_s / epoch_s))
        print(f"an epoch takes {epoch_s:.2f} s here: {given.trials} trials of {steps}", flush=True)
        took: dict[str, list[float]] = {name: [] for name in ("bare", "product", *rivals)}
        for turn in range(given.repetitions):
            for name in took:
                folder = place / f"{name}-{turn}"
                if name == "product":
                    took_s = product(given.trials, steps, folder, environment)
                else:
                    whole_s, own_s = rival(name, given.trials, steps, folder, environment)
                    took_s = own_s if name == "bare" else whole_s
                took[name].append(took_s)
                print(f"{name}: {took_s:.1f} s", flush=True)
    ratios = {name: [value / bare for value, bare in zip(values, took["bare"], strict=True)] for name, values in took.items()}
    titles = {"bare": "bare loop, two warm processes", "product": "sweep run"} | RIVALS
    rows = [(titles[name], spread(values, 1), spread(ratios[name], 3)) for name, values in took.items()]
    own = statistics.median(ratios["product"])
    bars = [Bar("overhead: sweep over bare loop", own, MOST)]
    bars += [Bar(f"overhead: sweep over {RIVALS[name]}", own / statistics.median(ratios[name]), 1.0) for name in rivals]
    finish("overhead", ("contender", "wall time, s", "over the bare loop"), rows, bars, trials=given.trials, steps=steps, took_s=took)


if __name__ == "__main__":
    main()
