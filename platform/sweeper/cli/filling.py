"""`sweep run table:NAME` and `sweep run tables`: the sweeps that fill the papers' tables, as far as cells are missing or stale.

A sweep that was begun and not finished goes on, where it is of the same spec and its code and images have not changed. A finished one is
left as it is, stale or not: its successor gets the next free name, "NAME-2", and takes over every trial that was trained with the same
code, data and configuration.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from reports.agenda import Task, agenda
from reports.curves import read_curves
from reports.errors import ReportError
from reports.freshness import Today
from reports.layers import read_layer_tables
from reports.selection import FINISHED, Sweep, read_sweeps
from reports.table import Filled, read_tables
from reports.wanted import Lack
from sweeper import stop
from sweeper.cli.ahead import ray_ahead
from sweeper.cli.launch import launch
from sweeper.cli.options import ALL_TABLES, TABLE, set_data_dir
from sweeper.errors import SweepError, SweepStateError
from sweeper.home import Home
from sweeper.journal import driver_of
from sweeper.pulse import Pulse
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from sweeper.spec_file import read_spec
from sweeper.sqlite_reader import open_reader
from sweeper.validation import validate

LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Ways:
    """How the sweeps are run; every field as for `sweep run`.

    Attributes:
        rooms: the neighbours.
        home: where the sweeps live.
        overrides: "key=value" for every spec.
        data_dir: the data folder; None = as usual.
        address: of a running Ray cluster; None = this machine.
        fresh: train again what is known.
        budget_s: wall time of all sweeps together in seconds; None = no limit.
        tables: folder of table files; None = those that come with the package.
    """

    rooms: Rooms
    home: Home
    overrides: Sequence[str] = ()
    data_dir: str | None = None
    address: str | None = None
    fresh: bool = False
    budget_s: float | None = None
    tables: Path | None = None


@dataclass(frozen=True)
class Begin:
    """How a task begins.

    Attributes:
        spec: validated, under the name that the sweep gets.
        goes_on: whether that sweep was begun before.
    """

    spec: Spec
    goes_on: bool


def fill_tables(out: Console, what: str, ways: Ways, *, dry_run: bool) -> None:
    """Runs what is missing or stale.

    Args:
        out: where to.
        what: "tables" or "table:NAME".
        ways: how.
        dry_run: say what would run; start nothing.

    Raises:
        ReportError: no such table, or a table file that cannot be used.
        SweepError: none of the sweeps can be run; nothing was started.
        SystemExit: with code 130 after Ctrl-C, code 1 where a sweep could not be run.
    """
    parts = _parts(what, ways.tables)
    sweeps, today = _sweeps(ways.home), Today(None if ways.data_dir is None else Path(ways.data_dir))
    tasks, left = agenda(parts, sweeps, today)
    begins, troubles = _begins(tasks, sweeps, today, ways)
    tasks = [task for task in tasks if task.sweep in begins]
    _print_plan(out, tasks, left, begins, ways)
    for trouble in troubles:
        out.print(f"[yellow]note[/yellow] cannot be run: {escape(trouble)}", soft_wrap=True)
    if dry_run or not tasks:
        return
    troubles += _run_all(out, tasks, begins, ways)
    _print_end(out, what, parts, ways, troubles)
    if troubles:
        raise SystemExit(1)


def _parts(what: str, folder: Path | None) -> list[Filled]:
    """The tables and figures that are meant."""
    parts: list[Filled] = [*read_tables(folder), *read_layer_tables(folder), *read_curves(folder)]
    if what == ALL_TABLES:
        return parts
    name = what.removeprefix(TABLE)
    found = [part for part in parts if part.name == name]
    if not found:
        names = ", ".join(sorted(part.name for part in parts))
        raise ReportError(
            f"{TABLE} must be followed by one of {names}, but got {name!r}; name one of these, or run all with 'sweep run {ALL_TABLES}'"
        )
    return found


def _sweeps(home: Home) -> list[Sweep]:
    """The sweeps of the store; none where there is no store yet."""
    if home.store_file is not None and not home.store_file.exists():
        return []
    return read_sweeps(open_reader(home.store_uri))


def _begins(tasks: Sequence[Task], sweeps: Sequence[Sweep], today: Today, ways: Ways) -> tuple[dict[str, Begin], list[str]]:
    """How each task begins, and what is wrong with those that cannot.

    Raises:
        SweepError: what is wrong with the first, where none can begin.
    """
    known: tuple[type[Exception], ...] = (SweepError, *ways.rooms.user_errors)
    begins: dict[str, Begin] = {}
    errors: dict[str, Exception] = {}
    for task in tasks:
        try:
            begins[task.sweep] = _begin(task, sweeps, today, ways)
        except known as error:
            errors[task.sweep] = error
    if errors and not begins:
        raise next(iter(errors.values()))
    return begins, [f"{sweep}: {error}" for sweep, error in errors.items()]


def _begin(task: Task, sweeps: Sequence[Sweep], today: Today, ways: Ways) -> Begin:
    """Goes on with an unfinished sweep of the task's spec, or takes the next free name.

    Raises:
        SweepError: a spec that cannot be run, or whose sweep is running.
    """
    fields = read_spec(task.sweep, ways.overrides)
    set_data_dir(fields, ways.data_dir)
    spec = validate(fields, ways.rooms)
    for sweep in sweeps:
        name, folder = sweep.row.name, ways.home.folder(sweep.row.name)
        if sweep.tag("sweep.spec") != Path(task.sweep).stem or sweep.tag("sweep.state") == FINISHED or not (folder / "spec.yaml").exists():
            continue
        begun = validate(read_spec(str(folder / "spec.yaml")), ways.rooms)
        if begun != spec.model_copy(update={"name": name}) or today.stale_any([*sweep.trials, sweep.baseline]):
            continue
        if driver_of(folder) is not None:
            raise SweepStateError(
                f"a sweep must not run twice at a time, but {name!r} is running; wait for it, or stop it: sweep stop {name}"
            )
        if not ways.fresh:
            return Begin(begun, goes_on=True)
    return Begin(spec.model_copy(update={"name": ways.home.free_name(spec.name)}), goes_on=False)


def _print_plan(out: Console, tasks: Sequence[Task], left: Sequence[Lack], begins: dict[str, Begin], ways: Ways) -> None:
    """Which sweeps will run, for what, and how long that will take."""
    for lack in left:
        out.print(
            f"[yellow]note[/yellow] no sweep is named for {lack.table}, {lack.cell or 'all of it'} ({lack.reason}): {lack.fill}",
            soft_wrap=True,
        )
    if not tasks:
        out.print("nothing is missing or stale that a sweep could compute")
        return
    grid = Grid("sweep", "for", "missing", "stale", "time", "as", title="sweeps to run, in this order", title_justify="left")
    for column in (2, 3, 4):
        grid.columns[column].justify = "right"
    for task in tasks:
        begin = begins[task.sweep]
        how = f"goes on: {begin.spec.name}" if begin.goes_on else begin.spec.name
        stale = len(task.lacks) - task.missing
        grid.add_row(task.sweep, ", ".join(task.tables), str(task.missing), str(stale), _time(task.cost.wall_s), how)
    out.print(grid)
    for task in tasks:
        out.print(f"{task.sweep}: {_time(task.cost.wall_s)}, {task.cost.basis}", soft_wrap=True)
    total_s = sum(task.cost.wall_s for task in tasks)
    end = "" if ways.budget_s is None else f"; the budget ends it after {_time(ways.budget_s)}"
    out.print(f"in all about {_time(total_s)}, one trial at a time and nothing taken over{end}", soft_wrap=True)


def _run_all(out: Console, tasks: Sequence[Task], begins: dict[str, Begin], ways: Ways) -> list[str]:
    """Runs one sweep after the other; gives what went wrong, in words."""
    deadline = None if ways.budget_s is None else time.monotonic() + ways.budget_s
    known: tuple[type[Exception], ...] = (SweepError, *ways.rooms.user_errors)
    troubles = []
    for number, task in enumerate(tasks, start=1):
        if deadline is not None and time.monotonic() >= deadline:
            out.print(f"the budget is spent; not begun: {', '.join(each.sweep for each in tasks[number - 1 :])}", soft_wrap=True)
            break
        begin = begins[task.sweep]
        out.print(f"\n[bold]{number} of {len(tasks)}[/bold]: {task.sweep} for {', '.join(task.tables)}", soft_wrap=True)
        watch = _Deadline(deadline, ways.home.folder(begin.spec.name))
        try:
            with Pulse(watch.look, LOOK_EVERY_S, "budget"), ray_ahead(ways.address, ways.home):
                launch(out, begin.spec, ways.rooms, ways.home, Path(task.sweep).stem, ways.address, fresh=ways.fresh)
        except SystemExit as end:
            if watch.asked:
                out.print("the budget is spent; the same command goes on with what it has cut off", soft_wrap=True)
                break
            if end.code != 1:
                raise
            troubles.append(f"{task.sweep}: no trial has a value")
        except known as error:
            out.print(f"[bold red]error[/bold red] {escape(str(error))}", soft_wrap=True)
            troubles.append(f"{task.sweep}: {str(error).splitlines()[0]}")
    return troubles


class _Deadline:
    """Asks the sweep of a folder to stop, as Ctrl-C would, once a moment has passed.

    Attributes:
        asked: whether it was asked.
    """

    def __init__(self, moment: float | None, folder: Path) -> None:
        self.asked = False
        self._moment = moment
        self._folder = folder

    def look(self) -> None:
        """Looks at the clock."""
        if self._moment is None or self.asked or time.monotonic() < self._moment:
            return
        driver = driver_of(self._folder)
        if driver is not None:
            stop.ask_here(self._folder, driver)
            self.asked = True


def _print_end(out: Console, what: str, parts: Sequence[Filled], ways: Ways, troubles: Sequence[str]) -> None:
    """What is still missing, what went wrong, and how to see the tables."""
    sweeps, today = _sweeps(ways.home), Today(None if ways.data_dir is None else Path(ways.data_dir))
    tasks, left = agenda(parts, sweeps, today)
    count = sum(len(task.lacks) for task in tasks) + len(left)
    out.print(f"\nmissing or stale now: {count}")
    for trouble in troubles:
        out.print(f"not run to its end: {trouble}", soft_wrap=True)
    only = "" if what == ALL_TABLES else f" --only {what.removeprefix(TABLE)}"
    folder = "" if ways.tables is None else f" --tables {ways.tables}"
    out.print(
        f"build the report: [bold]{Path(sys.executable).name} -m reports.build{only}{folder}{ways.home.options}[/bold]", soft_wrap=True
    )


def _time(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
