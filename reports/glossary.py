"""What every number means: `glossary.yaml`, read without torch."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

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
    """Every metric that a table may name: those of a validation or test split, by hole size, of single models, of training images."""
    return split_metrics() | binned_metrics() | model_metrics() | training_metrics()


@cache
def split_metrics() -> dict[str, Term]:
    """Metrics that are measured on the validation and the test split."""
    return _section("metrics")


@cache
def binned_metrics() -> dict[str, Term]:
    """Metrics of a validation or test split over the images of one bin of hole sizes; irregular holes only."""
    binned = _content()["binned"]
    return {
        f"{metric}_bin_{low:02d}_{high:02d}": replace(
            split_metrics()[metric], meaning=binned["meaning"].format(metric=metric, low=low, high=high)
        )
        for metric in binned["metrics"]
        for low, high in binned["bins"]
    }


@cache
def model_metrics() -> dict[str, Term]:
    """Metrics of the validation and the test split that some models alone report."""
    return _section("models")


@cache
def training_metrics() -> dict[str, Term]:
    """Metrics that are measured on training images."""
    return _section("training")


def _section(name: str) -> dict[str, Term]:
    return {key: Term(**entry) for key, entry in _content()[name].items()}


def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(files("reports").joinpath("glossary.yaml").read_text(encoding="utf-8"))
    return content
