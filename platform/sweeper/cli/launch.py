"""Starting a sweep from the command line: what it says before, while and after it runs."""

from rich.console import Console

from sweeper import runner, sync
from sweeper.archive import is_archive
from sweeper.choice import modes_of
from sweeper.cli import markers
from sweeper.cli.dry_run import searched_names
from sweeper.cli.progress import LiveProgress
from sweeper.cli.summary import print_from_journal, print_summary_or_journal
from sweeper.errors import SweepStateError
from sweeper.home import Home
from sweeper.journal import ENDED, ranked, read_trials
from sweeper.notify import Notifier
from sweeper.rooms import Rooms
from sweeper.space import resolve
from sweeper.spec import Spec


def launch(out: Console, spec: Spec, rooms: Rooms, home: Home, spec_name: str, address: str | None, *, fresh: bool = False) -> None:
    """Runs a sweep, or goes on with it, and prints what came of it.

    Raises:
        SystemExit: with code 130 after Ctrl-C, code 1 where no trial has a value.
        SweepStateError: the home is an archive, which is for reading.
        SweepError: see `runner.run`.
    """
    if is_archive(home.root):
        raise SweepStateError(
            f"a sweep must run in a home, but {home.root.resolve()} is an archive; name another with --home, and: sweep adopt {home.root}"
        )
    metric, mode = spec.objective.metric, modes_of(spec, rooms)[spec.objective.metric]
    known = ranked(read_trials(home.folder(spec.name)).values(), metric, mode)
    before = known[0].best(metric, mode) if known else None
    searched = searched_names(resolve(spec, rooms))
    out.print(
        f"sweep [bold]{spec.name}[/bold]: {', '.join(spec.models)} on {spec.data.name} at {spec.data.image_px} px, {spec.mask.kind} hole; "
        f"{spec.search.algorithm} search over {', '.join(searched) or 'nothing'}, scheduler {spec.scheduler.kind}, "
        f"{'least' if mode == 'min' else 'greatest'} {spec.objective.metric} wins; "
        f"up to {spec.budget.trials} trials of {spec.budget.epochs:g} epochs",
        soft_wrap=True,
    )
    try:
        with (
            LiveProgress(out, metric, mode, begun=lambda: markers.say("begun", name=spec.name)) as progress,
            Notifier(progress, spec.notify, spec.name, metric, mode, before and before[1]) as told,
        ):
            outcome = runner.run(spec, rooms, home, told, spec_name=spec_name, address=address, fresh=fresh)
            found = outcome.best.best(metric, mode) if outcome.best else None
            told.over((outcome.best.trial, found[1]) if outcome.best and found else None)
    except KeyboardInterrupt:
        out.print(f"\ninterrupted; nothing is lost. Go on with: [bold]sweep resume {spec.name}{home.options}[/bold]", soft_wrap=True)
        raise SystemExit(130) from None
    failed = [record for record in outcome.records if record.state in ENDED and record.state == "failed"]
    if outcome.best is None:
        reason = failed[0].reason if failed else "every trial diverged"
        out.print(f"no trial of {spec.name} has a value; the first reason: {reason}")
        raise SystemExit(1)
    if outcome.unsent:
        print_from_journal(out, home, spec.name)
    else:
        print_summary_or_journal(out, home, spec.name)
    out.print(f"took {outcome.wall_s:.0f} s")


def send(out: Console, spec: Spec, rooms: Rooms, home: Home) -> None:
    """Sends the store what a sweep's journal knows and it does not.

    Raises:
        SystemExit: with code 1 where the store has not taken everything.
        SweepError: see `sync.sync`.
    """
    done = sync.sync(spec, rooms, home, LiveProgress(out, spec.objective.metric, modes_of(spec, rooms)[spec.objective.metric]))
    if done.unsent:
        out.print(done.unsent, soft_wrap=True)
        raise SystemExit(1)
    out.print(f"{spec.name}: sent {done.values} values; the store at {home.store_uri} has everything", soft_wrap=True)
