"""Pictures of sweeps' best models: several side by side on the same images, or what one of them makes of nothing."""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sweeper.checkpoints import Checkpoint, place_of
from sweeper.choice import leaders, modes_of
from sweeper.cli import rooms as installed
from sweeper.driver import session_request
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.retention import checkpoints_for
from sweeper.rooms import Rooms, SessionRequest
from sweeper.spec import Spec
from sweeper.spec_file import read_spec
from sweeper.validation import validate


def draw(rooms: Rooms, home: Home, names: Sequence[str], file: Path, *, images: int, split: str, fills_only: bool) -> None:
    """Draws a grid of fills, one column a sweep.

    Args:
        rooms: the neighbours.
        home: where the sweeps live.
        names: sweeps on the same data and holes.
        file: where the picture goes; its suffix names the format.
        images: how many rows.
        split: "validation" or "test".
        fills_only: no pixel of the images, only what the models made.

    Raises:
        SweepStateError: a sweep that is not there, has no checkpoint, or is on other data or holes than the first.
    """
    models: dict[str, tuple[SessionRequest, Checkpoint]] = {}
    places = set()
    for name in names:
        spec, request, checkpoint = _best(rooms, home, name)
        models[name] = (request, checkpoint)
        places.add((spec.data.name, spec.data.image_px, spec.mask))
    if len(places) > 1:
        raise SweepStateError(
            f"sweeps must be on the same images and holes to be drawn side by side, but {', '.join(names)} differ; choose others"
        )
    with ExitStack() as held:
        fetched = {name: (request, held.enter_context(checkpoint.fetched())) for name, (request, checkpoint) in models.items()}
        installed.side_by_side(fetched, file, images, split, fills_only=fills_only)


def draw_samples(rooms: Rooms, home: Home, name: str, file: Path, *, images: int) -> None:
    """Draws what a sweep's best model makes of nothing.

    Args:
        rooms: the neighbours.
        home: where the sweep lives.
        name: the sweep.
        file: where the picture goes; its suffix names the format.
        images: how many.

    Raises:
        SweepStateError: a sweep that is not there or has no checkpoint, or a model that only fills holes.
    """
    _, request, checkpoint = _best(rooms, home, name)
    with checkpoint.fetched() as folder:
        made = installed.samples(request, folder, file, images)
    if not made:
        raise SweepStateError(f"a model must make whole images to be sampled, but {request.model} fills holes alone; use 'sweep pictures'")


def _best(rooms: Rooms, home: Home, name: str) -> tuple[Spec, SessionRequest, Checkpoint]:
    """A sweep's spec, and session and newest checkpoint of its best trial."""
    spec = validate(read_spec(str(home.spec_file(name))), rooms)
    best = leaders(read_trials(home.folder(name)).values(), spec.objective, modes_of(spec, rooms))
    checkpoints = checkpoints_for(home, place_of(home, name), best[0]) if best else []
    if not checkpoints:
        raise SweepStateError(f"a sweep must have a trial with a checkpoint to be drawn, but {name!r} has none; run it first")
    request = session_request(spec, best[0].model, best[0].knobs, best[0].seed)
    return spec, dataclasses.replace(request, device="cpu", threads=None), checkpoints[0]
