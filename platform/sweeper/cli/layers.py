"""The layers of a model on the command line: what each network is built of, without a sweep, without memory for its weights."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from sweeper.cli.rooms import first_mask
from sweeper.cli.tables import network_table
from sweeper.errors import SpecError
from sweeper.rooms import Rooms
from sweeper.spec_file import set_field


def print_layers(
    out: Console, rooms: Rooms, model: str, settings: Sequence[str], *, image_px: int, hole_px: int, mask: str | None = None
) -> None:
    """Prints one table a network.

    Args:
        out: the screen.
        rooms: the neighbours.
        model: a registered model, or "module:Class".
        settings: "knob=value" each; the other knobs keep the paper's value.
        image_px: side of the images.
        hole_px: side of the holes.
        mask: kind of the holes; None = the first one that the model fills.

    Raises:
        SpecError: a knob that the model does not have, or a value outside the documented range.
        InpaintingError: a model that is not there or cannot be built so.
    """
    knobs: dict[str, Any] = {}
    for setting in settings:
        set_field(knobs, setting)
    _check(rooms, model, knobs)
    hole = {"kind": mask or first_mask(model), "hole_px": hole_px}
    rows = rooms.layers(model, knobs, {"image_px": image_px}, hole)
    if not rows:
        out.print(f"{model} has no networks, so it has no layers")
        return
    total = sum(row["parameters"] for row in rows)
    out.print(f"[bold]{model}[/bold] for {image_px} px images, holes of kind {hole['kind']}: {total:,} parameters")
    for network in dict.fromkeys(row["network"] for row in rows):
        out.print(network_table(network, [row for row in rows if row["network"] == network]))


def _check(rooms: Rooms, model: str, knobs: dict[str, Any]) -> None:
    """Judges knobs by what is documented; a user's own model documents nothing."""
    space = rooms.spaces.get(model, {})
    for name, value in knobs.items() if space else ():
        if name not in space:
            raise SpecError(f"--set must name one of {', '.join(space)}, but {model} has no knob {name!r}; name one of these")
        if not space[name].holds(value):
            one_of = "" if hasattr(space[name], "low") else "one of "
            raise SpecError(f"{name} must be {one_of}{space[name].allowed}, but got {value!r}; 'sweep space {model}' says why")
