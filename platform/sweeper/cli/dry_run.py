"""What a sweep would do and what it would cost, from one measured epoch of each of its models; nothing is started or kept."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweeper import nodes, ray_session
from sweeper.budget import HOUR_S, price_an_hour
from sweeper.choice import modes_of
from sweeper.cli.rooms import MeasuredEpoch, measured_epoch
from sweeper.driver import session_request
from sweeper.nodes import Room
from sweeper.rooms import DataFacts, Rooms
from sweeper.search import Proposals
from sweeper.space import KnobSearch, first_configuration, resolve
from sweeper.spec import MODEL, SEED, Spec

PREVIEWED = 5


def dry_run(out: Console, spec: Spec, rooms: Rooms, address: str | None = None) -> None:
    """Prints the first configurations, and an estimate of time, accelerator-hours and money.

    Args:
        out: where to.
        spec: validated.
        rooms: the neighbours.
        address: of a running Ray cluster, whose nodes are counted; None = this machine. The epochs are measured on this one.
    """
    facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    if facts.skipped:
        out.print(f"[yellow]note[/yellow] {len(facts.skipped)} images did not decode and were left out, the first: {facts.skipped[0]}")
    with ray_session.connected(address):
        room = nodes.check_resources(spec.resources, address)
        price_h = price_an_hour(spec.budget.prices, nodes.node_types())
    searched = resolve(spec, rooms)
    limit = _print_configurations(out, spec, rooms, searched)
    fill = facts.baseline["validation"].get(spec.objective.metric, math.nan)
    out.print(f"data: {dict(facts.counts)}, fingerprint {facts.fingerprint}; ring-mean fill: {spec.objective.metric} {fill:.4g}")
    epochs = [_print_epoch(out, spec, model, own) for model, own in searched.items()]
    _print_cost(out, spec, facts, epochs, limit=limit, room=room, price_h=price_h)


def searched_names(searched: Mapping[str, Mapping[str, KnobSearch]]) -> list[str]:
    """What differs between trials: the model, where there are several, and all knobs that are searched."""
    knobs = dict.fromkeys(name for own in searched.values() for name, knob in own.items() if not knob.fixed)
    return [*([MODEL] if len(searched) > 1 else []), *knobs]


def _print_configurations(out: Console, spec: Spec, rooms: Rooms, searched: Mapping[str, Mapping[str, KnobSearch]]) -> int:
    """The first configurations; returns how many trials there are at the most."""
    modes = modes_of(spec, rooms)
    with tempfile.TemporaryDirectory() as folder:
        private = spec.model_copy(update={"study": None})
        also = {name: modes[name] for name in spec.objective.also}
        proposals = Proposals(private, searched, modes[spec.objective.metric], Path(folder), also)
        assignments = list(proposals.preview(PREVIEWED))
        limit, cells = proposals.limit, proposals.cells if spec.search.algorithm == "grid" else 0
    names = searched_names(searched)
    table = Table(*names, title=f"the first of {limit} configurations of {spec.name}", title_justify="left")
    for assignment in assignments:
        shown = assignment.knobs | {SEED: assignment.seed, MODEL: assignment.model}
        table.add_row(*(str(shown.get(name, "")) for name in names))
    out.print(table)
    if cells > limit:
        out.print(f"[yellow]note[/yellow] the grid has {cells} cells, the budget {limit} trials: the last cells are left out")
    return limit


def _print_epoch(out: Console, spec: Spec, model: str, searched: Mapping[str, KnobSearch]) -> MeasuredEpoch:
    """Measures an epoch of a model's first configuration, and tells it."""
    knobs = {name: value for name, value in first_configuration(searched).items() if name != SEED}
    epoch = measured_epoch(session_request(spec, model, knobs, spec.search.seed))
    part = "" if epoch.share >= 1 else f", extrapolated from {epoch.share:.0%} of it"
    out.print(
        f"{model}: {epoch.parameters:,} parameters; an epoch takes {epoch.train_s:.3g} s of training{part}, "
        f"and {epoch.measure_s:.2g} s of measuring a step, on this machine",
        soft_wrap=True,
    )
    return epoch


def _print_cost(out: Console, spec: Spec, facts: DataFacts, epochs: list[MeasuredEpoch], *, limit: int, room: Room, price_h: float) -> None:
    """The estimate: the mean over the models, every trial trained to its end."""
    train, at_once = facts.counts["train"], room.at_once
    steps = math.ceil(spec.budget.epochs * train / (spec.budget.step_images or train))
    trial_s = sum(spec.budget.epochs * each.train_s + steps * each.measure_s for each in epochs) / len(epochs)
    finals = spec.seeds * (limit if spec.finals == "every" else min(spec.finalists, limit)) * spec.retrain
    total_s = trial_s * (math.ceil(limit / at_once) + math.ceil(finals / at_once))
    if spec.budget.wall_s is not None:
        total_s = min(total_s, spec.budget.wall_s)
    gpu_h = min(trial_s * (limit + finals), total_s * at_once) * room.held.gpus / HOUR_S
    money = f", {total_s / HOUR_S * price_h:.2f} in money at {price_h:g} an hour" if spec.budget.prices else ""
    limits = {"wall_s": "s", "accelerator_h": "accelerator-hours", "cost": "in money"}
    given = [f"{getattr(spec.budget, name):g} {unit}" for name, unit in limits.items() if getattr(spec.budget, name) is not None]
    out.print(
        f"cost: at most {trial_s / 60:.1f} min a trial, {total_s / 60:.0f} min in all with {at_once} at once and no early stop; "
        f"{gpu_h:.2g} accelerator-hours{money}" + (f"; the budget ends it after {', '.join(given)} at the latest" if given else ""),
        soft_wrap=True,
    )
