"""Starting a sweep from the command line: what it says before, while and after it runs."""

import shlex
from pathlib import Path

from rich.console import Console

from sweeper import runner
from sweeper.cli.dry_run import searched_names
from sweeper.cli.progress import LiveProgress
from sweeper.cli.summary import print_summary
from sweeper.home import DEFAULT_STORE, Home
from sweeper.journal import ENDED
from sweeper.rooms import Rooms
from sweeper.space import resolve
from sweeper.spec import Spec
from sweeper.tracking import Store
from sweeper.warm_start import mode_of


def launch(out: Console, spec: Spec, rooms: Rooms, home: Home, spec_name: str, address: str | None, *, fresh: bool = False) -> None:
    """Runs a sweep, or goes on with it, and prints what came of it.

    Raises:
        SystemExit: with code 130 after Ctrl-C, code 1 where no trial has a value.
        SweepError: see `runner.run`.
    """
    mode = mode_of(rooms, spec, spec.objective.metric)
    searched = searched_names(resolve(spec, rooms))
    out.print(
        f"sweep [bold]{spec.name}[/bold]: {', '.join(spec.models)} on {spec.data.name} at {spec.data.image_px} px, {spec.mask.kind} hole; "
        f"{spec.search.algorithm} search over {', '.join(searched) or 'nothing'}, scheduler {spec.scheduler.kind}, "
        f"{'least' if mode == 'min' else 'greatest'} {spec.objective.metric} wins; "
        f"up to {spec.budget.trials} trials of {spec.budget.epochs:g} epochs",
        soft_wrap=True,
    )
    try:
        with LiveProgress(out, spec.objective.metric, mode) as progress:
            outcome = runner.run(spec, rooms, home, progress, spec_name=spec_name, address=address, fresh=fresh)
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


def _options(home: Home) -> str:
    """The options that name the same folder and store again."""
    root = "" if home.root == Path() else f" --home {shlex.quote(str(home.root))}"
    return root + ("" if home.store == DEFAULT_STORE else f" --store {shlex.quote(home.store)}")
