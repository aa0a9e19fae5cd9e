"""One sweep from start to end: prepare, search, train the best again under several seeds, measure it once on the test split."""

import json
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import cluster, provenance, stop
from sweeper.home import Home
from sweeper.journal import ENDED, Journal, TrialRecord, ranked
from sweeper.layers import LayerTables
from sweeper.live import LiveTag
from sweeper.pulse import Pulse
from sweeper.recorder import Progress, StageListener, SweepRun
from sweeper.rooms import DataFacts, Rooms, SessionRequest
from sweeper.search import Assignment, Proposals, scheduler
from sweeper.space import in_words, resolve
from sweeper.spec import Spec
from sweeper.stop import Wishes
from sweeper.tracking import Store, Writer
from sweeper.trial import TrialPlan

if TYPE_CHECKING:
    from sweeper.search.plots import Drawn

FINAL_SEED_STEP = 1


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


def run(spec: Spec, rooms: Rooms, home: Home, progress: Progress, *, spec_name: str, address: str | None = None) -> Outcome:
    """Runs a sweep, or goes on with one that was interrupted.

    Args:
        spec: validated; its name says which folder and which MLflow run.
        rooms: the neighbours.
        home: where the sweep lives.
        progress: the screen.
        spec_name: the shipped spec's name or the file's stem, kept as a tag for the reports.
        address: of a running Ray cluster; None = this machine.

    Raises:
        SweepError: resources that cannot be had, a store that does not answer, a sweep that another process runs.
        KeyboardInterrupt: after the sweep was left in a state that `sweep resume` takes up.
    """
    begun_s = time.monotonic()
    facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    if facts.skipped:
        progress.note(f"{len(facts.skipped)} images did not decode and were left out, the first: {facts.skipped[0]}")
    with cluster.connected(address):
        at_once = cluster.check_resources(spec.resources)
        store = Store(home.store_uri)
        folder = home.folder(spec.name)
        with Journal(folder) as journal:
            spec.write(folder / "spec.yaml")
            with _tracked(spec, rooms, store, journal, progress, facts, spec_name) as sweep_run:
                _search(spec, rooms, sweep_run, facts, at_once)
                best = _best(sweep_run)
                if best is not None:
                    _finals(spec, rooms, sweep_run, best, at_once)
                pictures = _keep_pictures(spec, rooms, sweep_run)
                if spec.pictures:
                    drawn = plot(spec, rooms, folder, journal.trials.values())
                    store.log_folder(sweep_run.parent, drawn.index.parent, "plots")
            records = list(journal.trials.values())
            return Outcome(spec.name, sweep_run.parent, records, facts, best, pictures, time.monotonic() - begun_s)


@contextmanager
def _tracked(
    spec: Spec, rooms: Rooms, store: Store, journal: Journal, progress: Progress, facts: DataFacts, spec_name: str
) -> Iterator[SweepRun]:
    """The sweep's MLflow run for the length of a `with`; whatever ends it, no run is left RUNNING."""
    mode = rooms.metrics[spec.objective.metric]
    tags = {
        "sweep.spec": spec_name,
        "sweep.model": ", ".join(spec.models),
        "sweep.data": spec.data.name,
        "sweep.data_fingerprint": facts.fingerprint,
        "sweep.data_counts": json.dumps(dict(facts.counts)),
        "sweep.image_px": str(spec.data.image_px),
        "sweep.mask": spec.mask.described,
        "sweep.objective": spec.objective.metric,
        "sweep.mode": mode,
        "sweep.also": json.dumps({name: rooms.metrics[name] for name in spec.objective.also}),
        "sweep.epochs": f"{spec.budget.epochs:g}",
        "hardware.driver": provenance.machine(),
        "hardware.cluster": cluster.node_hardware(),
    }
    tags |= {"sweep.budget": spec.budget.model_dump_json(), stop.DRIVER_TAG: journal.driver}
    parent = store.begin(spec.name, "sweep", None, None, tags | provenance.code_tags() | provenance.version_tags(), {})
    baseline = {f"ring_mean_{split}_{name}": value for split, metrics in facts.baseline.items() for name, value in metrics.items()}
    journal.sweep(tags, baseline)
    writer = Writer(store)
    writer.file(parent, "spec.yaml", spec.to_public_yaml())
    progress = live = LiveTag(progress, spec.objective.metric, mode, journal)
    layers = LayerTables(rooms, spec.data.model_dump(), spec.mask.model_dump(), progress.note)
    run = SweepRun(spec.name, spec.objective.metric, mode, tuple(spec.objective.also), journal, store, writer, parent, progress, layers)
    state = "failed"
    try:
        writer.metrics(parent, 0, baseline)
        wishes = Wishes(run.interrupt, journal.folder, journal.driver)
        file_pulse = Pulse(wishes.look_here, stop.FILE_EVERY_S, "stop-file")
        tag_pulse = Pulse(lambda: live.beat(store, spec.name, wishes), stop.TAG_EVERY_S, "live-tag")
        with run.interrupt, file_pulse, tag_pulse:
            run.catch_up()
            yield run
            run.interrupt.check()
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        journal.end_sweep(state)
        run.close()
        best = _best(run)
        if best is not None:
            value = best.best(run.metric, run.mode)
            writer.metrics(parent, 0, {"best_value": value[1] if value else math.nan})
            writer.tags(parent, {"sweep.best": best.trial})
            run.keep_layers(parent, best.model, best.knobs)
        writer.end(parent, state)
        writer.close()


