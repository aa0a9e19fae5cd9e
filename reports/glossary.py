"""What every number means: `glossary.yaml`, read without torch."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

BETTER = {"min": "lower is better", "max": "higher is better", "one": "best at 1"}


@dataclass(frozen=True)
class Term:
    """One metric's entry.

    Attributes:
        unit: "1" where it has none.
        mode: "min", "max" or "one" (best at 1).
        meaning: one sentence.
    """

    unit: str
    mode: str
    meaning: str

    @property
    def better(self) -> str:
        """Which way is better, in words."""
        return BETTER[self.mode]


@cache
def glossary() -> dict[str, Term]:
    """Every metric that a table may name: those of a validation or test split, then those of training images."""
    return split_metrics() | training_metrics()


@cache
def split_metrics() -> dict[str, Term]:
    """Metrics that are measured on the validation and the test split."""
    return _section("metrics")


@cache
def training_metrics() -> dict[str, Term]:
    """Metrics that are measured on training images."""
    return _section("training")


def _section(name: str) -> dict[str, Term]:
    content = yaml.safe_load(files("reports").joinpath("glossary.yaml").read_text(encoding="utf-8"))
    return {key: Term(**entry) for key, entry in content[name].items()}
