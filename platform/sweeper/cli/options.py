"""What several commands share: options, the names that the shell completes, answers in JSON, where files may go."""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.errors import SpecError

SPECS = Path(__file__).resolve().parent.parent / "specs"
ALL_TABLES = "tables"
TABLE = "table:"


def sweep_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps whose folders are here."""
    home = Path(context.params.get("home") or ".")
    return _starting(incomplete, (path.parent.name for path in home.glob("sweeps/*/spec.yaml")))


def spec_names(incomplete: str) -> list[str]:
    """Names of the shipped specs, and YAML files beside."""
    return _starting(incomplete, [*(path.stem for path in SPECS.glob("*.yaml")), *(str(path) for path in Path().glob("*.yaml"))])


def names_tables(what: str) -> bool:
    """Whether the argument of `sweep run` means tables, not a spec."""
    return what == ALL_TABLES or what.startswith(TABLE)


def model_names(incomplete: str) -> list[str]:
    """Names of the models."""
    from search_spaces import SPACES

    return _starting(incomplete, SPACES)


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


HomeOption = Annotated[
    Path, typer.Option("--home", envvar="SWEEP_HOME", help="Folder that holds sweeps/ and, by default, the MLflow store.")
]
StoreOption = Annotated[
    str, typer.Option("--store", envvar="MLFLOW_TRACKING_URI", help="MLflow store; the default is mlflow.db in the home folder.")
]
DataDirOption = Annotated[
    str | None, typer.Option("--data-dir", envvar="SWEEP_DATA_DIR", help="Folder of the named image sets; default ~/.cache/inpaint-sweeps.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on standard output, and nothing else.")]
NameArgument = Annotated[str, typer.Argument(help="The sweep's name, as 'sweep list' shows it.", autocompletion=sweep_names)]
NamesArgument = Annotated[list[str], typer.Argument(help="Sweeps' names, as 'sweep list' shows them.", autocompletion=sweep_names)]


def print_json(document: Any) -> None:
    """Writes one JSON document; a number that is not finite is null."""
    sys.stdout.write(json.dumps(_finite(document), indent=1, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def output_file(path: Path, suffixes: Iterable[str]) -> Path:
    """A file that a command may write.

    Args:
        path: as the user gave it.
        suffixes: the allowed ones.

    Raises:
        SpecError: another suffix, a way out of the folder by "..", or a folder that is not there.
    """
    if path.suffix.lower() not in suffixes:
        raise SpecError(f"--to must end in {' or '.join(suffixes)}, but got {str(path)!r}; the suffix names the format")
    if ".." in path.parts:
        raise SpecError(f"--to must lead into a folder without '..', but got {str(path)!r}; write the whole path")
    if not path.absolute().parent.is_dir():
        raise SpecError(f"--to must lie in a folder that exists, but {path.absolute().parent} does not; make it first")
    return path


def set_data_dir(fields: dict[str, Any], data_dir: str | None) -> None:
    """Puts --data-dir into a spec's fields, where they name no folder themselves."""
    if data_dir is not None and isinstance(fields.get("data"), dict):
        fields["data"].setdefault("data_dir", str(Path(data_dir).expanduser().resolve()))
