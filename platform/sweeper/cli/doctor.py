"""`sweep doctor`: whether everything that a sweep needs is there, and what to do where it is not."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from sweeper.cli.options import DataDirOption, HomeOption, JsonOption, StoreOption, print_json, set_data_dir, spec_names
from sweeper.cli.screen import out
from sweeper.errors import SpecError
from sweeper.home import DEFAULT_STORE, Home

if TYPE_CHECKING:
    from sweeper.doctor import Finding, Needed, Question
    from sweeper.rooms import Rooms
    from sweeper.spec import Spec

app = typer.Typer()
STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}
ADDRESS = r"auto|local|https?://\S+|(?:ray://)?\[?[^\s\[\]/@]+\]?:\d+"


@app.command()
def doctor(
    spec: Annotated[
        str | None, typer.Argument(help="A sweep that is to run: a shipped spec's name, or a YAML file.", autocompletion=spec_names)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="A cluster (auto, HEAD:6379) or its job server (http://HEAD:8265); default: this machine."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = Path(),
    store: StoreOption = DEFAULT_STORE,
    data_dir: DataDirOption = None,
) -> None:
    """Look whether a sweep can run: versions, token, store, data, disk, GPUs, here and on every node. Exit code 1 tells of a fault."""
    from sweeper.doctor import examine

    if address is not None and not re.fullmatch(ADDRESS, address):
        raise SpecError(f"--address must be auto, HEAD:6379, ray://HEAD:10001 or http://HEAD:8265, but got {address!r}; name one of these")
    question, findings = _question(spec, Home(home, store), None if address == "local" else address, data_dir)
    findings += examine(question)
    if as_json:
        counts = {verdict: sum(each.verdict == verdict for each in findings) for verdict in STYLE}
        print_json({"faults": counts["fault"], "warnings": counts["warning"], "findings": [asdict(each) for each in findings]})
    else:
        out.print(_table(findings))
        _print_remedies(findings)
    raise typer.Exit(int(any(each.verdict == "fault" for each in findings)))


def _question(where: str | None, home: Home, address: str | None, data_dir: str | None) -> "tuple[Question, list[Finding]]":
    """What is to be looked at, and what is found on the way to it: modules that cannot be imported, a spec that is not valid.

    Raises:
        SpecError: there is no such spec.
    """
    from sweeper.doctor import Finding, Question
    from sweeper.spec_file import shipped

    if where is not None and where not in shipped() and not Path(where).is_file():
        raise SpecError(f"a spec must be one of {', '.join(shipped())} or a file's path, but got {where!r}; name one of these")
    try:
        from sweeper.cli.rooms import data_folder, installed_rooms

        rooms = installed_rooms()
    except (ImportError, OSError, AttributeError) as error:  # torch, or a library below it, cannot be loaded
        text = f"the project's models cannot be imported ({type(error).__name__}: {error})"
        usual = Path(data_dir or "~/.cache/inpaint-sweeps").expanduser()
        return Question(home, usual, address=address), [Finding("modules", text, "fault", "install the project again: make quickstart")]
    findings, checked = ([], None) if where is None else _spec(where, rooms, data_dir)
    needed = () if checked is None else _needed(checked, rooms)
    folder = data_folder(checked.data.data_dir if checked else data_dir)
    named = bool(data_dir) or bool(checked and checked.data.data_dir)
    return Question(home, folder, rooms, named, address, checked, needed), findings


def _spec(where: str, rooms: "Rooms", data_dir: str | None) -> "tuple[list[Finding], Spec | None]":
    """The spec as `sweep run` would take it, and whether it is valid."""
    from sweeper.doctor import Finding
    from sweeper.spec_file import read_spec
    from sweeper.validation import validate

    try:
        fields = read_spec(where)
        set_data_dir(fields, data_dir)
        checked = validate(fields, rooms)
    except SpecError as error:
        return [Finding("spec", str(error), "fault", "mend what is named; its data, study and resources are not looked at before")], None
    return [Finding("spec", f"{checked.name}: {', '.join(checked.models)} on {checked.data.name}, {checked.budget.trials} trials")], checked


def _needed(spec: "Spec", rooms: "Rooms") -> "tuple[Needed, ...]":
    """The files that the spec's models need: VGG-16's weights where a perceptual or style term may look through them."""
    from sweeper.doctor import Needed
    from sweeper.space import resolve
    from trainables.vgg_features import weights_source

    for searched in resolve(spec, rooms).values():
        features = searched.get("perceptual_features")
        weights = [searched[name] for name in ("perceptual_weight", "style_weight") if name in searched]
        if features is not None and features.holds("imagenet") and not all(knob.fixed and knob.first == 0 for knob in weights):
            url, path = weights_source()
            what, digits = "VGG-16's ImageNet weights (528 MiB)", path.stem.rsplit("-", 1)[-1]
            return (Needed(what, path, url, digits, "name another cache with TORCH_HOME, or set perceptual_features: random"),)
    return ()


def _table(findings: "list[Finding]") -> Table:
    several = any(each.node for each in findings)
    table = Table("check", *(["node"] if several else []), "found", "verdict", title="sweep doctor", title_justify="left")
    for each in findings:
        place = [each.node or "here"] if several else []
        table.add_row(each.check, *place, Text(each.found), Text(each.verdict, STYLE[each.verdict]))
    return table


def _print_remedies(findings: "list[Finding]") -> None:
    for each in findings:
        if each.verdict != "ok":
            place = f" on {each.node}" if each.node else ""
            out.print(Text.assemble((each.verdict, STYLE[each.verdict]), f" {each.check}{place}: {each.remedy}"), soft_wrap=True)
    if all(each.verdict == "ok" for each in findings):
        out.print("all is well")
