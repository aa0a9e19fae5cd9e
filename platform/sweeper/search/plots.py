"""Plots of a sweep, drawn by Optuna and plotly from its study: what was tried, what matters, how the trials learned.

Each plot is a page of its own in the sweep's folder; they share one copy of plotly.js beside them, so that they open without a network.
Those that a report shows are drawn a second time as still pictures, by Optuna and matplotlib.
"""

import html
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
import plotly.graph_objects as go
import plotly.io
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as still
from optuna.visualization import (
    plot_contour,
    plot_hypervolume_history,
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
)

from sweeper.journal import TrialRecord
from sweeper.search.storage import study_address
from sweeper.spec import Spec

INDEX = "index.html"
STILLS = "figures"
STILL_IN = (8.0, 4.5)
LEAST_TRIALS = 2
LEAST_FOR_IMPORTANCE = 4
FRAME_PX = 560
ENDINGS = {"complete": "circle", "stopped": "triangle-down", "collapsed": "x", "diverged": "x", "failed": "x", "running": "circle-open"}
Target = Callable[[FrozenTrial], float]


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        index: the page that shows all.
        titles: of each plot by its file's stem.
        left_out: the reason for each plot, by title, that could not be drawn.
    """

    index: Path
    titles: Mapping[str, str]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Plot:
    stem: str
    title: str
    least: int
    draw: Callable[[], go.Figure]
    knobs: int = 1
    still: Callable[[], Axes] | None = None


def draw_plots(spec: Spec, folder: Path, modes: Mapping[str, str], labels: Mapping[str, str], records: Iterable[TrialRecord]) -> Drawn:
    """Draws everything that a sweep's study allows, into `plots/` and `figures/` of its folder; older plots there are removed.

    Args:
        spec: the sweep.
        folder: its folder.
        modes: "min" or "max" for each objective, the first one first.
        labels: each of the study's parameters in words.
        records: the journal's trials, for the learning curves.

    Returns:
        What was drawn, and what was not and why. Nothing is raised for a plot that fails.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = folder / "plots"
    stills = folder / STILLS
    for each in (place, stills):
        each.mkdir(exist_ok=True)
    for old in (*place.glob("*.html"), *stills.glob("*.svg")):
        old.unlink()
    study = _in_words(optuna.load_study(study_name=spec.name, storage=study_address(spec, folder)), labels)
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    knobs = {name for trial in complete for name in trial.params if len({repr(each.params.get(name)) for each in complete}) > 1}
    titles: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for plot in _plots(study, modes, list(records)):
        if len(complete) < plot.least:
            left_out[plot.title] = f"it takes {plot.least} finished trials or more, and there are {len(complete)}"
        elif plot.least and len(knobs) < plot.knobs:
            left_out[plot.title] = f"it takes {plot.knobs} searched knobs or more, and {len(knobs)} differ between the finished trials"
        else:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _write(plot.draw(), place / f"{plot.stem}.html", plot.title)
                    if plot.still is not None:
                        _write_still(plot.still, stills / f"{plot.stem}.svg", plot.title)
            except Exception as error:  # whatever a plotting library meets: a sweep's results never hang on a picture of them
                left_out[plot.title] = f"{type(error).__name__}: {error}"
            else:
                titles[plot.stem] = plot.title
    index = place / INDEX
    index.write_text(_index(spec, study, titles, left_out), encoding="utf-8")
    return Drawn(index, titles, left_out)


def _plots(study: optuna.Study, modes: Mapping[str, str], records: list[TrialRecord]) -> Iterator[_Plot]:
    """Every plot, not drawn yet."""
    several = len(modes) > 1
    for place, metric in enumerate(modes):
        target: Target | None = _objective(place) if several else None
        minus: Target | None = _objective(place, -1 if modes[metric] == "max" else 1) if several else None
        end, shown = (f"-{metric}", f" of {metric}") if several else ("", f" of {metric}")
        yield _Plot(
            f"history{end}", f"Optimisation history{shown}", LEAST_TRIALS, _drawn(plot_optimization_history, study, metric, target), 0
        )
        parallel = _drawn(plot_parallel_coordinate, study, metric, target), 1, _still(still.plot_parallel_coordinate, study, metric, target)
        yield _Plot(f"parallel{end}", f"Parallel coordinates{shown}", LEAST_TRIALS, *parallel)
        yield _Plot(f"slice{end}", f"Slices{shown}", LEAST_TRIALS, _drawn(plot_slice, study, metric, target))
        contour = _contour(study, metric, target, minus)
        yield _Plot(f"contour{end}", f"Contour{shown} over the two knobs that matter most", LEAST_FOR_IMPORTANCE, contour, 2)
        for name, evaluator in (("PED-ANOVA", PedAnovaImportanceEvaluator()), ("fANOVA", FanovaImportanceEvaluator(seed=0))):
            draw = _importances(study, metric, minus if name == "PED-ANOVA" else target, evaluator)
            drawn = _still(still.plot_param_importances, study, metric, minus, evaluator=evaluator) if name == "PED-ANOVA" else None
            stem = f"importance-{name.lower().replace('-', '_')}{end}"
            yield _Plot(stem, f"Importance of the knobs for {metric} ({name})", LEAST_FOR_IMPORTANCE, draw, 1, drawn)
        yield _Plot(f"learning{end}", f"Learning curves{shown}", 0, _curves(records, metric))
    if several:
        if len(modes) <= 3:
            front, picture = (_front(draw, study, modes) for draw in (plot_pareto_front, still.plot_pareto_front))
            yield _Plot("pareto", "Pareto front", LEAST_TRIALS, front, 0, picture)
        yield _Plot("hypervolume", "Hypervolume over the trials", LEAST_TRIALS, lambda: _hypervolume(study, modes), 0)


