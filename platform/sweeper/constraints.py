"""Limits that a configuration must keep, and by how much it breaks them."""

from collections.abc import Mapping, Sequence

from sweeper.spec import Constraint


def excess(constraint: Constraint, value: float) -> float:
    """By how much a value breaks a limit; 0 or less where it keeps it."""
    over = value - constraint.at_most if constraint.at_most is not None else float("-inf")
    under = constraint.at_least - value if constraint.at_least is not None else float("-inf")
    return max(over, under)


def violations(constraints: Sequence[Constraint], metrics: Mapping[str, float]) -> dict[str, float]:
    """Signed excess by constraint, for those whose metric was measured.

    Args:
        constraints: the spec's.
        metrics: of the step that counts.
    """
    return {name(each): excess(each, metrics[each.metric]) for each in constraints if each.metric in metrics}


def broken(constraints: Sequence[Constraint], metrics: Mapping[str, float]) -> str:
    """The limits that are broken, in words; "" where all are kept."""
    return "; ".join(
        f"{each.metric} {metrics[each.metric]:.4g} is outside {limits(each)}"
        for each in constraints
        if each.metric in metrics and excess(each, metrics[each.metric]) > 0
    )


def name(constraint: Constraint) -> str:
    """What a constraint is called in the study."""
    return f"{constraint.metric} {limits(constraint)}"


def limits(constraint: Constraint) -> str:
    """The limits in words."""
    named = {"at least": constraint.at_least, "at most": constraint.at_most}
    return " and ".join(f"{word} {limit:g}" for word, limit in named.items() if limit is not None)
