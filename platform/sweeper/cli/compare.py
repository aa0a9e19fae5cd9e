"""Sweeps beside each other: the best of each, what differs, and whether they may be compared at all."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from sweeper.cli.summary import best_of, knobs_of, known_sweep, test_results
from sweeper.cli.tables import shorten
from sweeper.errors import SpecError
from sweeper.home import Home
from sweeper.rows import Reader
from sweeper.status import true_state

PLACES = {
    "sweep.data": "the images",
    "sweep.image_px": "the side of the images in px",
    "sweep.data_fingerprint": "the prepared pixels (fingerprint)",
    "sweep.data_counts": "the number of images in each split",
    "sweep.mask": "the holes",
}
BUDGET = ("trials", "epochs", "step_images", "wall_s", "accelerator_h", "cost")


def comparison(reader: Reader, names: Sequence[str], home: Path) -> dict[str, Any]:
    """Sweeps beside each other as one document.

    Raises:
        SpecError: fewer than two sweeps.
        SweepStateError: the store has not all of them.
    """
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise SpecError(f"two sweeps or more can be compared, but got {', '.join(names)}; name another one")
    sweeps = {name: _one(reader, name, home) for name in names}
    differences = [_difference(words, tag, sweeps) for tag, words in PLACES.items()]
    objectives = {name: each["objective"] for name, each in sweeps.items()}
    if len(set(objectives.values())) > 1:
        named = ", ".join(f"{metric} in {name}" for name, metric in objectives.items())
        differences.append(f"the objective differs: {named}; each sweep's best is the best by its own")
    bests = [each["best"] for each in sweeps.values() if each["best"]]
    knobs = list(dict.fromkeys(knob for best in bests for knob in best["knobs"]))
    return {
        "comparable": not any(differences),
        "differences": [difference for difference in differences if difference],
        "differing_knobs": [knob for knob in knobs if len({str(best["knobs"].get(knob)) for best in bests}) > 1],
        "sweeps": sweeps,
    }


def print_comparison(out: Console, document: dict[str, Any]) -> None:
    """Prints what `comparison` gives."""
    sweeps = document["sweeps"]
    for difference in document["differences"]:
        out.print(f"[bold red]not comparable[/bold red] {difference}", soft_wrap=True)
    if document["comparable"]:
        out.print("on the same images and holes, by the same objective")
    table = Table("", *sweeps, title="the best of each", title_justify="left")
    bests = {name: each["best"] or {} for name, each in sweeps.items()}
    for title, key in (("state", "state"), ("model", "model")):
        table.add_row(title, *(each[key] for each in sweeps.values()))
    table.add_row("trial", *(str(best.get("trial", "no value")) for best in bests.values()), end_section=True)
    metrics = list(dict.fromkeys(name for best in bests.values() for name in best.get("metrics", {})))
    for metric in metrics:
        table.add_row(f"{metric} (validation)", *(_number(best.get("metrics", {}).get(metric)) for best in bests.values()))
    table.add_row("test split", *(_test(each) for each in sweeps.values()), end_section=True)
    for knob in document["differing_knobs"]:
        table.add_row(knob, *(shorten(best.get("knobs", {}).get(knob, "")) for best in bests.values()))
    table.add_section()
    for limit in BUDGET:
        if any(each["budget"].get(limit) for each in sweeps.values()):
            table.add_row(f"budget: {limit}", *(shorten(each["budget"].get(limit) or "") for each in sweeps.values()))
    table.add_row("trials with an end", *(str(each["ended"]) for each in sweeps.values()))
    out.print(table)
    if not document["differing_knobs"]:
        out.print("the best configurations have equal knobs")


def _one(reader: Reader, name: str, home: Path) -> dict[str, Any]:
    """One sweep's side."""
    sweep = known_sweep(reader, name)
    trials = reader.trials(name)
    tags, metric = sweep.tags, sweep.tags["sweep.objective"]
    top = best_of(sweep, trials)
    best = None
    if top is not None:
        columns = [
            column for column in top.index if column.startswith("metric.best_") and column != "metric.best_step" and pd.notna(top[column])
        ]
        metrics = {column.removeprefix("metric.best_"): top[column] for column in columns}
        ordered = {name: metrics[name] for name in sorted(metrics, key=lambda each: each != metric)}
        best = {"trial": top["trial"], "seed": top["seed"], "knobs": knobs_of(top) | {"model": top["model"]}, "metrics": ordered}
    test = [values for _, values in test_results(trials, metric)]
    budget = json.loads(tags.get("sweep.budget", "{}")) or {"epochs": tags.get("sweep.epochs")}
    return {
        "state": true_state(Home(home), sweep),
        "model": tags.get("sweep.model", ""),
        "objective": metric,
        "mode": tags["sweep.mode"],
        "places": {tag: tags.get(tag) for tag in PLACES},
        "best": best,
        "test": {"metric": metric, "mean": test[0].mean(), "std": test[0].std(), "n": len(test[0])} if len(test) == 1 else None,
        "budget": {key: value for key, value in budget.items() if key in BUDGET},
        "ended": int((trials[trials["role"] == "search"]["state"] != "running").sum()) if len(trials) else 0,
    }


def _difference(words: str, tag: str, sweeps: dict[str, Any]) -> str:
    """What differs between the sweeps in one respect; empty where nothing does."""
    values = {name: each["places"][tag] for name, each in sweeps.items()}
    if len(set(values.values())) == 1:
        return ""
    return f"{words} differ: " + ", ".join(f"{'not recorded' if value is None else value} in {name}" for name, value in values.items())


def _test(each: dict[str, Any]) -> str:
    test = each["test"]
    if test is None:
        return ""
    spread = f" +- {test['std']:.2g}" if test["n"] > 1 else ""
    return f"{test['metric']} {test['mean']:.4g}{spread} (n={test['n']})"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
