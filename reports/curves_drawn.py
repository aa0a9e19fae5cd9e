"""A figure over epochs filled from a store: its points as CSV, its picture, its page."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from reports.curves import Curves, Line, Panel
from reports.figures import COLOURS, entitle, panels_figure, save, styled
from reports.freshness import Today
from reports.lineage import commit_of, epochs, hardware_of, wall_of
from reports.markdown import NOT_MEASURED, also_as, markdown_table
from reports.selection import COMPLETE, FINISHED, Run, Sweep, has_knobs, meets
from sweeper.rows import Reader

CSV_FIELDS = ("document", "figure", "panel", "line", "metric", "unit", "run_id", "sweep", "trial", "seed", "step", "epoch", "value")
STROKES = ("-", "--", ":")  # where there are more lines than colours
PANEL_IN = 2.6
FEW_DECADES, LOG_TICKS = 2.0, 9


@dataclass(frozen=True)
class Trace:
    """One trial's values of a line.

    Attributes:
        panel: where it is drawn.
        line: what it shows.
        run: whose it is.
        sweep: the run's.
        points: (step, epoch, value), by step.
    """

    panel: Panel
    line: Line
    run: Run
    sweep: Sweep
    points: tuple[tuple[int, float, float], ...]


def traces(curves: Curves, sweeps: Sequence[Sweep], store: Reader) -> list[Trace]:
    """All that the store has of a figure, panel by panel and line by line.

    Args:
        curves: the figure.
        sweeps: the newest first.
        store: has the trials' metrics.
    """
    return [trace for panel in curves.panels for line in panel.lines for trace in _of_line(curves, panel, line, sweeps, store)]


def _of_line(curves: Curves, panel: Panel, line: Line, sweeps: Sequence[Sweep], store: Reader) -> Iterator[Trace]:
    where = curves.where.joined(line.where)
    for sweep in sweeps:
        if sweep.tag("sweep.state") != FINISHED or not meets(sweep, where):
            continue
        runs = [run for run in sweep.trials if run.kind == "search" and run.state == COMPLETE and has_knobs(run, where)]
        found = store.histories([run.run_id for run in runs], ["epoch", line.metric])
        for run in runs:
            epoch_at, values = dict(found.get((run.run_id, "epoch"), ())), found.get((run.run_id, line.metric), ())
            points = tuple((step, epoch_at[step], value) for step, value in values if step in epoch_at)
            if points:
                yield Trace(panel, line, run, sweep, points)
        if runs:
            return


def curves_csv(curves: Curves, found: Sequence[Trace]) -> str:
    """One line a point, under `CSV_FIELDS`, values with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for trace in found:
        origin = (trace.run.run_id, trace.sweep.row.name, trace.run.trial, "" if trace.run.seed is None else trace.run.seed)
        shown = (curves.document, curves.number, trace.panel.title, trace.line.title, trace.line.metric, trace.panel.unit)
        for step, epoch, value in trace.points:
            writer.writerow((*shown, *origin, step, f"{epoch:g}", f"{value:.6g}"))
    return text.getvalue()


def draw_curves(curves: Curves, found: Sequence[Trace], folder: Path) -> None:
    """Writes NAME.png and NAME.svg into a folder that is there; panels above each other, one colour or style a line, one stroke a trial."""
    with styled():
        figure = panels_figure(0.6 + PANEL_IN * len(curves.panels))
        for panel, axes in zip(curves.panels, figure.subplots(len(curves.panels), squeeze=False)[:, 0], strict=True):
            for place, line in enumerate(panel.lines):
                colour, mine = COLOURS[place % len(COLOURS)], [trace for trace in found if trace.panel is panel and trace.line is line]
                for number, trace in enumerate(mine):
                    x, y = [epoch for _, epoch, _ in trace.points], [value for _, _, value in trace.points]
                    style = STROKES[place // len(COLOURS) % len(STROKES)] if len(x) > 1 else "o"
                    axes.plot(x, y, style, color=colour, alpha=0.8, label=None if number else line.title)
                if not mine:
                    axes.plot([], [], "-", color=colour, label=f"{line.title}: {NOT_MEASURED}")
            values = [value for trace in found if trace.panel is panel for _, _, value in trace.points]
            if panel.log and values:
                logarithmic(axes, values)
            axes.set_title(panel.title, loc="left", y=1.0)
            axes.set_xlabel("epoch")
            axes.set_ylabel(panel.unit)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        entitle(figure, f"{curves.document}, {curves.label}")
        save(figure, curves.name, folder)


def logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis whose few ticks are plain numbers: within two decades at 1, 2 and 5, else at powers of ten."""
    positive = [value for value in values if value > 0]
    decades = math.log10(max(positive) / min(positive)) if positive else 0.0
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < FEW_DECADES else (1.0,), numticks=LOG_TICKS))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()


def drawn(curves: Curves, found: Sequence[Trace]) -> str:
    """How many of its lines are there, in words."""
    lines = [(panel.title, line.title) for panel in curves.panels for line in panel.lines]
    there = {(trace.panel.title, trace.line.title) for trace in found}
    return f"{len(there)} of {len(lines)} lines drawn"


def curves_page(curves: Curves, found: Sequence[Trace], today: Today | None = None, endings: Sequence[str] = ("svg", "csv")) -> str:
    """The page in Markdown.

    Args:
        curves: the figure.
        found: what is drawn.
        today: says what is stale; None = code and images are looked at anew.
        endings: of the files beside it that say the same; with "svg" among them the figure lies there.
    """
    today = today or Today()
    parts = [
        f"# {curves.document}, {curves.label}\n",
        f"{curves.caption}.\n",
        f"The images stand in for the source's: {curves.stand_in}.\n" if curves.stand_in else "",
        f"Source: {curves.source}; {curves.place}.\n",
        f"![{curves.caption}]({curves.name}.png)\n" if "svg" in endings else "",
        f"{drawn(curves, found).capitalize()}. To train it: `{curves.fill}`.\n",
        also_as(curves.name, endings),
    ]
    if curves.notes:
        parts += ["## Notes\n", "\n".join(f"- {note}" for note in curves.notes) + "\n"]
    if found:
        runs = {trace.run.run_id: trace for trace in found}
        rows = []
        for trace in runs.values():
            run, sweep = trace.run, trace.sweep
            seed = "" if run.seed is None else str(run.seed)
            where = f"{sweep.tag('sweep.data')}, {sweep.tag('sweep.image_px')} px, {sweep.tag('sweep.mask')}"
            wall_s = wall_of(run)
            row = [run.run_id, f"{sweep.row.name} / {run.trial}", run.model, where, epochs(run), seed, commit_of(sweep)]
            rows.append([*row, hardware_of(sweep), "" if wall_s is None else f"{wall_s:.0f}", today.stale(run)])
        headings = ("MLflow run id", "sweep / trial", "model", "data", "epochs", "seed", "commit", "hardware", "wall time, s", "stale")
        parts += ["## Runs\n", markdown_table(headings, rows)]
    return "\n".join(part for part in parts if part)
