"""What may be wrong with a spec whose sections have the right form: one generator a subject, each problem one line."""

from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.checkpoints import problems_of_storage
from sweeper.pairs import problems_of_knob_kinds, problems_of_pairs
from sweeper.rooms import Knob, Rooms
from sweeper.space import KnobSearch, first_configuration, resolve
from sweeper.spec import COSTS, MODEL, SEARCH_ALL, SEED, Budget, Data, Mask, Objective, Range, Resources, Search, Setting, Spec


def problems_of_names(parts: Mapping[str, Any], rooms: Rooms) -> Iterator[str]:
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
    yield from _problems_of_metrics(parts.get("objective"), _measured(models, rooms))


def _measured(models: list[str], rooms: Rooms) -> list[str]:
    """The validation metrics that all of the models have."""
    own = [_extra_metrics(model, rooms) for model in models]
    shared = [name for name in (own[0] if own else ()) if all(name in each for each in own)]
    return [*rooms.metrics, *(name for name in shared if name not in rooms.metrics)]


def _extra_metrics(model: str, rooms: Rooms) -> Mapping[str, str]:
    """A model's own metrics; none of one that cannot be loaded, which is told where it is built."""
    if model not in rooms.models and ":" not in model:
        return {}
    try:
        return rooms.extra_metrics(model)
    except rooms.user_errors:
        return {}


def _problems_of_metrics(objective: Any, measured: list[str]) -> Iterator[str]:
    """Objectives and limits of things that are not measured."""
    also, constraints, choose = (_field(objective, name) for name in ("also", "constraints", "choose"))
    objectives = [("metric", _field(objective, "metric")), *(("also", name) for name in (also if isinstance(also, list) else []))]
    for field, metric in objectives:
        if isinstance(metric, str) and metric not in measured:
            yield f"objective.{field}: must be one of {', '.join(measured)}, but got {metric!r}"
    for number, constraint in enumerate(constraints if isinstance(constraints, list) else []):
        metric, limits = _field(constraint, "metric"), [_field(constraint, name) for name in ("at_most", "at_least")]
        if isinstance(metric, str) and metric not in (*measured, *COSTS):
            yield f"objective.constraints.{number}.metric: must be one of {', '.join((*measured, *COSTS))}, but got {metric!r}"
        if limits == [None, None]:
            yield f"objective.constraints.{number}: must have at_most or at_least, but has neither; add a limit"
    if isinstance(objective, Objective) and choose is not None:
        for field in ("best", "of"):
            if getattr(choose, field) not in (names := [objective.metric, *objective.also]):
                yield f"objective.choose.{field}: must be one of the objectives {', '.join(names)}, but got {getattr(choose, field)!r}"


def _field(section: Any, name: str) -> Any:
    """A field of a section, whether the section as a whole was accepted or not."""
    return section.get(name) if isinstance(section, dict) else getattr(section, name, None)


def _models(parts: Mapping[str, Any]) -> list[str]:
    """The models that a spec names, one or several."""
    model = parts.get("model")
    return [model] if isinstance(model, str) else [name for name in model if isinstance(name, str)] if isinstance(model, list) else []


def problems_of_knobs(parts: Mapping[str, Any], rooms: Rooms) -> Iterator[str]:
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
    warm = _field(parts.get("warm_start"), "configurations")
    for number, entry in enumerate(warm if isinstance(warm, list) else []):
        yield from _problems_of_warm(f"warm_start.configurations.{number}", entry, models, rooms, several=several)
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


def _problems_of_warm(place: str, entry: Mapping[str, Any], models: list[str], rooms: Rooms, *, several: bool) -> Iterator[str]:
    """What is wrong with a hand-written configuration; with several models it names its own."""
    model = entry.get(MODEL, None if several else models[0] if models else None)
    if model not in models:
        yield f"{place}.{MODEL}: must be one of {', '.join(models)}, but got {model!r}"
        return
    knobs = {name: value for name, value in entry.items() if name != MODEL}
    yield from _problems_of_configuration(place, knobs, str(model), rooms.spaces.get(str(model)))


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


