"""The screen of a running sweep: a live panel in a terminal, one line a finished trial elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

STATE_STYLE = {"complete": "green", "infeasible": "yellow", "stopped": "yellow", "collapsed": "magenta", "diverged": "red", "failed": "red"}


class LiveProgress:
    """Implements `sweeper.recorder.Progress`; use it as a context manager."""

    def __init__(
        self, console: Console, metric: str, mode: str, baseline: float | None = None, *, begun: Callable[[], None] | None = None
    ) -> None:
        self._begun = begun
        self._console = console
        self._metric = metric
        self._mode = mode
        self._baseline = baseline
        self._title, self._total, self._done, self._before = "preparing", 0, 0, 0
        self._states: dict[str, int] = {}
        self._running: dict[str, tuple[int, float] | None] = {}
        self._best: tuple[str, float] | None = None
        self._begun_s = time.monotonic()
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def stage(self, title: str, total: int, done: int) -> None:
        """A stage begins; the first one is the sweep's own beginning."""
        if self._begun is not None:
            self._begun()
            self._begun = None
        self._title, self._total, self._done, self._before = title, total, done, done
        self._running.clear()
        self._begun_s = time.monotonic()
        if total > done:
            again = f", {done} done before" if done else ""
            self._console.print(f"[bold]{title}[/bold]: {total} trials{again}")

    def started(self, trial: str) -> None:
        """A trial is running."""
        self._running.setdefault(trial, None)

    def advanced(self, trial: str, step: int, value: float) -> None:
        """A trial has a new value."""
        self._running[trial] = (step, value)
        self._take_best(trial, value)

    def ended(self, trial: str, state: str, reason: str, value: float | None) -> None:
        """A trial is over."""
        step = (self._running.pop(trial, None) or (0, 0.0))[0]
        self._done += 1
        self._states[state] = self._states.get(state, 0) + 1
        shown = "no value" if value is None else f"{self._metric} {value:.4g}"
        why = f" ({reason})" if reason and state != "stopped" else ""
        style = STATE_STYLE.get(state, "white")
        best = f"best {self._best[1]:.4g}" if self._best else ""
        steps = f"{step} step{'' if step == 1 else 's'}"
        place = f"{self._done}/{self._total}, {best}{self._time_left()}"
        self._console.print(f"  [{style}]{state:9}[/{style}] {trial}  {shown} after {steps}{why}  [dim]{place}[/dim]", soft_wrap=True)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._console.print(f"  [yellow]note[/yellow] {text}", soft_wrap=True)

    def _take_best(self, trial: str, value: float) -> None:
        if self._best is None or (value < self._best[1] if self._mode == "min" else value > self._best[1]):
            self._best = (trial, value)

    def _time_left(self) -> str:
        """The mean time of a finished trial, times those that are left."""
        done = self._done - self._before
        if not done or self._done >= self._total:
            return ""
        left_s = (time.monotonic() - self._begun_s) / done * (self._total - self._done)
        return f", about {left_s / 60:.0f} min left" if left_s >= 90 else f", about {left_s:.0f} s left"

    def _render(self) -> Group:
        counts = "  ".join(f"[{STATE_STYLE.get(state, 'white')}]{count} {state}[/]" for state, count in self._states.items())
        head = Text.from_markup(
            f"[bold]{self._title}[/bold] {self._done}/{self._total}  {len(self._running)} running  {counts}{self._time_left()}"
        )
        table = Table.grid(padding=(0, 2))
        for trial, state in self._running.items():
            table.add_row(
                trial, "starting" if state is None else f"step {state[0]}", "" if state is None else f"{self._metric} {state[1]:.4g}"
            )
        best = f"best so far: {self._best[0]} {self._metric} {self._best[1]:.4g}" if self._best else "no value yet"
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=60)
        return Group(head, bar, table, Text(best))
