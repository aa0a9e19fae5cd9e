"""Judging a whole spec before anything starts: every problem in one message, each with the allowed values."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from sweeper.errors import SpecError
from sweeper.pairs import problems_of_knob_kinds, problems_of_pairs
from sweeper.rooms import Knob, Rooms
from sweeper.space import KnobSearch, first_configuration, resolve
from sweeper.spec import SEARCH_ALL, SEED, Budget, Data, Mask, Range, Resources, Search, Setting, Spec


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
    problems += _problems_of_names({**fields, **parts}, rooms)
    problems += _problems_of_knobs(parts, rooms)
    problems += _problems_between_sections(parts if not malformed else {**parts, "knobs": None})
    if not problems:
        problems += _problems_of_building(Spec(**parts), rooms)
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
    lines = []
    for finding in error.errors(include_url=False):
        places = [str(part) for part in finding["loc"] if not str(part)[:1].isupper() and "[" not in str(part)]
        lines.append(f"{'.'.join([key, *places])}: {finding['msg'][:1].lower()}{finding['msg'][1:]}, but got {finding['input']!r}")
    return list(dict.fromkeys(lines))


def _problems_of_names(parts: Mapping[str, Any], rooms: Rooms) -> Iterator[str]:
    """Models, data, masks and metrics that do not exist; a section that has other problems is looked at too."""
    models = _models(parts)
    if isinstance(parts.get("model"), list) and (len(models) < 2 or len(set(models)) < len(models)):
        yield f"model: a list must name two models or more, each once, but got {parts['model']!r}"
    for model in models:
        if model not in rooms.models and ":" not in model:
            yield f"model: must be one of {', '.join(rooms.models)}, or module:Class, but got {model!r}"
    data = _field(parts.get("data"), "name")
    if isinstance(data, str) and data not in rooms.data_names and not data.startswith("folder:"):
        yield f"data.name: must be one of {', '.join(rooms.data_names)}, or folder:PATH, but got {data!r}"
    mask = _field(parts.get("mask"), "kind")
    if isinstance(mask, str) and mask not in rooms.mask_kinds:
        yield f"mask.kind: must be one of {', '.join(rooms.mask_kinds)}, but got {mask!r}"
    objective = parts.get("objective")
    also = _field(objective, "also")
    named = [("metric", _field(objective, "metric")), *(("also", name) for name in (also if isinstance(also, list) else []))]
    for field, metric in named:
        if isinstance(metric, str) and metric not in rooms.metrics:
            yield f"objective.{field}: must be one of {', '.join(rooms.metrics)}, but got {metric!r}"


def _field(section: Any, name: str) -> Any:
    """A field of a section, whether the section as a whole was accepted or not."""
    return section.get(name) if isinstance(section, dict) else getattr(section, name, None)


def _models(parts: Mapping[str, Any]) -> list[str]:
    """The models that a spec names, one or several."""
    model = parts.get("model")
    return [model] if isinstance(model, str) else [name for name in model if isinstance(name, str)] if isinstance(model, list) else []


def _problems_of_knobs(parts: Mapping[str, Any], rooms: Rooms) -> Iterator[str]:
    """Knobs that the model does not have, and values outside the documented range."""
    models, settings, configurations = _models(parts), parts.get("knobs"), parts.get("configurations")
    several = isinstance(parts.get("model"), list)
    if not isinstance(settings, dict):
        return
    for name in settings if several else ():
        if name not in (*models, SEED):
            yield f"knobs.{name}: must be one of {', '.join(models)} or {SEED}, since model names several; put knobs into their section"
    if several and configurations:
        yield "configurations: goes with one model, but model names several; use warm_start.configurations, or a sweep a model"
    if several and SEED in settings:
        yield from _problems_of_seeds(settings[SEED])
    for model in models:
        place, own = (f"knobs.{model}", settings.get(model, {})) if several else ("knobs", settings)
        if model in rooms.spaces or ":" in model:
            yield from _problems_of_models_knobs(place, model, own, rooms.spaces.get(model))
    if not several and models and isinstance(configurations, list):
        for number, configuration in enumerate(configurations):
            yield from _problems_of_configuration(f"configurations.{number}", configuration, models[0], rooms.spaces.get(models[0]))


def _problems_of_models_knobs(place: str, model: str, settings: Mapping[str, Any], space: Mapping[str, Knob] | None) -> Iterator[str]:
    for name, setting in settings.items():
        if name == SEED:
            yield from _problems_of_seeds(setting)
        elif space is None and setting == SEARCH_ALL:
            yield f"{place}.{name}: {model} documents no range to search, but got {setting!r}; give a list or a range"
        elif space is None:
            yield from _problems_of_setting(f"{place}.{name}", setting, None)
        elif name not in space:
            yield f"{place}.{name}: must be one of {', '.join(space)}, but {model} has no such knob"
        else:
            yield from _problems_of_setting(f"{place}.{name}", setting, space[name])


def _problems_of_configuration(place: str, configuration: Mapping[str, Any], model: str, space: Mapping[str, Knob] | None) -> Iterator[str]:
    for name, value in configuration.items():
        if space is not None and name not in space:
            yield f"{place}.{name}: must be one of {', '.join(space)}, but {model} has no such knob"
        elif space is not None and not space[name].holds(value):
            rule = f"{'' if hasattr(space[name], 'low') else 'one of '}{space[name].allowed}"
            yield f"{place}.{name}: must be {rule}, but got {value!r}"


def _problems_of_seeds(setting: Setting) -> Iterator[str]:
    seeds = setting if isinstance(setting, list) else [setting]
    if not seeds or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
        yield f"knobs.{SEED}: must be a whole number from 0 on, or a list of them, but got {setting!r}"


def _problems_of_setting(place: str, setting: Setting, knob: Knob | None) -> Iterator[str]:
    """What is wrong with one knob's setting; `knob` is None for a user's own model, which documents no range."""
    if setting == SEARCH_ALL:
        return
    if isinstance(setting, Range):
        if knob is not None and not hasattr(knob, "low"):
            yield f"{place}: takes one or more of {knob.allowed}, but got a range; give a list"
            return
        if not setting.low < setting.high:
            yield f"{place}: low < high must hold, but got ({setting.low:g}, {setting.high:g})"
        if setting.log and setting.low <= 0:
            yield f"{place}: low must be above 0 on a log scale, but got {setting.low:g}; raise it, or set log: false"
        values: list[Any] = [int(bound) if bound.is_integer() else bound for bound in (setting.low, setting.high)]
    elif isinstance(setting, list):
        if not setting:
            yield f"{place}: a list must name at least one value, but got []; allowed: {knob.allowed if knob else 'any'}"
        values = setting
    else:
        values = [setting]
    for value in values:
        if knob is not None and not knob.holds(value):
            yield f"{place}: must be {'' if hasattr(knob, 'low') else 'one of '}{knob.allowed}, but got {value!r}"


def _problems_between_sections(parts: Mapping[str, Any]) -> Iterator[str]:
    """Settings that are fine alone and impossible together."""
    data, mask, budget = (parts.get(key) for key in ("data", "mask", "budget"))
    if isinstance(data, Data) and isinstance(mask, Mask):
        if not mask.is_irregular and mask.hole_px >= data.image_px:
            yield f"mask.hole_px: must be smaller than data.image_px = {data.image_px}, but got {mask.hole_px}"
        if mask.ratio_low >= mask.ratio_high:
            yield f"mask: ratio_low < ratio_high must hold, but got ({mask.ratio_low}, {mask.ratio_high})"
    search = parts.get("search")
    if parts.get("configurations") and isinstance(search, Search) and search.algorithm != "grid":
        yield f"configurations: a list goes with search.algorithm grid, but got {search.algorithm!r}"
    yield from problems_of_pairs(parts)
    if parts.get("retrain") is False and isinstance(parts.get("seeds"), int) and parts["seeds"] > 1:
        yield f"seeds: must be at most 1 where retrain is false and nothing is trained again, but got {parts['seeds']}"
    resources = parts.get("resources")
    if isinstance(resources, Resources) and resources.gpus > 1 and resources.gpus != int(resources.gpus):
        yield f"resources.gpus: above 1 must be a whole number, but got {resources.gpus:g}"
    if isinstance(search, Search) and isinstance(parts.get("knobs"), dict) and isinstance(parts.get("model"), str):
        searched = [name for name, setting in parts["knobs"].items() if setting == SEARCH_ALL or isinstance(setting, Range | list)]
        if search.algorithm != "grid" and not searched and isinstance(budget, Budget) and budget.trials > 1:
            yield "knobs: one at least must be searched when budget.trials is above 1, but all are fixed; name a list, a range or 'search'"


def _problems_of_building(spec: Spec, rooms: Rooms) -> Iterator[str]:
    """Configurations that a model refuses: the first one, and each searched knob at its extremes; knobs that cannot be searched so."""
    told = set()
    every = resolve(spec, rooms)
    yield from problems_of_knob_kinds(spec, every, rooms)
    for model, searched in every.items():
        searched.pop(SEED, None)
        first = first_configuration(searched)
        tried: list[dict[str, Any]] = [first]
        tried += [first | {name: value} for name, knob in searched.items() for value in _extremes(knob) if value != first[name]]
        for knobs in tried:
            try:
                rooms.check(model, knobs, spec.data.model_dump(), spec.mask.model_dump())
            except rooms.user_errors as error:
                if str(error) not in told:
                    told.add(str(error))
                    yield str(error)


def _extremes(knob: KnobSearch) -> list[Any]:
    return list(knob.values) if knob.values else [knob.low, knob.high]
