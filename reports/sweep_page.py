"""The page of one sweep, and the lines about it in the index."""

import datetime as dt
import statistics
from collections import Counter
from collections.abc import Sequence

from reports.glossary import binned_metrics, glossary, split_metrics, training_metrics
from reports.lineage import epochs
from reports.markdown import markdown_table, number, shorten
from reports.selection import Run, Sweep

LEADERBOARD_ROWS = 10
COMPARED = ("l2_hole", "mse_hole", "psnr_hole", "maem_hole", "ssim_hole", "l2_image", "psnr_image", "ssim_image")
OVERVIEW = (
    "sweep",
    "state",
    "model",
    "data",
    "objective",
    "best on validation",
    "ring mean, validation",
    "final runs on test",
    "ring mean, test",
)


def overview_row(sweep: Sweep, stem: str) -> list[str]:
    """The sweep in one line, under `OVERVIEW`."""
    metric = sweep.tag("sweep.objective")
    ranked = sweep.ranked()
    return [
        f"[{sweep.row.name}](sweeps/{stem}.md)",
        sweep.tag("sweep.state"),
        sweep.tag("sweep.model"),
        sweep.tag("sweep.data"),
        f"{metric} ({sweep.tag('sweep.mode')})",
        number(ranked[0].value(metric)) if ranked else "no value",
        number(sweep.row.metrics.get(f"ring_mean_validation_{metric}"), missing=""),
        _finals(_finals_of(sweep, ranked), metric),
        number(sweep.row.metrics.get(f"ring_mean_test_{metric}"), missing=""),
    ]


def sweep_page(sweep: Sweep, picture: str | None, stills: Sequence[tuple[str, str]] = (), *, pictures: bool = True) -> str:
    """The page in Markdown.

    Args:
        sweep: the sweep with its runs.
        picture: file name of its picture grid beside the page; None where it has none.
        stills: plots of its search beside the page, each with title and file name.
        pictures: whether the page speaks of pictures at all.
    """
    ranked = sweep.ranked()
    parts = [
        f"# Sweep {sweep.row.name}\n",
        _facts(sweep),
        "## Leaderboard\n",
        _leaderboard(sweep, ranked) if ranked else "No trial has a value yet.\n",
        "## Against the plain fill\n",
        _comparison(sweep, ranked),
        "## Final runs\n",
        _final_runs(sweep),
    ]
    if pictures:
        parts += ["## Pictures\n", _picture(sweep, picture)]
    if stills:
        parts += ["## The search\n", "\n".join(f"![{title}]({file})\n" for title, file in stills)]
    return "\n".join(parts)


