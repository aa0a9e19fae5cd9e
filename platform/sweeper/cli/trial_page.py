"""Everything of one trial: knobs in words, why it ended, metrics by step, files."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from search_spaces import SPACES
from sweeper.checkpoints import checkpoints_of, place_of
from sweeper.cli.summary import knobs_of, known_sweep, trial_document
from sweeper.cli.tables import shorten
from sweeper.errors import StorageError, SweepStateError
from sweeper.home import Home
from sweeper.rows import Reader
from sweeper.space import in_words

BARS = "▁▂▃▄▅▆▇█"
STEPS_SHOWN = 20
METRICS_SHOWN = 6
FIRST = ("epoch", "loss", "wall_s")


def trial_page(reader: Reader, name: str, trial: str, home: Path) -> dict[str, Any]:
    """Everything of one trial as one document.

    Raises:
        SweepStateError: the store has no such sweep or no such trial in it.
    """
    sweep = known_sweep(reader, name)
    trials = reader.trials(name)
    found = trials[trials["trial"] == trial]
    if found.empty:
        there = ", ".join(sorted(trials["trial"])[:10]) + (", ..." if len(trials) > 10 else "")
        raise SweepStateError(f"--trial must be one of the sweep's trials, but {name} has no {trial!r}; there is: {there or 'none'}")
    row = found.iloc[0]
    steps = reader.steps([row["run_id"]]).pivot_table(index="step", columns="metric", values="value", aggfunc="last")
    folder = Home(home).folder(name)
    picture = folder / "pictures" / f"{row['trial']}.png"
    return trial_document(row) | {
        "sweep": name,
        "objective": sweep.tags["sweep.objective"],
        "in_words": [_knob_in_words(row["model"], knob, value) for knob, value in knobs_of(row).items()],
        "steps": steps.reset_index().to_dict("records"),
        **_checkpoints(Home(home), name, row["trial"]),
        "pictures": [str(picture.resolve())] if picture.exists() else [],
        "artifacts": row["artifacts"],
    }


def _checkpoints(home: Home, name: str, trial: str) -> dict[str, Any]:
    """Where a trial's checkpoints lie, the oldest first; why that is not known, where their place does not answer."""
    try:
        found = checkpoints_of(place_of(home, name), trial)
    except StorageError as error:
        return {"checkpoints": [], "checkpoints_unknown": str(error)}
    return {"checkpoints": [checkpoint.public for checkpoint in reversed(found)], "checkpoints_unknown": ""}


def print_trial(out: Console, page: dict[str, Any]) -> None:
    """Prints what `trial_page` gives."""
    why = f" ({page['reason']})" if page["reason"] else ""
    seconds = page["ended_s"] - page["started_s"]
    took = "" if pd.isna(seconds) else f", {seconds:.0f} s from start to end"
    out.print(
        f"[bold]{page['trial']}[/bold] of {page['sweep']}: {page['model']}, seed {page['seed']}; {page['state']}{why}{took}", soft_wrap=True
    )
    knobs = Table("knob", "value", "paper", title="knobs", title_justify="left")
    for knob in page["in_words"]:
        knobs.add_row(knob["name"], shorten(knob["value"]), knob["paper"])
    out.print(knobs)
    _print_steps(out, page["steps"], page["objective"])
    out.print(f"MLflow run:  {page['run_id']}")
    for title, places in (("checkpoint", page["checkpoints"]), ("picture", page["pictures"])):
        for place in places:
            out.print(f"{title + ':':12} {place}", soft_wrap=True)
    if page["checkpoints_unknown"]:
        out.print(f"checkpoints: not known: {page['checkpoints_unknown']}", soft_wrap=True)
    out.print(f"artifacts:   {page['artifacts']}", soft_wrap=True)


def _print_steps(out: Console, steps: list[dict[str, Any]], objective: str) -> None:
    """The learning curve in one line, and the metrics of up to twenty steps spread over the trial."""
    values = [step[objective] for step in steps if pd.notna(step.get(objective))]
    if not values:
        out.print("no step is done")
        return
    out.print(f"{objective}: {learning_curve(values)}  {values[0]:.4g} to {values[-1]:.4g} in {len(values)} step(s)")
    known = dict.fromkeys(key for step in steps for key in step if key != "step")
    names = [name for name in dict.fromkeys((objective, *FIRST, *known)) if name in known]
    shown = names[:METRICS_SHOWN]
    table = Table("step", *shown, title="metrics by step", title_justify="left")
    every = -(-len(steps) // STEPS_SHOWN)
    for place, step in enumerate(steps):
        if place % every == 0 or place == len(steps) - 1:
            table.add_row(str(step["step"]), *(f"{step[name]:.4g}" if pd.notna(step.get(name)) else "" for name in shown))
    out.print(table)
    if names[METRICS_SHOWN:]:
        out.print(f"and {', '.join(names[METRICS_SHOWN:])} (all with --json)", soft_wrap=True)


def learning_curve(values: list[float], width: int = 60) -> str:
    """Values as a line of bars, the least the lowest; at most `width` of them, evenly taken."""
    every = -(-len(values) // width)
    taken = values[::every]
    low, high = min(taken), max(taken)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 0] for value in taken)


def _knob_in_words(model: str, knob: str, value: str) -> dict[str, str]:
    known = SPACES.get(model, {}).get(knob)
    if known is None:
        return {"knob": knob, "name": in_words(knob, ""), "value": value, "unit": "", "paper": "", "source": ""}
    words = in_words(knob, known.unit)
    return {"knob": knob, "name": words, "value": value, "unit": known.unit, "paper": str(known.paper), "source": known.source}