def _search(spec: Spec, rooms: Rooms, run: SweepRun, facts: DataFacts, at_once: int) -> None:
    """The search stage; returns at once where it was finished before."""
    folder = run.journal.folder
    records = [record for record in run.journal.trials.values() if record.kind == "search"]
    also = {name: rooms.metrics[name] for name in spec.objective.also}
    proposals = Proposals(spec, resolve(spec, rooms), run.mode, folder, also)
    unfinished = proposals.reconcile(records, run.metric, run.mode)
    todo = [_continued(record, folder) for record in unfinished]
    ended = sum(record.state in ENDED for record in records)
    left = proposals.limit - proposals.begun() + len(todo)
    ends_s = None if spec.budget.wall_s is None else time.monotonic() + spec.budget.wall_s - run.journal.spent_s
    run.progress.stage("search", proposals.limit, ended)
    if left and (ends_s is None or ends_s > time.monotonic()):
        steps = math.ceil(spec.budget.epochs * facts.counts["train"] / (spec.budget.step_images or facts.counts["train"]))
        rungs = scheduler(spec, run.mode, steps, records)
        listener = StageListener(run, proposals, todo, ends_s)
        plan = _plan(spec, rooms)
        cluster.run_trials(plan, listener, rungs, spec.resources, folder / "checkpoints", at_once=at_once, limit=left)


def _finals(spec: Spec, rooms: Rooms, run: SweepRun, best: TrialRecord, at_once: int) -> None:
    """Trains the best configuration, or every complete one, again under fresh seeds; each is measured once on the test split.

    With `retrain: false` the trials' own checkpoints are measured; a best one that the scheduler stopped is trained to the end first.
    """
    folder, known = run.journal.folder, run.journal.trials
    planned = {f"final-{index}": (best, index) for index in range(spec.seeds)}
    if spec.finals == "every":
        complete = [record for record in known.values() if record.kind == "search" and record.state == "complete"]
        planned = {f"final-{record.number:04d}-{index}": (record, index) for record in complete for index in range(spec.seeds)}
    todo = []
    for trial, (chosen, index) in planned.items():
        record = known.get(trial)
        if record is None and not spec.retrain:
            todo.append(replace(_continued(chosen, folder), trial=trial, number=index))
        elif record is None:
            todo.append(Assignment(trial, index, chosen.model, chosen.knobs, spec.search.seed + FINAL_SEED_STEP + index))
        elif record.state not in ENDED:
            todo.append(_continued(record, folder))
    run.progress.stage("final", len(planned), len(planned) - len(todo))
    if todo:
        listener = StageListener(run, None, todo)
        rungs = scheduler(spec.model_copy(update={"scheduler": type(spec.scheduler)()}), run.mode, 1)
        plan = _plan(spec, rooms)
        cluster.run_trials(plan, listener, rungs, spec.resources, folder / "checkpoints", at_once=at_once, limit=len(todo))


def _continued(record: TrialRecord, folder: Path) -> Assignment:
    """A begun trial, to go on from its checkpoints."""
    checkpoints = [str(path) for path in cluster.checkpoints_of(folder / "checkpoints", record.trial)]
    return Assignment(record.trial, record.number, record.model, record.knobs, record.seed, checkpoints)


def _plan(spec: Spec, rooms: Rooms) -> TrialPlan:
    return TrialPlan(rooms, session_request(spec, spec.models[0], {}, spec.search.seed), spec.budget.epochs, spec.scheduler.stop_collapsed)


def session_request(spec: Spec, model: str, knobs: Mapping[str, Any], seed: int) -> SessionRequest:
    """What defines one training run of a sweep."""
    return SessionRequest(
        model=model,
        knobs=knobs,
        data=spec.data.model_dump(),
        mask=spec.mask.model_dump(),
        seed=seed,
        objective=spec.objective.metric,
        step_images=spec.budget.step_images,
        device="cuda" if spec.resources.gpus else "cpu",
        threads=max(1, int(spec.resources.cpus)),
    )


def _best(run: SweepRun) -> TrialRecord | None:
    best = ranked(run.journal.trials.values(), run.metric, run.mode)
    return best[0] if best else None


def _keep_pictures(spec: Spec, rooms: Rooms, run: SweepRun) -> list[Path]:
    """Picture grids of the best trials, and the best one's checkpoint, on disk and in MLflow."""
    folder = run.journal.folder
    pictures = []
    for place, record in enumerate(ranked(run.journal.trials.values(), run.metric, run.mode)[: max(spec.pictures, 1)]):
        checkpoints = cluster.checkpoints_of(folder / "checkpoints", record.trial)
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


def plot(spec: Spec, rooms: Rooms, folder: Path, records: Iterable[TrialRecord]) -> "Drawn":
    """Draws the plots of a sweep into its folder."""
    from sweeper.search.plots import draw_plots  # its libraries take seconds to be imported

    modes = {name: rooms.metrics[name] for name in (spec.objective.metric, *spec.objective.also)}
    return draw_plots(spec, folder, modes, _parameter_words(spec, rooms), records)


def _parameter_words(spec: Spec, rooms: Rooms) -> dict[str, str]:
    """The study's parameters in words: the knob with its unit, and its model where there are several."""
    several = len(spec.models) > 1
    words = {}
    for model in spec.models:
        for name, knob in rooms.spaces.get(model, {}).items():
            parameter, end = (f"{model}.{name}", f" of {model}") if several else (name, "")
            words[parameter] = in_words(name, knob.unit) + end
    return words
