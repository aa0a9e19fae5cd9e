"""Which trial of a search is the best one: by the first objective, or by a trade-off between several."""

from collections.abc import Iterable, Mapping

from sweeper.journal import TrialRecord, ranked
from sweeper.rooms import Rooms
from sweeper.spec import Choice, Objective, Spec


def modes_of(spec: Spec, rooms: Rooms) -> dict[str, str]:
    """ "min" or "max" of each objective, the first one first; a model's own metric says it itself."""
    names = (spec.objective.metric, *spec.objective.also)
    own = {} if all(name in rooms.metrics for name in names) else rooms.extra_metrics(spec.models[0])
    return {name: rooms.metrics[name] if name in rooms.metrics else own[name] for name in names}


def leaders(records: Iterable[TrialRecord], objective: Objective, modes: Mapping[str, str]) -> list[TrialRecord]:
    """Search trials that have a value and break no limit, the best first.

    Args:
        records: of the sweep.
        objective: the spec's.
        modes: "min" or "max" of each objective.
    """
    by_first = ranked(records, objective.metric, modes[objective.metric])
    if objective.choose is None:
        return by_first
    near = near_the_best(by_first, objective, modes)
    return [*near, *(record for record in by_first if record not in near)]


def near_the_best(records: list[TrialRecord], objective: Objective, modes: Mapping[str, str]) -> list[TrialRecord]:
    """The trials that the trade-off allows, the best one by its deciding objective first."""
    choose = objective.choose
    if choose is None or not records:
        return []
    values = {record.trial: _values(record, objective, modes) for record in records}
    anchor = [own[choose.of] for own in values.values()]
    best = min(anchor) if modes[choose.of] == "min" else max(anchor)
    slack = abs(best) * choose.within_percent / 100
    allowed = [record for record in records if abs(values[record.trial][choose.of] - best) <= slack]
    sign = 1 if modes[choose.best] == "min" else -1
    return sorted(allowed, key=lambda record: sign * values[record.trial][choose.best])


def described(choose: Choice) -> str:
    """The trade-off in words."""
    return f"best {choose.best} within {choose.within_percent:g} % of the best {choose.of}"


def _values(record: TrialRecord, objective: Objective, modes: Mapping[str, str]) -> dict[str, float]:
    """All objectives at the step that counts."""
    best = record.best(objective.metric, modes[objective.metric])
    return {} if best is None else {name: record.results[best[0]][name] for name in (objective.metric, *objective.also)}
