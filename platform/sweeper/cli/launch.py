"""Starting a sweep from the command line: what it says before, while and after it runs."""

import math
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweeper import cluster, runner
from sweeper.cli.progress import LiveProgress
from sweeper.cli.rooms import seconds_an_image
from sweeper.cli.summary import print_summary
from sweeper.home import DEFAULT_STORE, Home
from sweeper.journal import ENDED, ranked, read_trials
from sweeper.notify import Notifier
from sweeper.rooms import Rooms
from sweeper.search import Proposals
from sweeper.space import KnobSearch, resolve
from sweeper.spec import MODEL, SEED, Spec
from sweeper.tracking import Store

PREVIEWED = 5


def launch(out: Console, spec: Spec, rooms: Rooms, home: Home, spec_name: str, address: str | None) -> None:
    """Runs a sweep, or goes on with it, and prints what came of it.

    Raises:
        SystemExit: with code 130 after Ctrl-C, code 1 where no trial has a value.
        SweepError: see `runner.run`.
    """
    metric, mode = spec.objective.metric, rooms.metrics[spec.objective.metric]
    known = ranked(read_trials(home.folder(spec.name)).values(), metric, mode)
    before = known[0].best(metric, mode) if known else None
    searched = _searched_names(resolve(spec, rooms))
    out.print(
        f"sweep [bold]{spec.name}[/bold]: {', '.join(spec.models)} on {spec.data.name} at {spec.data.image_px} px, {spec.mask.kind} hole; "
        f"{spec.search.algorithm} search over {', '.join(searched) or 'nothing'}, scheduler {spec.scheduler.kind}, "
        f"{'least' if mode == 'min' else 'greatest'} {spec.objective.metric} wins; "
        f"up to {spec.budget.trials} trials of {spec.budget.epochs:g} epochs",
        soft_wrap=True,
    )
    try:
        with (
            LiveProgress(out, metric, mode) as progress,
            Notifier(progress, spec.notify, spec.name, metric, mode, before and before[1]) as told,
        ):
            outcome = runner.run(spec, rooms, home, told, spec_name=spec_name, address=address)
            found = outcome.best.best(metric, mode) if outcome.best else None
            told.over((outcome.best.trial, found[1]) if outcome.best and found else None)
    except KeyboardInterrupt:
        out.print(f"\ninterrupted; nothing is lost. Go on with: [bold]sweep resume {spec.name}{_options(home)}[/bold]", soft_wrap=True)
        raise SystemExit(130) from None
    failed = [record for record in outcome.records if record.state in ENDED and record.state == "failed"]
    if outcome.best is None:
        reason = failed[0].reason if failed else "every trial diverged"
        out.print(f"no trial of {spec.name} has a value; the first reason: {reason}")
        raise SystemExit(1)
    print_summary(out, Store(home.store_uri), spec.name, home.root)
    out.print(f"took {outcome.wall_s:.0f} s")


def _searched_names(searched: Mapping[str, Mapping[str, KnobSearch]]) -> list[str]:
    """What differs between trials: the model, where there are several, and all knobs that are searched."""
    knobs = dict.fromkeys(name for own in searched.values() for name, knob in own.items() if not knob.fixed)
    return [*([MODEL] if len(searched) > 1 else []), *knobs]


def _options(home: Home) -> str:
    """The options that name the same folder and store again."""
    root = "" if home.root == Path() else f" --home {shlex.quote(str(home.root))}"
    return root + ("" if home.store == DEFAULT_STORE else f" --store {shlex.quote(home.store)}")


def dry_run(out: Console, spec: Spec, rooms: Rooms) -> None:
    """Says what a sweep would do and what it would cost on this machine; nothing is started or kept."""
    searched = resolve(spec, rooms)
    facts = rooms.prepare(spec.data.model_dump(), spec.mask.model_dump())
    with cluster.connected(None):
        at_once = cluster.check_resources(spec.resources)
    mode = rooms.metrics[spec.objective.metric]
    with tempfile.TemporaryDirectory() as folder:
        proposals = Proposals(spec, searched, mode, Path(folder), {name: rooms.metrics[name] for name in spec.objective.also})
        assignments = list(proposals.preview(PREVIEWED))
        limit = proposals.limit
        cells = proposals.cells if spec.search.algorithm == "grid" else 0
    names = _searched_names(searched)
    table = Table(*names, title=f"the first of {limit} configurations of {spec.name}", title_justify="left")
    for assignment in assignments:
        shown = assignment.knobs | {SEED: assignment.seed, MODEL: assignment.model}
        table.add_row(*(str(shown.get(name, "")) for name in names))
    out.print(table)
    if cells > limit:
        out.print(f"[yellow]note[/yellow] the grid has {cells} cells, the budget {limit} trials: the last cells are left out")
    request = runner.session_request(spec, assignments[0].model, assignments[0].knobs, assignments[0].seed)
    image_s, parameters = seconds_an_image(request)
    trial_s = image_s * facts.counts["train"] * spec.budget.epochs
    finals = spec.seeds * (limit if spec.finals == "every" else 1) * spec.retrain
    total_s = trial_s * (math.ceil(limit / at_once) + math.ceil(finals / at_once))
    fill = facts.baseline["validation"].get(spec.objective.metric)
    out.print(
        f"data: {dict(facts.counts)}, fingerprint {facts.fingerprint}; ring-mean fill: {spec.objective.metric} {fill:.4g}\n"
        f"first configuration: {parameters:,} parameters, {1 / image_s:.0f} images a second in training here\n"
        f"cost: at most {trial_s / 60:.1f} min a trial, {total_s / 60:.0f} min in all with {at_once} at once and no early stop"
        + (f"; the search ends after {spec.budget.wall_s / 60:.0f} min at the latest" if spec.budget.wall_s else ""),
        soft_wrap=True,
    )
