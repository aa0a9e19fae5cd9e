"""Judging a whole spec before anything starts: every problem in one message, each with the allowed values."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from sweeper.errors import SpecError
from sweeper.rooms import Rooms
from sweeper.rules import problems_between_sections, problems_of_building, problems_of_knobs, problems_of_names
from sweeper.spec import SEED, Setting, Spec


def validate(fields: Mapping[str, Any], rooms: Rooms) -> Spec:
    """Judges a whole spec.

    Args:
        fields: as `read_spec` gives them.
        rooms: the registries that names are looked up in.

    Returns:
        The spec, every default filled in.

    Raises:
        SpecError: every problem found, one a line.
    """
    problems = [f"{key}: must be one of {', '.join(Spec.model_fields)}; remove it" for key in fields if key not in Spec.model_fields]
    parts: dict[str, Any] = {}
    malformed: list[str] = []
    for key, info in Spec.model_fields.items():
        if key == "knobs" and isinstance(fields.get(key), dict):
            parts[key], malformed = _knobs(fields[key], several=isinstance(fields.get("model"), list))
            problems += malformed
        elif key in fields:
            try:
                kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
                parts[key] = TypeAdapter(kind).validate_python(fields[key])
            except ValidationError as error:
                problems += _in_words(key, error)
        elif info.is_required():
            problems.append(f"{key}: must be given; add it")
        else:
            parts[key] = info.get_default(call_default_factory=True)
    problems += problems_of_names({**fields, **parts}, rooms)
    problems += problems_of_knobs(parts, rooms)
    problems += problems_between_sections(parts if not malformed else {**parts, "knobs": None})
    if not problems:
        problems += problems_of_building(Spec(**parts), rooms)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise SpecError(f"the spec has {count}; nothing was started\n" + "\n".join(f"  - {problem}" for problem in problems))
    return Spec(**parts)


def _knobs(given: Mapping[Any, Any], *, several: bool) -> tuple[dict[str, Any], list[str]]:
    """The settings, in a section a model where there are several; and what is malformed."""
    if not several:
        return _settings("knobs", given)
    sections: dict[str, Any] = {}
    malformed: list[str] = []
    for name, section in given.items():
        if name == SEED:
            seed, wrong = _settings("knobs", {SEED: section})
            sections |= seed
        elif isinstance(section, dict):
            sections[str(name)], wrong = _settings(f"knobs.{name}", section)
        else:
            wrong = [f"knobs.{name}: must be a section with the knobs of {name}, since model names several, but got {section!r}"]
        malformed += wrong
    return sections, malformed


def _settings(place: str, given: Mapping[Any, Any]) -> tuple[dict[str, Setting], list[str]]:
    """Each knob's setting by itself, so that one that is malformed hides no problem of another."""
    kind: TypeAdapter[Setting] = TypeAdapter(Setting)
    settings, malformed = {}, []
    for name, setting in given.items():
        try:
            settings[str(name)] = kind.validate_python(setting)
        except ValidationError:
            malformed.append(
                f"{place}.{name}: must be a value, a list of values, {{low, high, log, points}} or 'search', but got {setting!r}"
            )
    return settings, malformed


def _in_words(key: str, error: ValidationError) -> list[str]:
    """pydantic's findings, one line each: place, rule, value given."""
    if key == "model":
        return [f"model: must be a model's name or a list of names, but got {error.errors()[0]['input']!r}"]
    lines = []
    for finding in error.errors(include_url=False):
        places = [str(part) for part in finding["loc"] if not str(part)[:1].isupper() and "[" not in str(part)]
        lines.append(f"{'.'.join([key, *places])}: {finding['msg'][:1].lower()}{finding['msg'][1:]}, but got {finding['input']!r}")
    return list(dict.fromkeys(lines))
