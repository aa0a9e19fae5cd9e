"""A larger budget for a sweep that has ended: finished trials go on from their checkpoints, and further ones follow, in the same study."""

import os
from collections.abc import Mapping
from pathlib import Path

from sweeper.errors import SpecError
from sweeper.home import Home
from sweeper.journal import Journal
from sweeper.spec import Budget, Spec

GROWS = ("epochs", "trials", "wall_s", "accelerator_h", "cost")


def extended(spec: Spec, changes: Mapping[str, float]) -> Spec:
    """A spec with a larger budget.

    Args:
        spec: as the sweep ran.
        changes: fields of the budget with their new values.

    Raises:
        SpecError: no change, a field that does not grow, or a limit that the sweep does not have.
    """
    if not changes:
        raise SpecError(
            f"an extension must name one of {', '.join(GROWS)}, but names none; for example --epochs {2 * spec.budget.epochs:g}"
        )
    problems = []
    for name, value in changes.items():
        before = getattr(spec.budget, name)
        if before is None:
            problems.append(f"budget.{name} must be a limit of the sweep to be raised, but {spec.name} has none; leave it out")
        elif not value > before:
            problems.append(f"budget.{name} must grow beyond {before:g}, but got {value:g}; name a greater value")
    if problems:
        raise SpecError("; ".join(problems))
    return spec.model_copy(update={"budget": Budget(**(spec.budget.model_dump() | dict(changes)))})


def extend(spec: Spec, home: Home, changes: Mapping[str, float]) -> Spec:
    """Writes a larger budget down, for `runner.run` to go on with.

    Args:
        spec: as the sweep ran.
        home: where it lives.
        changes: fields of the budget with their new values.

    Returns:
        The new spec.

    Raises:
        SpecError: see `extended`.
        SweepStateError: the sweep is running.
    """
    larger = extended(spec, changes)
    folder = home.folder(spec.name)
    with Journal(folder) as journal:
        journal.extend(changes)
        write_spec(folder, larger)
    return larger


def write_spec(folder: Path, spec: Spec) -> None:
    """Writes a sweep's resolved spec, whole or not at all."""
    draft = folder / "spec.yaml.draft"
    spec.write(draft)
    os.replace(draft, folder / "spec.yaml")
