"""The sweep's own MLflow run from its start to its end, and `sweep sync`, which sends later what the store could not take.

At the start the store must answer. From then on everything goes through the writer's thread, and the journal holds it too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten

from sweeper import stop
from sweeper.checkpoints import checkpoints_of, sweeps_place
from sweeper.choice import modes_of
from sweeper.errors import StorageError
from sweeper.fills import FOLDER, PLAIN, fills_file
from sweeper.home import Home
from sweeper.journal import ENDED, Journal
from sweeper.keepsakes import keep_best, send_figures
from sweeper.layers import LayerTables
from sweeper.live import LiveTag
from sweeper.pulse import Pulse
from sweeper.recorder import Progress, SweepRun
from sweeper.retention import Keeper
from sweeper.rooms import Rooms
from sweeper.search import checkpoints_needed
from sweeper.spec import Spec
from sweeper.stop import Wishes
from sweeper.storage import guarded
from sweeper.tracking import Store
from sweeper.writer import Writer

REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Synced:
    """What `sync` has done.

    Attributes:
        values: metrics that were sent.
        unsent: what the store has not taken and how to send it; empty where it has everything.
    """

    values: int
    unsent: str


def opened(spec: Spec, rooms: Rooms, home: Home, store: Store, journal: Journal, progress: Progress) -> SweepRun:
    """The sweep's MLflow run, found again or made: the one moment at which the store must answer.

    Raises:
        TrackingError: it does not.
    """
    parent = store.begin(spec.name, "sweep", None, None, journal.tags, {}, journal.begun_s or None)
    writer = Writer(store)
    writer.file(parent, "spec.yaml", spec.to_public_yaml())
    if fills_file(journal.folder, PLAIN).is_file():
        writer.artifact(parent, fills_file(journal.folder, PLAIN), FOLDER)
    if journal.baseline:
        writer.metrics(parent, 0, journal.baseline, journal.begun_s)
    modes, metric = modes_of(spec, rooms), spec.objective.metric
    layers = LayerTables(rooms, spec.data.model_dump(), spec.mask.model_dump(), progress.note)
    place = sweeps_place(home, spec.name, spec.checkpoints.storage)
    keeper = Keeper(place, spec.checkpoints, metric, modes[metric], checkpoints_needed(spec.scheduler))
    return SweepRun(spec.name, spec.objective, modes, journal, store, writer, parent, progress, layers, keeper)


@contextmanager
def tracked(spec: Spec, rooms: Rooms, home: Home, store: Store, journal: Journal, progress: Progress) -> Iterator[SweepRun]:
    """The sweep's MLflow run for the length of a `with`; whatever ends it, no run is left RUNNING while the store answers."""
    live = LiveTag(progress, spec.objective.metric, modes_of(spec, rooms)[spec.objective.metric], journal)
    run = opened(spec, rooms, home, store, journal, live)
    state = "failed"
    try:
        wishes = Wishes(run.interrupt, journal.folder, journal.driver)
        file_pulse = Pulse(wishes.look_here, stop.FILE_EVERY_S, "stop-file")
        tag_pulse = Pulse(lambda: live.beat(store, spec.name, wishes), stop.TAG_EVERY_S, "live-tag")
        with guarded(journal.folder), run.interrupt, file_pulse, tag_pulse:
            run.catch_up()
            yield run
            run.interrupt.check()
        state = "finished"
    except (KeyboardInterrupt, StorageError):
        state = "interrupted"
        raise
    finally:
        try:
            journal.end_sweep(state)
        finally:
            run.finish(state)
            if run.unsent is not None:
                progress.note(told_unsent(run, home))


def told_unsent(run: SweepRun, home: Home) -> str:
    """What the store has not taken, for the user; empty where it has everything."""
    unsent = run.unsent
    if unsent is None:
        return ""
    return (
        f"{unsent.values} values of {unsent.runs} runs are unsent, since {shorten(unsent.reason, REASON_CHARACTERS)}. The journal in "
        f"{run.journal.folder.resolve()} has them all; when the store answers again, type: sweep sync {run.name}{home.options}"
    )


def sync(spec: Spec, rooms: Rooms, home: Home, progress: Progress) -> Synced:
    """Sends MLflow what the journal of a sweep knows and the store does not; a second time it finds nothing to send.

    Args:
        spec: of a sweep that was begun.
        rooms: the neighbours.
        home: where the sweep lives.
        progress: hears what could not be sent.

    Raises:
        SweepError: a store that does not answer, a sweep that a process is running.
    """
    folder = home.folder(spec.name)
    with Journal(folder) as journal:
        run = opened(spec, rooms, home, Store(home.store_uri), journal, progress)
        run.catch_up()
        try:
            _send_pictures(run)
        except StorageError as error:  # the bucket of the checkpoints; everything else is sent all the same
            progress.note(str(error))
        whole = journal.over == "finished" and all(record.state in ENDED for record in journal.trials.values())
        run.finish(journal.over if whole or journal.over == "failed" else "interrupted")
        return Synced(run.writer.sent, told_unsent(run, home))


def _send_pictures(run: SweepRun) -> None:
    """Sends what `keep_pictures` and `keep_plots` have left on disk; of the plots those alone that a report shows."""
    send_figures(run)
    pictures = run.journal.folder / "pictures"
    for trial in run.journal.trials:
        if (pictures / f"{trial}.png").is_file():
            run.writer.artifact(trial, pictures / f"{trial}.png", "pictures")
    if (pictures / "best.png").is_file():
        run.writer.artifact(run.parent, pictures / "best.png", "pictures")
    if run.best is None or run.keeper is None or run.journal.over != "finished":
        return
    whole = (checkpoint for checkpoint in checkpoints_of(run.keeper.place, run.best.trial) if checkpoint.is_whole())
    if (newest := next(whole, None)) is not None:
        keep_best(run, newest)
