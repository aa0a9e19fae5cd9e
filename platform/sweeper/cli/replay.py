"""`sweep replay`: what other searches would have cost on a finished sweep, before the next one is paid for."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sweeper.capabilities import ALGORITHMS, SCHEDULERS
from sweeper.cli.options import HomeOption, JsonOption, StoreOption, print_json, sweep_names
from sweeper.cli.screen import err, out
from sweeper.errors import SpecError
from sweeper.home import DEFAULT_STORE, Home

if TYPE_CHECKING:
    from sweeper.recording import Recording
    from sweeper.replay import Outcome, Policy
    from sweeper.rooms import Rooms
    from sweeper.space import KnobSearch

app = typer.Typer()
USUAL_METRIC = "l2_hole"
SLOW_S = 3600.0


def recordings(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps whose folders are here, and tables beside."""
    tables = [str(path) for suffix in ("csv", "parquet") for path in Path().glob(f"*.{suffix}")]
    return sorted([*sweep_names(context, incomplete), *(path for path in tables if path.startswith(incomplete))])


@app.command()
def replay(
    name: Annotated[str, typer.Argument(help="A finished sweep, or the table of 'sweep export --steps'.", autocompletion=recordings)],
    algorithm: Annotated[str, typer.Option(help="Search algorithms; 'sweep algorithms' lists them.")] = "tpe,random,grid",
    scheduler: Annotated[str, typer.Option(help="Schedulers: none, asha, median.")] = "asha,none",
    workers: Annotated[str, typer.Option(help="Numbers of trials that train at once.")] = "1,4,16",
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How often each search is replayed.")] = 50,
    within: Annotated[str, typer.Option(help="How near the best recorded value a search has to come.")] = "2%",
    grace_steps: Annotated[int, typer.Option("--grace-steps", min=1, help="Steps that every trial gets; asha, median.")] = 1,
    reduction: Annotated[int, typer.Option(min=2, help="One in so many trials goes on at each rung; asha.")] = 3,
    metric: Annotated[str | None, typer.Option(help=f"The objective; default: the sweep's own, of a table {USUAL_METRIC}.")] = None,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Replay a finished sweep's learning curves under other algorithms, schedulers and numbers of workers: what each would have cost."""
    from sweeper.cli.rooms import installed_rooms
    from sweeper.replay import outcomes

    rooms = installed_rooms()
    share = _share(within)
    recorded = _recording(name, metric, rooms, Home(home, store))
    policies, left_out = _policies(recorded, _words(algorithm), _words(scheduler), _numbers(workers), grace_steps, reduction)
    searched = recorded.searched(rooms.spaces.get(recorded.model, {}))
    found = []
    with err.status("replaying") as waiting:
        for outcome in outcomes(recorded, searched, policies, seeds, share):
            found.append(outcome)
            waiting.update(f"replaying: {len(found)} of {len(policies)} done")
    notes = [*recorded.notes, *left_out]
    if as_json:
        print_json(document(recorded, searched, found, share, notes))
    else:
        print_outcomes(out, recorded, searched, found, share, notes)


def document(
    recorded: "Recording", searched: "dict[str, KnobSearch]", found: "Sequence[Outcome]", within: float, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything as one JSON document."""
    return {
        "recording": recorded.name,
        "model": recorded.model,
        "metric": recorded.metric,
        "mode": recorded.mode,
        "configurations": len(recorded.curves),
        "steps": recorded.steps,
        "best": recorded.best,
        "within": within,
        "target": recorded.target(within),
        "reach_the_target": _reaching(recorded, within),
        "knobs": {knob: _in_words(search) for knob, search in searched.items()},
        "notes": list(notes),
        "outcomes": [_outcome_document(each) for each in found],
        "next": advice(found, within),
    }


def _outcome_document(outcome: "Outcome") -> dict[str, Any]:
    policy = outcome.policy
    kind = policy.scheduler.model_dump(include={"kind", *SCHEDULERS[policy.scheduler.kind].uses})
    figures = {name: value for name, value in asdict(outcome).items() if name != "policy"}
    return {"workers": policy.workers, "algorithm": policy.algorithm, "scheduler": kind, **figures}


def print_outcomes(
    console: Console,
    recorded: "Recording",
    searched: "dict[str, KnobSearch]",
    found: "Sequence[Outcome]",
    within: float,
    notes: Sequence[str] = (),
) -> None:
    """Prints the recording, the table, and what to do next."""
    for note in notes:
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    spent_s = sum(sum(curve.seconds) for curve in recorded.curves)
    console.print(
        f"{recorded.name}: {len(recorded.curves)} configurations of {recorded.model}, {recorded.epochs:g} epochs in {_duration(spent_s)}; "
        f"best {recorded.metric} {recorded.best:.4g}, within {within:.3g} of it: {_reaching(recorded, within)} configurations",
        soft_wrap=True,
    )
    console.print("searched: " + "; ".join(f"{knob}: {_in_words(search)}" for knob, search in searched.items()), soft_wrap=True)
    console.print(outcome_table(found, within))
    for line in advice(found, within):
        console.print(line, soft_wrap=True)


def outcome_table(found: "Sequence[Outcome]", within: float) -> Table:
    """One row a policy."""
    table = Table(title=f"until within {within:.3g} of the best, mean of {found[0].seeds} seeds", title_justify="left")
    for title in ("workers", "algorithm", "scheduler"):
        table.add_column(title, justify="right" if title == "workers" else "left")
    for title in ("time", "least - greatest", "trials begun", "epochs", "of random", "of the whole grid", "lost"):
        table.add_column(title, justify="right")
    workers = None
    for each in found:
        if workers not in (None, each.policy.workers):
            table.add_section()
        workers = each.policy.workers
        spread = f"{_duration(each.spread[0])} - {_duration(each.spread[1])}"
        numbers = (f"{each.trials:.1f}", f"{each.epochs:.1f}", f"{each.of_random:.2f}", f"{each.of_grid:.2f}", str(each.lost or ""))
        table.add_row(str(workers), each.policy.algorithm, each.policy.scheduler.kind, _duration(each.seconds), spread, *numbers)
    table.caption = (
        "of random: of the time of random search without early stopping; of the whole grid: of training every configuration to its end; "
        "lost: runs whose scheduler stopped every configuration that comes so far, counted with training on what it stopped"
    )
    return table


def advice(found: "Sequence[Outcome]", within: float) -> list[str]:
    """The fastest way on each number of workers, as options of the next sweep; a grid's one order says nothing of the next grid's."""
    lines = []
    drawn = [each for each in found if each.policy.algorithm != "grid"] or found
    for workers in dict.fromkeys(each.policy.workers for each in drawn):
        best = min((each for each in drawn if each.policy.workers == workers), key=lambda each: each.seconds)
        kind = best.policy.scheduler
        settings = [f"search.algorithm={best.policy.algorithm}", f"scheduler.kind={kind.kind}", f"budget.trials={best.trials_late}"]
        settings += [f"scheduler.grace_steps={kind.grace_steps}"] if kind.kind in ("asha", "median") else []
        settings += [f"scheduler.reduction={kind.reduction}"] if kind.kind == "asha" else []
        lines.append(
            f"next, with {workers} at once: sweep run SPEC {' '.join(f'--set {setting}' for setting in settings)}  "
            f"({best.of_random:.2f} of the time of random search; nine runs in ten begin no more trials)"
        )
        if best.lost:
            lines.append(
                f"  it lost {best.lost} of {best.seeds} runs to early stopping: try a greater --grace-steps, or a smaller --reduction"
            )
    return lines


def _recording(name: str, metric: str | None, rooms: "Rooms", place: Home) -> "Recording":
    """A recording of a file or of a sweep in the store."""
    from sweeper.cli.export import step_rows
    from sweeper.cli.summary import known_sweep
    from sweeper.recording import SUFFIXES, read_table, recorded_model, recording
    from sweeper.sqlite_reader import open_reader

    if Path(name).suffix.lower() in SUFFIXES:
        table, usual = read_table(Path(name)), USUAL_METRIC
    else:
        place.folder(name)
        reader = open_reader(place.store_uri)
        usual = known_sweep(reader, name).tags["sweep.objective"]
        table = step_rows(reader, name)
    model, metric = recorded_model(table, name), metric or usual
    modes = {**rooms.metrics, **(rooms.extra_metrics(model) if model in rooms.models or ":" in model else {})}
    if metric not in modes:
        raise SpecError(f"--metric must be one of {', '.join(sorted(modes))}, but got {metric!r}; name one of these")
    return recording(table, Path(name).stem, metric, modes[metric])


def _policies(
    recorded: "Recording", algorithms: list[str], kinds: list[str], workers: list[int], grace_steps: int, reduction: int
) -> "tuple[list[Policy], list[str]]":
    """Every pair that goes together, for every number of workers; and why the other pairs do not.

    Raises:
        SpecError: an unknown algorithm or scheduler, one that cannot be replayed, or no pair that goes together.
    """
    from sweeper.replay import Policy, problems
    from sweeper.spec import Scheduler

    replayed = [kind for kind, each in SCHEDULERS.items() if not each.pauses]
    for option, given, allowed in (("--algorithm", algorithms, list(ALGORITHMS)), ("--scheduler", kinds, replayed)):
        unknown = [each for each in given if each not in allowed]
        if unknown:
            waits = "; the trials of the others wait for each other, which is not simulated" if option == "--scheduler" else ""
            raise SpecError(f"{option} must be of {', '.join(allowed)}, but got {', '.join(unknown)}{waits}; name some of these")
    found, left_out = [], []
    for count in workers:
        for algorithm in algorithms:
            for kind in kinds:
                settings = {"grace_steps": grace_steps} if kind in ("asha", "median") else {}
                settings |= {"reduction": reduction} if kind == "asha" else {}
                policy = Policy(algorithm, Scheduler(kind=kind, **settings), count)
                reasons = problems(recorded, policy)
                left_out += [f"{algorithm} with {kind} is left out: {reason}" for reason in reasons if count == workers[0]]
                found += [] if reasons else [policy]
    if not found:
        raise SpecError("an algorithm and a scheduler must go together, but none of these do: " + "; ".join(left_out))
    return found, left_out


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip())) or [text]


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise SpecError(f"--workers must be whole numbers from 1 to 100000 with commas between them, but got {text!r}; write 1,4,16")
    return list(dict.fromkeys(int(part) for part in parts))


def _share(text: str) -> float:
    """A share from "2%" or "0.02"."""
    digits = text.strip().removesuffix("%")
    try:
        share = float(digits) / (100 if "%" in text else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise SpecError(f"--within must be a share from 0 to below 1, or below 100 in percent, but got {text!r}; write 2% or 0.02")
    return share


def _reaching(recorded: "Recording", within: float) -> int:
    """How many configurations come to the target."""
    target = recorded.target(within)
    return sum(any(recorded.reaches(value, target) for value in curve.values) for curve in recorded.curves)


def _in_words(search: "KnobSearch") -> str:
    if search.values:
        return ", ".join(str(value) for value in sorted(search.values, key=lambda value: (str(type(value)), value)))
    return f"{search.low:.4g} to {search.high:.4g}{' (log)' if search.log else ''}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 10 * SLOW_S else f"{seconds / SLOW_S:.0f} h"