def _in_words(study: optuna.Study, labels: Mapping[str, str]) -> optuna.Study:
    """A copy in memory of what a study has finished or stopped, its parameters named in words."""
    copy = optuna.create_study(directions=study.directions)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        copy.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                values=trial.values if trial.state == TrialState.COMPLETE else None,
                params={labels.get(name, name): value for name, value in trial.params.items()},
                distributions={labels.get(name, name): each for name, each in trial.distributions.items()},
                intermediate_values=trial.intermediate_values,
                constraints=trial.constraints or None,
            )
        )
    return copy


def _objective(place: int, sign: int = 1) -> Target:
    return lambda trial: sign * trial.values[place]


def _drawn(plot: Callable[..., go.Figure], study: optuna.Study, metric: str, target: Target | None) -> Callable[[], go.Figure]:
    return lambda: plot(study, target=target, target_name=metric)


def _still(plot: Callable[..., Axes], study: optuna.Study, metric: str, target: Target | None, **more: Any) -> Callable[[], Axes]:
    return lambda: plot(study, target=target, target_name=metric, **more)


def _front(plot: Callable[..., Any], study: optuna.Study, modes: Mapping[str, str]) -> Callable[[], Any]:
    return lambda: plot(study, target_names=list(modes))


def _contour(study: optuna.Study, metric: str, target: Target | None, minus: Target | None) -> Callable[[], go.Figure]:
    def draw() -> go.Figure:
        important = list(get_param_importances(study, target=minus))[:2]
        return plot_contour(study, params=important, target=target, target_name=metric)

    return draw


def _importances(
    study: optuna.Study, metric: str, target: Target | None, evaluator: optuna.importance.BaseImportanceEvaluator
) -> Callable[[], go.Figure]:
    return lambda: plot_param_importances(study, evaluator=evaluator, target=target, target_name=metric)


def _hypervolume(study: optuna.Study, modes: Mapping[str, str]) -> go.Figure:
    """The hypervolume up to the worst value of each objective that any trial had."""
    values = [trial.values for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    worst = [max(column) if mode == "min" else min(column) for column, mode in zip(zip(*values, strict=True), modes.values(), strict=True)]
    return plot_hypervolume_history(study, worst)


def _curves(records: list[TrialRecord], metric: str) -> Callable[[], go.Figure]:
    """One line a trial, marked at its end by what ended it; the trials of one state are one trace, so that a thousand are drawn fast."""

    def draw() -> go.Figure:
        figure = go.Figure(layout={"xaxis": {"title": "step"}, "yaxis": {"title": metric}, "hovermode": "closest"})
        search = [record for record in records if record.kind == "search" and any(metric in result for result in record.results.values())]
        if not search:
            raise ValueError("no trial has finished a step")
        for state in dict.fromkeys(record.state for record in search):
            steps: list[int | None] = []
            values: list[float | None] = []
            texts: list[str] = []
            sizes: list[int] = []
            for record in search:
                if record.state == state:
                    points = sorted((step, result[metric]) for step, result in record.results.items() if metric in result)
                    steps += [*(step for step, _ in points), None]
                    values += [*(value for _, value in points), None]
                    texts += [f"{record.trial}: {record.reason or state}"] * (len(points) + 1)
                    sizes += [*([3] * (len(points) - 1)), 10, 0]
            marker = {"symbol": ENDINGS.get(state, "x"), "size": sizes}
            figure.add_trace(go.Scatter(x=steps, y=values, text=texts, name=state, mode="lines+markers", marker=marker, line={"width": 1}))
        return figure

    return draw


def _write(figure: go.Figure, path: Path, title: str) -> None:
    figure.update_layout(title=title)
    plotly.io.write_html(figure, path, include_plotlyjs="directory", div_id=path.stem, full_html=True)


def _write_still(draw: Callable[[], Axes], path: Path, title: str) -> None:
    """Writes an SVG; the same plot gives the same bytes."""
    plt.switch_backend("agg")  # no window, whatever screen there is
    with mpl.rc_context({"svg.hashsalt": "sweeper"}):
        draw()
        figure = plt.gcf()
        figure.set_size_inches(*STILL_IN)
        for axes in figure.axes:
            axes.set_title("")  # Optuna's own says less
        figure.suptitle(title)
        figure.tight_layout()
        figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close("all")


def _index(spec: Spec, study: optuna.Study, titles: Mapping[str, str], left_out: Mapping[str, str]) -> str:
    """The page that shows all plots, and says what is not there."""
    stopped = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    note = (
        f"<p>{stopped} trials were stopped early: they are among the learning curves alone, as their values are not the whole budget's.</p>"
    )
    frames = "\n".join(
        f'<h2><a href="{stem}.html">{html.escape(title)}</a></h2>\n<iframe src="{stem}.html" loading="lazy"></iframe>'
        for stem, title in titles.items()
    )
    missing = "".join(f"<li>{html.escape(title)}: {html.escape(reason)}</li>" for title, reason in left_out.items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(spec.name)}</title>\n'
        f"<style>body {{font-family: sans-serif}} iframe {{width: 100%; height: {FRAME_PX}px; border: 0}}</style></head><body>\n"
        f"<h1>{html.escape(spec.name)}</h1>\n{note if stopped else ''}\n{frames}\n"
        + (f"<h2>Not drawn</h2><ul>{missing}</ul>\n" if missing else "")
        + "</body></html>\n"
    )