def _facts(sweep: Sweep) -> str:
    """State, what was swept, on which data, with which code."""
    states = Counter(run.state for run in sweep.trials if run.kind == "search")
    counts = " / ".join(str(sweep.counts.get(split, "?")) for split in ("train", "validation", "test"))
    begun = dt.datetime.fromtimestamp(sweep.row.started_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    metric = sweep.tag("sweep.objective")
    better = {"min": "lower is better", "max": "higher is better"}.get(sweep.tag("sweep.mode"), sweep.tag("sweep.mode"))
    dirty = " with uncommitted changes" if sweep.tag("git.dirty") == "true" else ""
    rows = [
        ["state", sweep.tag("sweep.state")],
        ["search trials", ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"],
        ["spec", sweep.tag("sweep.spec")],
        ["model", sweep.tag("sweep.model")],
        ["objective", f"{metric} on the validation split, {better}"],
        ["data", f"{sweep.tag('sweep.data')} at {sweep.tag('sweep.image_px')} px, fingerprint {sweep.tag('sweep.data_fingerprint')}"],
        ["images train / validation / test", counts],
        ["hole", sweep.tag("sweep.mask")],
        ["epochs a trial, at most", sweep.tag("sweep.epochs")],
        ["hardware", sweep.tag("hardware.cluster") or sweep.tag("hardware.driver")],
        ["begun", begun],
        ["commit", sweep.tag("git.commit") + dirty],
        ["MLflow run id", sweep.row.run_id],
    ]
    return markdown_table(["", ""], [row for row in rows if row[1]])


def _leaderboard(sweep: Sweep, ranked: list[Run]) -> str:
    """The best search trials with the knobs that were searched."""
    metric = sweep.tag("sweep.objective")
    searched = _searched(sweep)
    rows = []
    for place, run in enumerate(ranked[:LEADERBOARD_ROWS], start=1):
        step = number(run.metrics.get("best_step"), 0, missing="")
        knobs = [shorten(run.knobs.get(knob, "")) for knob in searched]
        rows.append([str(place), run.trial, run.state, number(run.value(metric)), step, *knobs, run.run_id])
    text = markdown_table(["", "trial", "state", metric, "step", *searched, "MLflow run id"], rows)
    left_out = len(ranked) - LEADERBOARD_ROWS
    return text + (f"\n{left_out} more trials have a value.\n" if left_out > 0 else "")


def _searched(sweep: Sweep) -> list[str]:
    """Knobs that take more than one value among the search trials."""
    values: dict[str, set[str]] = {}
    for run in sweep.trials:
        if run.kind == "search":
            for knob, text in run.knobs.items():
                values.setdefault(knob, set()).add(text)
    return [knob for knob, found in values.items() if len(found) > 1]


def _comparison(sweep: Sweep, ranked: list[Run]) -> str:
    """The best trial on validation and the final runs on test, each beside filling with the ring's mean."""
    plain = sweep.row.metrics
    rows = [
        [
            metric,
            number(ranked[0].value(metric), missing="") if ranked else "",
            number(plain.get(f"ring_mean_validation_{metric}"), missing=""),
            _finals(_finals_of(sweep, ranked), metric),
            number(plain.get(f"ring_mean_test_{metric}"), missing=""),
            glossary()[metric].better if metric in glossary() else "",
        ]
        for metric in dict.fromkeys([sweep.tag("sweep.objective"), *COMPARED])
    ]
    filled = [row for row in rows if any(row[1:5])]
    if not filled:
        return "Nothing is measured yet.\n"
    return markdown_table(["metric", "best trial, validation", "ring mean, validation", "final runs, test", "ring mean, test", ""], filled)


def _finals_of(sweep: Sweep, ranked: list[Run]) -> list[Run]:
    """The final runs of the best configuration."""
    return [run for run in sweep.finals if not ranked or run.knobs == ranked[0].knobs]


def _finals(finals: list[Run], metric: str) -> str:
    """Mean over seeds, with the sample standard deviation; empty where nothing is measured."""
    values = [value for run in finals if (value := run.value(metric)) is not None]
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{spread}"


def _final_runs(sweep: Sweep) -> str:
    """Every complete final run with its figures on the test split."""
    metrics = list(dict.fromkeys([sweep.tag("sweep.objective"), "l2_hole", "psnr_hole", "maem_hole"]))
    several = any(run.knobs != sweep.finals[0].knobs for run in sweep.finals)
    searched = _searched(sweep) if several else []
    rows = []
    for run in sweep.finals:
        knobs = [shorten(run.knobs.get(knob, "")) for knob in searched]
        seed = "" if run.seed is None else str(run.seed)
        rows.append([run.trial, *knobs, seed, epochs(run), *(number(run.value(metric), missing="") for metric in metrics), run.run_id])
    if not rows:
        return "The best configuration has not been trained again yet; nothing is measured on the test split.\n"
    which = "Each configuration that was trained to its end" if several else "The best configuration"
    note = f"{which} trained again under fresh seeds, each measured once on the test split.\n\n"
    return note + markdown_table(["run", *searched, "seed", "epochs", *(f"test {metric}" for metric in metrics), "MLflow run id"], rows)


def picture_caption(sweep: Sweep) -> str:
    """How to read the sweep's picture grid."""
    ranked = sweep.ranked()
    trial = sweep.tag("sweep.best") or (ranked[0].trial if ranked else "")
    return f"Validation images: input, filled with the ring's mean, filled by {trial}, truth"


def _picture(sweep: Sweep, picture: str | None) -> str:
    if picture is None:
        return "The store has no picture grid of this sweep, or none that may be published here.\n"
    caption = picture_caption(sweep)
    return f"{caption}.\n\n![{caption}]({picture})\n"


def terms() -> str:
    """The glossary as a Markdown table."""
    rows = [[name, term.unit, term.better, term.meaning] for name, term in (split_metrics() | training_metrics()).items()]
    text = markdown_table(["metric", "unit", "better", "meaning"], rows)
    first, binned = next(iter(split_metrics())), next(iter(binned_metrics()))
    return (
        f"{text}\n`{binned}` and its like are means by hole size: {binned_metrics()[binned].meaning}.\n"
        f"\nIn the store `best_{first}` is the value at a trial's best step on the validation split, `test_{first}` the one on the "
        f"test split; `ring_mean_validation_{first}` and `ring_mean_test_{first}` are those of the plain fill.\n"
    )
