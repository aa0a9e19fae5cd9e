"""One sweep from start to end: prepare, search, train the best again under several seeds, measure it once on the test split."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sweeper import cluster, provenance
from sweeper.budget import Meter
from sweeper.choice import described, leaders
from sweeper.driver import Driver, session_request
from sweeper.extension import write_spec
from sweeper.home import Home
from sweeper.journal import Journal, TrialRecord
from sweeper.layers import LayerTables
from sweeper.recorder import Progress, SweepRun
from sweeper.rooms import DataFacts, Rooms
from sweeper.spec import Spec
from sweeper.tracking import Store, Writer
from sweeper.warm_start import mode_of


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Attributes:
        name: the sweep's name.
        run_id: its MLflow run.
        records: every trial.
        facts: what preparing the data told.
        best: the best search trial; None where none has a value.
        pictures: the picture grids, the best trial's first.
        wall_s: wall time of this call in seconds.
    """

    name: str
    run_id: str
    records: list[TrialRecord]
    facts: DataFacts
    best: TrialRecord | None
    pictures: list[Path]
    wall_s: float


def run(
    spec: Spec, rooms: Rooms, home: Home, progress: Progress, *, spec_name: str, address: str | None = None, fresh: bool = False
) -> Outcome:
    """Runs a sweep, or goes on with one that was interrupted.

    Args:
        spec: validated; its name says which folder and which MLflow run.
        rooms: the neighbours.
        home: where the sweep lives.
        progress: the screen.
        spec_name: the shipped spec's name or the file's stem, kept as a tag for the reports.
        address: of a running Ray cluster; None = this machine.
        fresh: train again what an earlier trial with the same code, data and configuration has trained.

    Raises:
        SweepError: resources that cannot be had, a store that does not answer, a sweep that another process runs.
        KeyboardInterrupt: after the sweep was left in a state that `sweep resume` takes up.
    """
    begun_s = time.monotonic()
    facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    if facts.skipped:
        progress.note(f"{len(facts.skipped)} images did not decode and were left out, the first: {facts.skipped[0]}")
    modes = {metric: mode_of(rooms, spec, metric) for metric in (spec.objective.metric, *spec.objective.also)}
    with cluster.connected(address):
        at_once = cluster.check_resources(spec.resources)
        store = Store(home.store_uri)
        folder = home.folder(spec.name)
        with Journal(folder) as journal:
            write_spec(folder, spec)
            with _tracked(spec, rooms, store, journal, progress, facts, spec_name, modes) as sweep_run:
                meter = Meter(spec.budget, spec.resources.gpus, cluster.node_types, journal.spent)
                driver = Driver(spec, rooms, home, facts, sweep_run, meter, at_once, modes, fresh)
                driver.search()
                driver.finals()
                pictures = keep_pictures(spec, rooms, driver)
            best = next(iter(driver.leaders()), None)
            return Outcome(spec.name, sweep_run.parent, list(journal.trials.values()), facts, best, pictures, time.monotonic() - begun_s)


@contextmanager
def _tracked(
    spec: Spec,
    rooms: Rooms,
    store: Store,
    journal: Journal,
    progress: Progress,
    facts: DataFacts,
    spec_name: str,
    modes: Mapping[str, str],
) -> Iterator[SweepRun]:
    """The sweep's MLflow run for the length of a `with`; whatever ends it, no run is left RUNNING."""
    parent = store.begin(spec.name, "sweep", None, None, _tags(spec, facts, spec_name, modes), {})
    store.log_file(parent, journal.folder / "spec.yaml")
    writer = Writer(store)
    layers = LayerTables(rooms, spec.data.model_dump(), spec.mask.model_dump(), progress.note)
    metric = spec.objective.metric
    run = SweepRun(spec.name, metric, modes[metric], tuple(spec.objective.also), journal, store, writer, parent, progress, layers)
    state = "failed"
    try:
        for split, metrics in facts.baseline.items():
            writer.metrics(parent, 0, {f"ring_mean_{split}_{name}": value for name, value in metrics.items()})
        with run.interrupt:
            run.catch_up()
            yield run
            run.interrupt.check()
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        run.close()
        best = next(iter(leaders(journal.trials.values(), spec.objective, modes)), None)
        if best is not None:
            value = best.best(run.metric, run.mode)
            writer.metrics(parent, 0, {"best_value": value[1] if value else math.nan})
            writer.tags(parent, {"sweep.best": best.trial})
            run.keep_layers(parent, best.model, best.knobs)
        writer.metrics(parent, 0, {f"spent_{name}": value for name, value in asdict(journal.spent).items()})
        writer.end(parent, state)
        writer.close()


def _tags(spec: Spec, facts: DataFacts, spec_name: str, modes: Mapping[str, str]) -> dict[str, str]:
    """What the sweep's run says of it."""
    choose = spec.objective.choose
    tags = {
        "sweep.spec": spec_name,
        "sweep.model": ", ".join(spec.models),
        "sweep.data": spec.data.name,
        "sweep.data_fingerprint": facts.fingerprint,
        "sweep.data_counts": json.dumps(dict(facts.counts)),
        "sweep.image_px": str(spec.data.image_px),
        "sweep.mask": spec.mask.described,
        "sweep.objective": spec.objective.metric,
        "sweep.mode": modes[spec.objective.metric],
        "sweep.also": json.dumps({name: modes[name] for name in spec.objective.also}),
        "sweep.choose": "" if choose is None else described(choose),
        "sweep.epochs": f"{spec.budget.epochs:g}",
        "hardware.driver": provenance.machine(),
        "hardware.cluster": cluster.node_hardware(),
    }
    return tags | provenance.code_tags() | provenance.version_tags()


def keep_pictures(spec: Spec, rooms: Rooms, driver: Driver) -> list[Path]:
    """Picture grids of the best trials, and the best one's checkpoint, on disk and in MLflow."""
    run, folder = driver.run, driver.run.journal.folder
    pictures = []
    for place, record in enumerate(driver.leaders()[: max(spec.pictures, 1)]):
        checkpoints = driver.checkpoints(record)
        file = folder / "pictures" / f"{record.trial}.png"
        if place < spec.pictures:
            checkpoints = _draw(spec, rooms, run, record, checkpoints, file)
        if not checkpoints:
            run.progress.note(f"{record.trial} has no whole checkpoint left: no picture")
            continue
        if place == 0:
            run.store.log_file(run.parent, checkpoints[0] / "checkpoint.pt", "best")
        if place < spec.pictures:
            run.store.log_file(run.run_ids[record.trial], file, "pictures")
            pictures.append(file)
            if place == 0:
                shutil.copy(file, folder / "pictures" / "best.png")
                run.store.log_file(run.parent, folder / "pictures" / "best.png", "pictures")
    return pictures


def _draw(spec: Spec, rooms: Rooms, run: SweepRun, record: TrialRecord, checkpoints: list[Path], file: Path) -> list[Path]:
    """Draws a trial's picture grid from its newest checkpoint that is whole; returns that one and those before it."""
    file.parent.mkdir(exist_ok=True)
    request = replace(session_request(spec, record.model, record.knobs, record.seed), device="cpu", threads=None)
    for number, checkpoint in enumerate(checkpoints):
        try:
            rooms.picture(request, checkpoint, file)
        except rooms.user_errors as error:
            run.progress.note(str(error))
        else:
            return checkpoints[number:]
    return []
