"""`sweep plan`: what a sweep would ask of a cluster larger than this machine, and what breaks first."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli.options import DataDirOption, HomeOption, JsonOption, StoreOption, print_json, spec_names, sweep_names
from sweeper.cli.screen import out
from sweeper.errors import SpecError
from sweeper.home import DEFAULT_STORE, Home

if TYPE_CHECKING:
    from sweeper.planning import Capacity, Column, Work

app = typer.Typer()
NODES = "10,100,1000"
STORAGE_MIB_S = 1000.0  # a network file system of 10 Gbit/s


@app.command()
def plan(
    spec: Annotated[str | None, typer.Argument(help="A shipped spec's name, or a YAML file.", autocompletion=spec_names)] = None,
    like: Annotated[
        str | None, typer.Option("--from", help="A finished sweep, whose own figures of a trial are taken.", autocompletion=sweep_names)
    ] = None,
    nodes: Annotated[str, typer.Option(help="Numbers of nodes.")] = NODES,
    per_node: Annotated[int | None, typer.Option("--trials-per-node", min=1, help="Default: what fits a node like this machine.")] = None,
    step_s: Annotated[
        float | None, typer.Option("--step-s", min=1e-6, help="Seconds a step on those nodes; default: measured here.")
    ] = None,
    storage_mib_s: Annotated[float, typer.Option("--storage-mib-s", min=0.001, help="Bandwidth of the shared storage.")] = STORAGE_MIB_S,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    data_dir: DataDirOption = None,
) -> None:
    """Compute which part of a larger cluster breaks first, from what a trial and each part do here: let nothing else run meanwhile."""
    from sweeper.calibration import calibrate
    from sweeper.cli.measuring import spec_to_plan, trials_on_a_node, work_of_a_spec, work_of_a_sweep
    from sweeper.cli.rooms import installed_rooms
    from sweeper.planning import breaks, verdict
    from sweeper.planning import plan as load

    if (spec is None) == (like is None):
        raise SpecError("a plan needs a SPEC or --from NAME, one of them, but got " + ("both" if spec else "neither") + "; give one")
    counts, rooms, place = _numbers(nodes), installed_rooms(), Home(home, store)
    checked = spec_to_plan(str(place.spec_file(like)) if like else str(spec), rooms, data_dir)
    work, source = work_of_a_sweep(checked, place) if like else work_of_a_spec(checked, rooms, step_s)
    if like and step_s is not None:
        raise SpecError(f"--step-s goes with a SPEC, but got it with --from {like}, which has measured its steps; leave one out")
    can = calibrate(checked, rooms, place, work.values, storage_mib_s * 2**20)
    places = trials_on_a_node(checked) if per_node is None else per_node
    columns = [load(work, can, count, places) for count in counts]
    found = breaks(work, can, places)
    if as_json:
        told = [asdict(each) | {"verdict": verdict(each.nodes, found)} for each in columns]
        broken = [{"part": each.load.part, "nodes": each.nodes, "remedy": each.load.remedy} for each in found]
        figures = {"trials_per_node": places, "source": source, "work": asdict(work), "capacity": asdict(can)}
        print_json(figures | {"breaks": broken, "columns": told})
        return
    _print_figures(work, can, source, places, storage_mib_s)
    out.print(_table(columns))
    for column in columns:
        out.print(verdict(column.nodes, found), soft_wrap=True)


def _numbers(text: str) -> list[int]:
    """Numbers of nodes from "10,100"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SpecError(f"--nodes must be whole numbers above 0 with commas between them, but got {text!r}; write {NODES}")
    return [int(part) for part in parts]


def _print_figures(work: "Work", can: "Capacity", source: str, places: int, storage_mib_s: float) -> None:
    """Every figure that the table follows from, and where it comes from."""
    study = f"{can.study_trial_s * 1e3:.2f} ms a trial, {can.study_growth_s * 1e6:.1f} us more for each that it holds"
    lines = (
        f"a trial ({source}): {work.steps:g} results, one in {work.step_s:.3g} s, {work.values} values each; checkpoint "
        f"{work.checkpoint_bytes / 2**20:.2f} MiB, {work.keep} kept; data {work.data_bytes / 2**20:.1f} MiB a node; {places} trials a node",
        f"driver (measured on this machine): Ray Tune {can.tune_result_s * 1e3:.2f} ms of CPU a result; "
        f"journal {can.journal_result_s * 1e3:.2f} ms a result, {can.journal_trial_s * 1e3:.2f} ms a trial; "
        f"study {study}, {can.study_result_s * 1e3:.2f} ms a result",
        f"MLflow (measured): {can.store_trial_s * 1e3:.1f} ms a run begun and closed, {can.store_call_s * 1e3:.2f} ms a call and "
        f"{can.store_value_s * 1e6:.1f} us a value; Ray's head (measured): {can.head_calls_s:.0f} small requests a second",
        f"shared storage (--storage-mib-s): {storage_mib_s:g} MiB/s; room in the home (measured): {can.free_bytes / 2**30:.0f} GiB",
    )
    for line in lines:
        out.print(line, soft_wrap=True)


def _table(columns: "list[Column]") -> Table:
    table = Table(title="load, and its share of what the part can do", title_justify="left")
    table.add_column("part", no_wrap=True)
    for column in columns:
        table.add_column(f"{column.nodes} nodes", justify="right")
    rates = ("trials at once", "results a second", "trials ended a second")
    for title, values in zip(rates, zip(*((each.at_once, each.results_s, each.trials_s) for each in columns), strict=True), strict=True):
        table.add_row(title, *(f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}" for value in values))
    table.add_section()
    for row in zip(*(column.loads for column in columns), strict=True):
        cells = [Text(f"{each.amount:,.3g} {each.unit} = {each.share:.1%}", _style(each.share, serious=each.breaks)) for each in row]
        table.add_row(row[0].part, *cells)
    return table


def _style(share: float, *, serious: bool) -> str:
    if share <= 0.7:
        return "green"
    return "bold red" if share > 1 and serious else "yellow"
