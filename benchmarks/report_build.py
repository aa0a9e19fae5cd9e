"""How long `python -m reports.build` takes on a large store, and how much memory.

    python -m benchmarks.report_build [--runs 10000] [--store-dir DIR] [--repeats 3]
    python -m benchmarks.report_build --home DIR      # on the store of a home folder

The store is filled through MLflow's own client with made-up numbers, as the engine fills it: 50 runs a sweep, one of them the sweep's own
and one a final run, each with tags, the knobs of its model, some 20 metrics at each of 6 steps and those of its best step. The sweeps go
round the shipped specs, so that cells, curves and layer tables find their runs. With --store-dir it is made once and used again; one that
was cut off is gone on with. The build runs in a process of its own.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from PIL import Image

from benchmarks.bars import Bar, finish, spread
from reports.curves import read_curves
from reports.glossary import split_metrics
from search_spaces import SPACES, Choice
from search_spaces.knob import Knob
from sweeper.home import Home
from sweeper.layers import FILE
from sweeper.spec import Mask
from sweeper.spec_file import read_spec, shipped
from sweeper.tracking import METRICS_A_CALL, Store

TRIALS_A_SWEEP = 49
STEPS = 6
BEGUN_MS = 1_700_000_000_000
WHOLE = "whole"
COUNTS = {"train": 45_000, "validation": 5_000, "test": 10_000}
WALL_S, MEMORY_GIB = 30.0, 1.0


@dataclass(frozen=True)
class Kind:
    """What the sweeps of a shipped spec are like.

    Attributes:
        spec: its name.
        model: what is trained, the first of several.
        fields: the spec's.
        metrics: what a trial reports at each step.
    """

    spec: str
    model: str
    fields: Mapping[str, Any]
    metrics: Sequence[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--store-dir", type=Path, help="keeps the store here for the next time")
    parser.add_argument("--home", type=Path, help="builds from the store of this home folder instead")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or (options.store_dir or Path(scratch)) / f"runs-{options.runs}"
        if options.home is None and not (home / WHOLE).exists():
            fill(home, options.runs)
        measured = [_built(home, Path(scratch) / f"report-{number}") for number in range(options.repeats)]
        size_mib = Path(home, "mlflow.db").stat().st_size / 2**20
    walls_s, processor_s, memory_gib = zip(*measured, strict=True)
    what = f"of {options.runs} runs" if options.home is None else f"from {options.home}"
    rows = [("store, MiB", f"{size_mib:.0f}"), ("wall time, s", spread(walls_s)), ("processor time, s", spread(processor_s))]
    rows.append(("peak memory, GiB", spread(memory_gib)))
    bars = [Bar(f"report {what}, s", statistics.median(walls_s), WALL_S), Bar(f"report {what}, GiB", max(memory_gib), MEMORY_GIB)]
    finish("report_build", (f"report {what}", "measured"), rows, bars, walls_s=walls_s, processor_s=processor_s, memory_gib=memory_gib)


def _built(home: Path, out: Path) -> tuple[float, float, float]:
    """One build: wall time in s, processor time in s, greatest resident memory in GiB."""
    begun_s = time.perf_counter()
    command = [sys.executable, "-m", "reports.build", "--home", str(home), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - begun_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes that `ru_maxrss` counts in
    return took_s, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 2**30


def fill(home: Path, runs: int) -> None:
    """Makes the store of a home folder, or goes on with it: whole sweeps stay, one that was cut off is made again."""
    home.mkdir(parents=True, exist_ok=True)
    store, begun_s = Store(Home(home).store_uri), time.perf_counter()
    there = {name: len(trials) for name, trials in store.every_trial().items()}
    picture, layers = home / "best.png", home / FILE
    Image.effect_noise((256, 96), 60).convert("RGB").save(picture)
    layer = {"network": "network", "name": "0", "kind": "Conv", "follows": [], "filter": "3x3", "stride": 1, "padding": "1"}
    layers.write_text(json.dumps([layer | {"output": [32, 32, 64], "parameters": 1792}]))
    kinds, made = _kinds(), 0
    for number in range(-(-runs // (TRIALS_A_SWEEP + 1))):
        kind, draws = kinds[number % len(kinds)], random.Random(number)
        name, begun_ms = f"{kind.spec}-{number:03d}", BEGUN_MS + number * 3_600_000
        trials = min(TRIALS_A_SWEEP, runs - made - 1)
        made += 1 + trials
        if there.get(name) == trials:
            continue
        store.delete(name, print)
        ring = {f"ring_mean_{split}_{metric}": _value(draws) for split in ("validation", "test") for metric in split_metrics()}
        parent = _log(store, name, _sweep_tags(kind, name), {}, [(key, value, 0) for key, value in ring.items()], begun_ms)
        store.log_file(parent, picture, "pictures")
        for place in range(trials):
            trial = "final-0" if place == trials - 1 else f"search-{place:04d}"
            run_id = _trial(store, kind, name, parent, trial, draws, begun_ms + place * 60_000)
            if place == 0:
                store.log_file(run_id, layers)
        print(f"{made} runs in {time.perf_counter() - begun_s:.0f} s", file=sys.stderr, flush=True)
    (home / WHOLE).touch()


def _kinds() -> list[Kind]:
    drawn = defaultdict(set)
    for figure in read_curves():
        for line in (line for panel in figure.panels for line in panel.lines):
            drawn[figure.where.spec or line.where.spec or ""].add(line.metric)
    kinds = []
    for spec in shipped():
        fields = read_spec(spec)
        model = fields["model"][0] if isinstance(fields["model"], list) else fields["model"]
        metrics = ["epoch", "loss", "train_s", *split_metrics(), *sorted(drawn[spec])]
        kinds.append(Kind(spec, model, fields, list(dict.fromkeys(metrics))))
    return kinds


def _sweep_tags(kind: Kind, name: str) -> dict[str, str]:
    data, objective = kind.fields["data"], kind.fields.get("objective", {}).get("metric", "l2_hole")
    modes = {metric: term.mode for metric, term in split_metrics().items()}
    return {
        "sweep.name": name,
        "sweep.role": "sweep",
        "sweep.state": "finished",
        "sweep.spec": kind.spec,
        "sweep.model": kind.model,
        "sweep.data": data["name"],
        "sweep.data_fingerprint": "f00dfeed",
        "sweep.data_counts": json.dumps(COUNTS | {split: data[split] for split in COUNTS if split in data}),
        "sweep.image_px": str(data.get("image_px", 32)),
        "sweep.mask": Mask(**kind.fields.get("mask", {})).described,
        "sweep.objective": objective,
        "sweep.mode": modes.get(objective, "min"),
        "sweep.epochs": f"{kind.fields['budget']['epochs']:g}",
        "hardware.driver": "x86_64, 2 CPUs, Linux",
        "git.commit": "0123456789abcdef0123456789abcdef01234567",
        "git.dirty": "false",
        "version.torch": "2.15.0",
    }


def _trial(store: Store, kind: Kind, sweep: str, parent: str, trial: str, draws: random.Random, begun_ms: int) -> str:
    """A trial's run; gives its id."""
    role = trial.partition("-")[0]
    tags = {"sweep.name": sweep, "sweep.role": role, "sweep.trial": f"{sweep}/{trial}", "sweep.state": "complete", "sweep.seed": "0"}
    tags |= {"sweep.model": kind.model, "mlflow.parentRunId": parent}
    points = [
        (metric, float(step) if metric == "epoch" else _value(draws), step) for step in range(1, STEPS + 1) for metric in kind.metrics
    ]
    last = {metric: value for metric, value, _ in points}
    points += [(f"best_{metric}", value, STEPS) for metric, value in last.items()] + [("best_step", float(STEPS), STEPS)]
    if role == "final":
        points += [(f"test_{metric}", _value(draws), STEPS) for metric in split_metrics()]
    return _log(store, trial, tags, _knobs(kind, draws), points, begun_ms)


