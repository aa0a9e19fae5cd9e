"""Which algorithm goes with which scheduler and which sweep: the rules that `sweeper.capabilities` holds, as problems in words.

Every problem is told before anything starts, with the reason.
"""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.capabilities import (
    ALGORITHMS,
    CONSTRAINTS,
    LISTS,
    MODELS,
    ONE,
    SCHEDULERS,
    SEVERAL,
    WARM_START,
    Algorithm,
    SchedulerKind,
)
from sweeper.rooms import Rooms
from sweeper.space import KnobSearch, first_configuration
from sweeper.spec import SEED, Budget, Objective, Scheduler, Search, Spec, WarmStart

_UNUSED_SETTINGS = {"grace_steps": 1, "perturb_steps": 1}
_SHAPE = ("network", "name", "kind", "filter", "stride", "padding", "output", "parameters")


def problems_of_pairs(parts: Mapping[str, Any]) -> Iterator[str]:
    """What an algorithm or a scheduler does not go with, as far as the sections of a spec tell.

    Args:
        parts: the spec's sections that were accepted, by name.
    """
    search, scheduler, objective = parts.get("search"), parts.get("scheduler"), parts.get("objective")
    traits = list(_traits(parts))
    if isinstance(objective, Objective):
        names = [objective.metric, *objective.also]
        if len(set(names)) < len(names):
            yield f"objective.also: every objective must be named once, but got {', '.join(names)}"
    if isinstance(search, Search):
        yield from _refused("search.algorithm", search.algorithm, ALGORITHMS[search.algorithm], traits)
        yield from _missing_package(search.algorithm)
    if isinstance(scheduler, Scheduler):
        kind = SCHEDULERS[scheduler.kind]
        yield from _refused("scheduler.kind", scheduler.kind, kind, traits)
        yield from _problems_of_steps(scheduler, kind, parts.get("budget"))
        if isinstance(search, Search) and kind.algorithms and search.algorithm not in kind.algorithms:
            yield (
                f"search.algorithm: must be {' or '.join(kind.algorithms)} with scheduler {scheduler.kind}, since trials begin as one "
                f"population that changes its own knobs, but got {search.algorithm!r}"
            )
        elif isinstance(search, Search):
            yield from _without_rungs(search.algorithm, scheduler.kind)
        if kind.changes_knobs and parts.get("retrain") is True:
            yield (
                f"retrain: must be false with scheduler {scheduler.kind}, since its result is a schedule of knobs that training again "
                "from the start would not follow, but got true"
            )


def problems_of_knob_kinds(spec: Spec, searched: Mapping[str, Mapping[str, KnobSearch]], rooms: Rooms) -> Iterator[str]:
    """Searched knobs that an algorithm or a scheduler can do nothing with.

    Args:
        spec: a spec without other problems.
        searched: how each knob of each model is searched.
        rooms: tell whether a knob changes a model's layers.
    """
    algorithm, kind = ALGORITHMS[spec.search.algorithm], SCHEDULERS[spec.scheduler.kind]
    for model, own in searched.items():
        place = "knobs" if len(searched) == 1 else f"knobs.{model}"
        for name, knob in own.items():
            if knob.fixed:
                continue
            if knob.values and LISTS in algorithm.refuses:
                yield (
                    f"{place}.{name}: {spec.search.algorithm} does not go with lists: {algorithm.refuses[LISTS]}; "
                    "give a range, or use another algorithm"
                )
            if kind.changes_knobs:
                yield from _problems_of_changing(f"{place}.{name}", name, knob, spec, own, model, rooms)


def _traits(parts: Mapping[str, Any]) -> Iterator[str]:
    """What a sweep asks of its algorithm and its scheduler."""
    objective, warm = parts.get("objective"), parts.get("warm_start")
    if isinstance(objective, Objective):
        yield SEVERAL if objective.also else ONE
        if objective.constraints:
            yield CONSTRAINTS
    if isinstance(parts.get("model"), list):
        yield MODELS
    if isinstance(warm, WarmStart) and (warm.sweeps or warm.configurations):
        yield WARM_START


