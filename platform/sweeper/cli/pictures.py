"""Pictures of several sweeps side by side: the same images, one column a sweep's best model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from sweeper import cluster, runner
from sweeper.cli.rooms import side_by_side
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import ranked, read_trials
from sweeper.rooms import Rooms, SessionRequest
from sweeper.spec import read_spec
from sweeper.validation import validate


def draw(rooms: Rooms, home: Home, names: Sequence[str], file: Path, *, images: int, split: str) -> None:
    """Draws the grid.

    Args:
        rooms: the neighbours.
        home: where the sweeps live.
        names: sweeps on the same data and holes.
        file: where the picture goes; its suffix names the format.
        images: how many rows.
        split: "validation" or "test".

    Raises:
        SweepStateError: a sweep that is not there, has no checkpoint, or is on other data or holes than the first.
    """
    models: dict[str, tuple[SessionRequest, Path]] = {}
    places = set()
    for name in names:
        spec = validate(read_spec(str(home.spec_file(name))), rooms)
        metric = spec.objective.metric
        best = ranked(read_trials(home.folder(name)).values(), metric, rooms.metrics[metric])
        checkpoints = cluster.checkpoints_of(home.folder(name) / "checkpoints", best[0].trial) if best else []
        if not checkpoints:
            raise SweepStateError(f"a sweep must have a trial with a checkpoint to be drawn, but {name!r} has none; run it first")
        request = runner.session_request(spec, best[0].knobs, best[0].seed)
        models[name] = (dataclasses.replace(request, device="cpu", threads=None), checkpoints[0])
        places.add((spec.data.name, spec.data.image_px, spec.mask))
    if len(places) > 1:
        raise SweepStateError(
            f"sweeps must be on the same images and holes to be drawn side by side, but {', '.join(names)} differ; choose others"
        )
    side_by_side(models, file, images, split)