def _log(store: Store, name: str, tags: dict[str, str], params: dict[str, str], points: list[tuple[str, float, int]], begun_ms: int) -> str:
    """A run that has ended; `points` are (metric, value, step)."""
    run_id = store.client.create_run(store.experiment, start_time=begun_ms, tags=tags, run_name=name).info.run_id
    metrics = [Metric(metric, value, begun_ms + step * 1000, step) for metric, value, step in points]
    for start in range(0, len(metrics), METRICS_A_CALL):
        logged = [Param(key, value) for key, value in params.items()] if start == 0 else []
        store.client.log_batch(run_id, metrics[start : start + METRICS_A_CALL], logged, [RunTag("sweep.reason", "")] if start == 0 else [])
    store.client.set_terminated(run_id, "FINISHED", begun_ms + 60_000)
    return str(run_id)


def _knobs(kind: Kind, draws: random.Random) -> dict[str, str]:
    """The spec's values; the paper's where it gives none, drawn where it searches."""
    listed = kind.fields.get("knobs", {})
    chosen = {}
    for name, knob in SPACES[kind.model].items():
        setting = listed.get(name)
        fixed = setting if isinstance(setting, bool | int | float) else knob.paper
        chosen[name] = draws.choice(setting) if isinstance(setting, list) else _drawn(knob, draws) if setting == "search" else fixed
    return {name: str(value) for name, value in chosen.items()}


def _drawn(knob: Knob, draws: random.Random) -> object:
    return draws.choice(knob.values) if isinstance(knob, Choice) else draws.uniform(knob.low, knob.high)


def _value(draws: random.Random) -> float:
    return draws.uniform(1.0, 10.0)


if __name__ == "__main__":
    main()
