"""Reading a sweep spec's fields from YAML, a shipped one's or a user's, and setting single ones."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sweeper.errors import SpecError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the numbers and truth values of YAML 1.2: 1e-3 is a number, and "on" is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


def shipped() -> dict[str, Path]:
    """The specs that come with the engine, by name."""
    folder = Path(str(files("sweeper").joinpath("specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_spec(where: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a spec's fields without judging them.

    Args:
        where: name of a shipped spec, or a path.
        overrides: "key=value" each, keys dotted ("budget.trials=4"), values in YAML.

    Returns:
        The fields.

    Raises:
        SpecError: no such spec, a file that cannot be read, YAML that does not parse, an override without "=".
    """
    path = shipped().get(where, Path(where))
    if not path.is_file():
        raise SpecError(f"a spec must be one of {', '.join(shipped())} or a file's path, but got {where!r}; name one of these")
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the spec must be readable text, but {path} is not ({error}); check its permissions and encoding") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise SpecError(f"the spec must be valid YAML, but {place}: {problem}; mend that line") from error
    if not isinstance(fields, dict):
        raise SpecError(f"the spec must be a mapping of fields, but {path} holds {type(fields).__name__}; start it with 'name:'")
    for override in overrides:
        set_field(fields, override)
    return fields


def set_field(fields: dict[str, Any], override: str) -> None:
    """Applies one "key=value" in place, keys dotted, the value in YAML.

    Raises:
        SpecError: no "=", a value that is no YAML, or a key inside something that is no section.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set takes key=value, but got {override!r}; for example --set budget.trials=4")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"the value of --set must be valid YAML, but got {text!r} ({error}); quote it") from error
    *parents, last = key.split(".")
    place = fields
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise SpecError(f"--set {key}: {parent} must be a section of the spec, but it is {child!r}; set {parent} itself")
        place = child
    place[last] = value