def _refused(place: str, name: str, entry: Algorithm | SchedulerKind, traits: list[str]) -> Iterator[str]:
    for trait in traits:
        if trait in entry.refuses:
            table: Mapping[str, Algorithm] | Mapping[str, SchedulerKind] = ALGORITHMS if isinstance(entry, Algorithm) else SCHEDULERS
            fit = ", ".join(other for other, each in table.items() if not set(traits) & set(each.refuses))
            yield f"{place}: {name} does not go with {trait}: {entry.refuses[trait]}; these do: {fit}"


def _missing_package(algorithm: str) -> Iterator[str]:
    entry, missing = ALGORITHMS[algorithm], ALGORITHMS[algorithm].missing
    if missing:
        told = f"package {missing[0]}, which is" if len(missing) == 1 else f"packages {' and '.join(missing)}, which are"
        remedy = f"pip install {shlex.quote(entry.package)}, or use another"
        yield f"search.algorithm: {algorithm} needs the {told} not installed; {remedy}"


def _without_rungs(algorithm: str, scheduler: str) -> Iterator[str]:
    fit = ALGORITHMS[algorithm].schedulers
    if fit and scheduler not in fit:
        yield (
            f"scheduler.kind: must be {' or '.join(fit)} with algorithm {algorithm}, which learns from trials that are compared at rungs, "
            f"but got {scheduler!r}; use tpe with {scheduler}"
        )


def _problems_of_steps(scheduler: Scheduler, kind: SchedulerKind, budget: Any) -> Iterator[str]:
    """Counts of steps and trials that leave a scheduler nothing to do."""
    for setting, usual in _UNUSED_SETTINGS.items():
        given = getattr(scheduler, setting)
        if setting not in kind.uses and given != usual and scheduler.kind != "none":
            users = ", ".join(name for name, each in SCHEDULERS.items() if setting in each.uses)
            yield f"scheduler.{setting}: goes with {users}, but kind is {scheduler.kind!r} and it is {given}; remove it"
    if not isinstance(budget, Budget):
        return
    if budget.trials < kind.least_trials:
        yield f"budget.trials: must be at least {kind.least_trials} with scheduler {scheduler.kind}, but got {budget.trials}; raise it"
    if budget.step_images is None:
        if "grace_steps" in kind.uses and scheduler.grace_steps > budget.epochs:
            yield f"scheduler.grace_steps: must be at most budget.epochs = {budget.epochs:g}, but got {scheduler.grace_steps}"
        if "perturb_steps" in kind.uses and scheduler.perturb_steps >= budget.epochs:
            yield f"scheduler.perturb_steps: must be below budget.epochs = {budget.epochs:g}, but got {scheduler.perturb_steps}"


def _problems_of_changing(
    place: str, name: str, knob: KnobSearch, spec: Spec, own: Mapping[str, KnobSearch], model: str, rooms: Rooms
) -> Iterator[str]:
    """Why a knob cannot change while a trial runs."""
    kind = spec.scheduler.kind
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in knob.values)
    if name == SEED:
        yield f"{place}: {kind} changes knobs while a trial runs, and a seed is no knob; fix it"
    elif SCHEDULERS[kind].knobs == "ranges" and knob.values:
        yield f"{place}: {kind} searches ranges alone, but got a list; give a range, fix it, or use pbt"
    elif not numbers:
        yield f"{place}: {kind} changes numbers alone, but got {', '.join(map(str, knob.values))}; fix it, or use another scheduler"
    elif _changes_layers(name, knob, spec, own, model, rooms):
        yield f"{place}: {kind} lets a trial go on with another one's weights, but {name} changes the layers; fix it"


def _changes_layers(name: str, knob: KnobSearch, spec: Spec, own: Mapping[str, KnobSearch], model: str, rooms: Rooms) -> bool:
    """Whether a model's layers differ between values of a knob; a model that gives no layer table is believed."""
    first = {key: value for key, value in first_configuration(own).items() if key != SEED}
    shapes = []
    for value in knob.values or (knob.low, knob.high):
        try:
            rows = rooms.layers(model, first | {name: value}, spec.data.model_dump(), spec.mask.model_dump())
        except rooms.user_errors:
            return False
        shapes.append([[row.get(part) for part in _SHAPE] for row in rows])
    return any(shape != shapes[0] for shape in shapes)