def problems_between_sections(parts: Mapping[str, Any]) -> Iterator[str]:
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
    yield from problems_of_storage(_field(parts.get("checkpoints"), "storage"))
    yield from _problems_of_budget(parts)
    if parts.get("retrain") is False and isinstance(parts.get("seeds"), int) and parts["seeds"] > 1:
        yield f"seeds: must be at most 1 where retrain is false and nothing is trained again, but got {parts['seeds']}"
    yield from _problems_of_resources(parts.get("resources"))
    if isinstance(search, Search) and isinstance(parts.get("knobs"), dict) and isinstance(parts.get("model"), str):
        searched = [name for name, setting in parts["knobs"].items() if setting == SEARCH_ALL or isinstance(setting, Range | list)]
        if search.algorithm != "grid" and not searched and isinstance(budget, Budget) and budget.trials > 1:
            yield "knobs: one at least must be searched when budget.trials is above 1, but all are fixed; name a list, a range or 'search'"


def _problems_of_resources(resources: Any) -> Iterator[str]:
    """GPUs that cannot be dealt out to a trial's processes."""
    if not isinstance(resources, Resources):
        return
    if resources.gpus > 1 and resources.gpus != int(resources.gpus):
        yield f"resources.gpus: above 1 must be a whole number, but got {resources.gpus:g}"
    elif resources.on_gpu and resources.processes not in (None, 1, int(resources.gpus)):
        yield (
            f"resources.processes: must be resources.gpus = {resources.gpus:g}, since each has a GPU of its own, or 1, "
            f"but got {resources.processes}"
        )
    if resources.accelerator_type is not None and not resources.on_gpu:
        yield (
            f"resources.accelerator_type: goes with GPUs, but got {resources.accelerator_type!r} where resources.gpus is 0; "
            "set resources.gpus or resources.gpu_memory_gib"
        )


def _problems_of_budget(parts: Mapping[str, Any]) -> Iterator[str]:
    """Limits that nothing counts towards, and an end that never comes."""
    budget, resources = parts.get("budget"), parts.get("resources")
    if isinstance(budget, Budget):
        if budget.cost is not None and not budget.prices:
            yield "budget.prices: must name the price of a node an hour where budget.cost is given, but is empty; add {default: PRICE}"
        if budget.accelerator_h is not None and isinstance(resources, Resources) and not resources.on_gpu:
            yield "budget.accelerator_h: counts GPUs, but resources.gpus is 0; give trials GPUs, or use budget.wall_s"
    finalists, seeds = parts.get("finalists"), parts.get("seeds")
    if finalists != 1 and parts.get("finals") == "every":
        yield f"finalists: goes with finals: best, since finals: every takes all, but got {finalists!r}"
    if parts.get("until") == "separated":
        if not isinstance(budget, Budget) or all(limit is None for limit in (budget.wall_s, budget.accelerator_h, budget.cost)):
            yield "until: separated needs an end, but the budget has none; set budget.wall_s, budget.accelerator_h or budget.cost"
        if parts.get("retrain") is False or finalists == 1 or not isinstance(seeds, int) or seeds < 2:
            yield (
                "until: separated compares at least two finalists over at least two seeds that are trained again, but got "
                f"finalists {finalists!r}, seeds {seeds!r}, retrain {parts.get('retrain')!r}"
            )


def problems_of_building(spec: Spec, rooms: Rooms) -> Iterator[str]:
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
                rooms.check(model, knobs, spec.data.model_dump(), spec.mask.model_dump(), spec.resources.processes_a_trial)
            except rooms.user_errors as error:
                if str(error) not in told:
                    told.add(str(error))
                    yield str(error)


def _extremes(knob: KnobSearch) -> list[Any]:
    return list(knob.values) if knob.values else [knob.low, knob.high]
