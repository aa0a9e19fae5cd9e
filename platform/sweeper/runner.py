"""One sweep from start to end: prepare, search, train the best again under several seeds, measure it once on the test split."""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper import cluster, provenance
from sweeper.home import Home
from sweeper.journal import ENDED, Journal, TrialRecord, ranked
from sweeper.recorder import Progress, StageListener, SweepRun
from sweeper.rooms import DataFacts, Rooms, SessionRequest
from sweeper.search import Assignment, Proposals, scheduler
from sweeper.space import resolve
from sweeper.spec import Spec
from sweeper.storage import RESERVE_BYTES, guarded, require_room
from sweeper.sync import told_unsent, tracked
from sweeper.tracking import Store
from sweeper.trial import TrialPlan

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
        SweepError: resources that cannot be had, a store that does not answer before the first trial, a sweep that another process runs, a
            folder that is full or gone.
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
        with Journal(folder) as journal, guarded(folder):
            require_room(folder, RESERVE_BYTES)
            (folder / "spec.yaml").write_text(spec.to_yaml())
            journal.sweep(_tags(spec, rooms, facts, spec_name), _baseline(facts))
            with tracked(spec, rooms, home, store, journal, progress) as sweep_run:
                _search(spec, rooms, sweep_run, facts, at_once)
                if sweep_run.best is not None:
                    _finals(spec, rooms, sweep_run, sweep_run.best, at_once)
                pictures = _keep_pictures(spec, rooms, sweep_run)
            if sweep_run.keeper is not None:
                sweep_run.keeper.finish(journal.trials)
            unsent = told_unsent(sweep_run, home)
            records = list(journal.trials.values())
            return Outcome(spec.name, sweep_run.parent, records, facts, sweep_run.best, pictures, time.monotonic() - begun_s, unsent)


def _tags(spec: Spec, rooms: Rooms, facts: DataFacts, spec_name: str) -> dict[str, str]:
    """What the sweep's own run says of how its numbers were made."""
    tags = {
        "sweep.spec": spec_name,
        "sweep.model": ", ".join(spec.models),
        "sweep.data": spec.data.name,
        "sweep.data_fingerprint": facts.fingerprint,
        "sweep.data_counts": json.dumps(dict(facts.counts)),
        "sweep.image_px": str(spec.data.image_px),
        "sweep.mask": spec.mask.described,
        "sweep.objective": spec.objective.metric,
        "sweep.mode": rooms.metrics[spec.objective.metric],
        "sweep.also": json.dumps({name: rooms.metrics[name] for name in spec.objective.also}),
        "sweep.epochs": f"{spec.budget.epochs:g}",
        "hardware.driver": provenance.machine(),
        "hardware.cluster": cluster.node_hardware(),
    }
    return tags | provenance.code_tags() | provenance.version_tags()


def _baseline(facts: DataFacts) -> dict[str, float]:
    """The plain fill's metrics, as the sweep's own run has them."""
    return {f"ring_mean_{split}_{name}": value for split, metrics in facts.baseline.items() for name, value in metrics.items()}


def _search(spec: Spec, rooms: Rooms, run: SweepRun, facts: DataFacts, at_once: int) -> None:
    """The search stage; returns at once where it was finished before."""
    folder = run.journal.folder
    records = [record for record in run.journal.trials.values() if record.kind == "search"]
    also = {name: rooms.metrics[name] for name in spec.objective.also}
    proposals = Proposals(spec, resolve(spec, rooms), run.mode, folder, also)
    unfinished = proposals.reconcile(records, run.metric, run.mode)
    todo = [_continued(record, folder) for record in unfinished if not record.starved]
    ended = sum(record.state in ENDED for record in records)
    left = proposals.limit - proposals.begun() + len(unfinished)
    ends_s = None if spec.budget.wall_s is None else time.monotonic() + spec.budget.wall_s - run.journal.spent_s
    run.progress.stage("search", proposals.limit, ended)
    if left and (ends_s is None or ends_s > time.monotonic()):
        steps = math.ceil(spec.budget.epochs * facts.counts["train"] / (spec.budget.step_images or facts.counts["train"]))
        listener = StageListener(run, proposals, todo, ends_s)
        listener.starved = [record.trial for record in unfinished if record.starved]

        def rungs() -> Any:
            return scheduler(spec, run.mode, steps, [record for record in run.journal.trials.values() if record.kind == "search"])

        _run_stage(spec, rooms, run, listener, rungs, at_once=at_once, limit=left)


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
        starved = [trial for trial in planned if trial in known and known[trial].starved and known[trial].state not in ENDED]
        listener = StageListener(run, None, [assignment for assignment in todo if assignment.trial not in starved])
        listener.starved = starved
        unscheduled = spec.model_copy(update={"scheduler": type(spec.scheduler)()})
        _run_stage(spec, rooms, run, listener, lambda: scheduler(unscheduled, run.mode, 1), at_once=at_once, limit=len(todo))


def _run_stage(
    spec: Spec, rooms: Rooms, run: SweepRun, listener: StageListener, rungs: Callable[[], Any], *, at_once: int, limit: int
) -> None:
    """Runs a stage's trials side by side, then one after the other those that ran out of memory."""
    plan, checkpoints = _plan(spec, rooms, run), run.journal.folder / "checkpoints"
    side_by_side = limit - len(listener.starved)
    if side_by_side > 0:
        cluster.run_trials(plan, listener, rungs(), spec.resources, checkpoints, at_once=at_once, limit=side_by_side)
    alone = [_continued(run.journal.trials[trial], run.journal.folder) for trial in listener.starved]
    if alone:
        listener.alone(alone)
        cluster.run_trials(plan, listener, rungs(), spec.resources, checkpoints, at_once=1, limit=len(alone))
    for assignment in alone:
        record = run.journal.trials[assignment.trial]
        if record.state not in ENDED:
            listener.on_end(record.trial, {}, f"out of memory ({record.starved}), and no time was left to run it with nothing beside it")


def _continued(record: TrialRecord, folder: Path) -> Assignment:
    """A begun trial, to go on from its checkpoints."""
    checkpoints = [str(path) for path in cluster.checkpoints_of(folder / "checkpoints", record.trial)]
    return Assignment(record.trial, record.number, record.model, record.knobs, record.seed, checkpoints)


def _plan(spec: Spec, rooms: Rooms, run: SweepRun) -> TrialPlan:
    request = session_request(spec, spec.models[0], {}, spec.search.seed)
    storage = str((run.journal.folder / "checkpoints").resolve())
    return TrialPlan(rooms, request, spec.budget.epochs, spec.scheduler.stop_collapsed, storage)


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
            run.writer.artifact(run.parent, checkpoints[0] / "checkpoint.pt", "best")
        if place < spec.pictures:
            run.writer.artifact(record.trial, file, "pictures")
            pictures.append(file)
            if place == 0:
                shutil.copy(file, folder / "pictures" / "best.png")
                run.writer.artifact(run.parent, folder / "pictures" / "best.png", "pictures")
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
