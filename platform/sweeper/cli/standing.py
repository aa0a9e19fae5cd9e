"""`sweep status`: how sweeps stand, once or again and again."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeper.cli.progress import STATE_STYLE
from sweeper.cli.summary import known_sweep
from sweeper.errors import TrackingError
from sweeper.home import Home
from sweeper.sqlite_reader import open_reader
from sweeper.status import Status, is_here, running_here, status_here, status_there

RUNNING_SHOWN = 16
STATES = {
    "lost": "its driver is gone without a word; go on with: sweep resume",
    "silent": "its driver has not been heard of for a while",
}


def status_of(home: Home, name: str) -> Status:
    """How one sweep stands.

    Raises:
        SweepStateError: there is no such sweep.
        TrackingError: the store does not answer, and the sweep's folder is not here.
    """
    if is_here(home, name):
        status = status_here(home, name)
        return status if status.objective else status_here(home, name, open_reader(home.store_uri).sweep(name))
    reader = open_reader(home.store_uri)
    return status_there(reader, known_sweep(reader, name))


def all_running(home: Home) -> list[Status]:
    """How every sweep stands that runs here, or elsewhere as far as the store knows.

    Raises:
        TrackingError: the store does not answer, and nothing runs here.
    """
    here = [status_of(home, name) for name in running_here(home)]
    try:
        reader = open_reader(home.store_uri)
        rows = [row for row in reader.sweeps() if row.tags.get("sweep.state") == "running" and not is_here(home, row.name)]
        return here + [status_there(reader, row) for row in rows]
    except TrackingError:
        if here:
            return here  # what runs here is known without the store
        raise


def status_document(status: Status) -> dict[str, Any]:
    """A status as one document."""
    best = None if status.best is None else dict(zip(("trial", "step", "value"), status.best, strict=True))
    left = {name: max(limit - status.used[name], 0) for name, limit in status.budget.items() if name in status.used}
    return asdict(status) | {"best": best, "left": left}


def render(statuses: list[Status]) -> RenderableType:
    """Statuses for the screen."""
    return Group(*(_rendered(status) for status in statuses)) if statuses else Text("no sweep runs; 'sweep list' shows those that did")


def _rendered(status: Status) -> RenderableType:
    lines = [Text.from_markup(f"[bold]{status.name}[/bold] is {status.state}{_why(status)}")]
    for title, counts in (("search", status.trials), ("final runs", status.finals)):
        if counts:
            named = "  ".join(f"[{STATE_STYLE.get(state, 'white')}]{count} {state}[/]" for state, count in counts.items())
            lines.append(Text.from_markup(f"  {title}: {named}"))
    if status.best is not None:
        trial, step, value = status.best
        lines.append(Text(f"  best so far: {trial} with {status.objective} {value:.4g} at step {step}"))
    used = [f"{_amount(name, status.used[name])} of {_amount(name, limit)}" for name, limit in status.budget.items() if name in status.used]
    if used:
        lines.append(Text(f"  used: {', '.join(used)}"))
    table = Table.grid(padding=(0, 2))
    for running in status.running[:RUNNING_SHOWN]:
        shown = "" if running.value is None else f"{status.objective} {running.value:.4g}"
        table.add_row("   ", running.trial, f"step {running.step}" if running.step else "starting", shown)
    if len(status.running) > RUNNING_SHOWN:
        table.add_row("   ", f"and {len(status.running) - RUNNING_SHOWN} more", "", "")
    return Group(*lines, table) if status.running else Group(*lines)


def _why(status: Status) -> str:
    words = f" ({STATES[status.state]})" if status.state in STATES else ""
    heard = "" if status.heard_s is None or not status.runs else f", last word {status.heard_s:.0f} s ago"
    return words + heard


def _amount(name: str, value: Any) -> str:
    """A budget's amount with its unit."""
    if name == "wall_s":
        return f"{value / 60:.0f} min" if value >= 90 else f"{value:.0f} s"
    unit = {"trials": "trials", "epochs": "epochs", "accelerator_h": "accelerator-hours"}.get(name, name)
    return f"{value:g} {unit}"


def watch(out: Console, look: Callable[[], list[Status]], every_s: float) -> None:
    """Shows statuses again and again, until nothing runs any more or Ctrl-C."""
    wait = threading.Event()
    with Live(console=out, auto_refresh=False) as live:
        while True:
            statuses = look()
            live.update(render(statuses), refresh=True)
            if not any(status.runs for status in statuses):
                return
            try:
                wait.wait(every_s)
            except KeyboardInterrupt:
                return
