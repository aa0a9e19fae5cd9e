"""One sweep from start to end: prepare, search, train the best again under several seeds, measure it once on the test split."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeper import fills, nodes, provenance, ray_session, stop
from sweeper.budget import Meter
from sweeper.checkpoints import sweeps_place
from sweeper.choice import described, modes_of
from sweeper.driver import Driver
from sweeper.errors import StorageError
from sweeper.extension import write_spec
from sweeper.home import Home
from sweeper.journal import Journal, TrialRecord, read_trials
from sweeper.keepsakes import keep_pictures, keep_plots
from sweeper.recorder import Progress
from sweeper.rooms import DataFacts, Rooms
from sweeper.search import check_storage
from sweeper.spec import Spec
from sweeper.storage import RESERVE_BYTES, guarded, require_room
from sweeper.sync import told_unsent, tracked
from sweeper.tracking import Store


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
        unsent: what the store has not taken and how to send it; empty where it has everything.
    """

    name: str
    run_id: str
    records: list[TrialRecord]
    facts: DataFacts
    best: TrialRecord | None
    pictures: list[Path]
    wall_s: float
    unsent: str = ""


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
        SweepError: resources that cannot be had, a store that does not answer before the first trial, a sweep that another process runs, a
            folder that is full or gone, a place for checkpoints that cannot be written.
        KeyboardInterrupt: after the sweep was left in a state that `sweep resume` takes up.
    """
    begun_s = time.monotonic()
    check_storage(spec)
    _check_checkpoints(spec, home)
    facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    if facts.skipped:
        progress.note(f"{len(facts.skipped)} images did not decode and were left out, the first: {facts.skipped[0]}")
    modes = modes_of(spec, rooms)
    with ray_session.connected(address):
        room = nodes.check_resources(spec.resources, address)
        store = Store(home.store_uri)
        folder = home.folder(spec.name)
        with Journal(folder) as journal, guarded(folder):
            require_room(folder, RESERVE_BYTES)
            write_spec(folder, spec)
            if facts.fills:
                fills.keep(folder, fills.PLAIN, facts.fills)
            journal.sweep(_tags(spec, facts, spec_name, modes) | {stop.DRIVER_TAG: journal.driver}, _baseline(facts))
            with tracked(spec, rooms, home, store, journal, progress) as sweep_run:
                meter = Meter(spec.budget, room.held.gpus, nodes.node_types, journal.spent)
                driver = Driver(spec, rooms, home, facts, sweep_run, meter, room, modes, fresh)
                if room.waits:
                    progress.note(room.waits)
                driver.search()
                driver.finals()
                pictures = keep_pictures(spec, rooms, driver)
                if spec.pictures:
                    keep_plots(spec, rooms, driver)
            if sweep_run.keeper is not None:
                sweep_run.keeper.finish(journal.trials)
            unsent = told_unsent(sweep_run, home)
            records, best = list(journal.trials.values()), next(iter(driver.leaders()), None)
            return Outcome(spec.name, sweep_run.parent, records, facts, best, pictures, time.monotonic() - begun_s, unsent)


def _check_checkpoints(spec: Spec, home: Home) -> None:
    """Looks whether checkpoints can be written where the spec says.

    Raises:
        StorageError: they cannot, or another sweep's lie there.
    """
    if spec.checkpoints.storage is None:
        return
    place, begun = sweeps_place(home, spec.name, spec.checkpoints.storage), bool(read_trials(home.folder(spec.name)))
    place.require(create=not begun)
    if not begun and place.trials():
        raise StorageError(
            f"checkpoints.storage must hold none of another sweep {spec.name!r}, but {place.public} holds some that this one has not "
            "written; choose another name or another place, or remove them"
        )


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
        "sweep.budget": spec.budget.model_dump_json(),
        "hardware.driver": provenance.machine(),
        "hardware.cluster": nodes.node_hardware(),
    }
    return tags | provenance.code_tags() | provenance.version_tags()


def _baseline(facts: DataFacts) -> dict[str, float]:
    """The plain fill's metrics, as the sweep's own run has them."""
    return {f"ring_mean_{split}_{name}": value for split, metrics in facts.baseline.items() for name, value in metrics.items()}
