"""Configurations that a sweep tries first: a hand-written list, and the best of earlier sweeps."""

from collections.abc import Mapping
from typing import Any

from sweeper.choice import leaders, modes_of
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.rooms import Rooms
from sweeper.space import KnobSearch
from sweeper.spec import Spec
from sweeper.spec_file import read_spec
from sweeper.validation import validate

Configuration = tuple[str, dict[str, Any]]


def configurations(spec: Spec, rooms: Rooms, home: Home, searched: Mapping[str, Mapping[str, KnobSearch]]) -> list[Configuration]:
    """What the spec's `warm_start` names, for each of its models.

    Of an earlier sweep's configuration those knobs count that are searched here and whose value the search may come upon: so the best of
    another model helps where knobs have the same names.

    Args:
        spec: the sweep.
        rooms: the neighbours.
        home: where the earlier sweeps are.
        searched: how each knob of each model is searched.

    Raises:
        SweepStateError: an earlier sweep that is not in the home folder.
    """
    found: list[Configuration] = []
    for entry in spec.warm_start.configurations:
        knobs = dict(entry)
        model = str(knobs.pop("model", spec.models[0]))
        found.append((model, knobs))
    for name in spec.warm_start.sweeps:
        earlier = validate(read_spec(str(home.spec_file(name))), rooms)
        for record in leaders(read_trials(home.folder(name)).values(), earlier.objective, modes_of(earlier, rooms))[: spec.warm_start.best]:
            models = [record.model] if record.model in searched else list(searched)
            found += [(model, fitting(record.knobs, searched[model])) for model in models]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def fitting(knobs: Mapping[str, Any], searched: Mapping[str, KnobSearch]) -> dict[str, Any]:
    """Those knobs that are searched and hold the value."""
    return {name: value for name, value in knobs.items() if name in searched and not searched[name].fixed and searched[name].holds(value)}
