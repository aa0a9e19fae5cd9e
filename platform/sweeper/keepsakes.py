"""What a sweep leaves to be looked at: picture grids of its best trials, the best one's checkpoint, plots of the search."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.checkpoints import FILE, Checkpoint
from sweeper.choice import modes_of
from sweeper.driver import Driver, session_request
from sweeper.journal import TrialRecord
from sweeper.recorder import SweepRun
from sweeper.rooms import Rooms
from sweeper.space import in_words
from sweeper.spec import Spec, is_bucket

FIGURES = "figures"  # as `search.plots` calls the folder

if TYPE_CHECKING:
    from sweeper.search.plots import Drawn


def keep_plots(spec: Spec, rooms: Rooms, driver: Driver) -> None:
    """The plots of the search and those of them that a report shows, on disk and in MLflow."""
    run = driver.run
    drawn = plot(spec, rooms, run.journal.folder, run.journal.trials.values())
    for file in sorted(drawn.index.parent.iterdir()):
        run.writer.artifact(run.parent, file, "plots")
    send_figures(run)


def send_figures(run: SweepRun) -> None:
    """Sends the still plots that the sweep's folder has."""
    for file in sorted((run.journal.folder / FIGURES).glob("*.svg")):
        run.writer.artifact(run.parent, file, FIGURES)


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
            keep_best(run, checkpoints[0])
        if place < spec.pictures:
            run.writer.artifact(record.trial, file, "pictures")
            pictures.append(file)
            if place == 0:
                shutil.copy(file, folder / "pictures" / "best.png")
                run.writer.artifact(run.parent, folder / "pictures" / "best.png", "pictures")
    return pictures


def keep_best(run: SweepRun, checkpoint: Checkpoint) -> None:
    """Sends the best trial's checkpoint to MLflow; one that lies in a bucket stays in the sweep's folder too."""
    with checkpoint.fetched() as folder:
        file = folder / FILE
        if is_bucket(checkpoint.address):  # it is sent later, when what was fetched is gone
            (run.journal.folder / "best").mkdir(exist_ok=True)
            file = Path(shutil.copy(file, run.journal.folder / "best" / FILE))
        run.writer.artifact(run.parent, file, "best")


def _draw(spec: Spec, rooms: Rooms, run: SweepRun, record: TrialRecord, checkpoints: list[Checkpoint], file: Path) -> list[Checkpoint]:
    """Draws a trial's picture grid from its newest checkpoint that is whole; returns that one and those before it."""
    file.parent.mkdir(exist_ok=True)
    request = replace(session_request(spec, record.model, record.knobs, record.seed), device="cpu", threads=None)
    for number, checkpoint in enumerate(checkpoints):
        try:
            with checkpoint.fetched() as whole:
                rooms.picture(request, whole, file)
        except rooms.user_errors as error:
            run.progress.note(str(error))
        else:
            return checkpoints[number:]
    return []


def plot(spec: Spec, rooms: Rooms, folder: Path, records: Iterable[TrialRecord]) -> "Drawn":
    """Draws the plots of a sweep into its folder."""
    from sweeper.search.plots import draw_plots  # its libraries take seconds to be imported

    return draw_plots(spec, folder, modes_of(spec, rooms), _parameter_words(spec, rooms), records)


def _parameter_words(spec: Spec, rooms: Rooms) -> dict[str, str]:
    """The study's parameters in words: the knob with its unit, and its model where there are several."""
    several = len(spec.models) > 1
    words = {}
    for model in spec.models:
        for name, knob in rooms.spaces.get(model, {}).items():
            parameter, end = (f"{model}.{name}", f" of {model}") if several else (name, "")
            words[parameter] = in_words(name, knob.unit) + end
    return words
