"""What the user asked for: the fields of a sweep spec, and reading them from YAML. `sweeper.validation` judges them."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sweeper.errors import SpecError

SEARCH_ALL = "search"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the numbers of YAML 1.2: 1e-3 is a number, not text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Which images.

    Attributes:
        name: a named set, or "folder:PATH".
        image_px: side of the square images.
        train: how many training images; None = all.
        validation: likewise.
        test: likewise.
        data_dir: folder of the named sets; None = SWEEP_DATA_DIR, or ~/.cache/inpaint-sweeps.
    """

    name: str
    image_px: int = Field(32, ge=8, le=1024)
    train: int | None = Field(None, ge=1)
    validation: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    data_dir: str | None = None


class Mask(_Section):
    """Where the holes are; see `trainables.data.masks`."""

    kind: str = "centre"
    hole_px: int = Field(8, ge=1)
    ratio_low: float = Field(0.1, gt=0, lt=1)
    ratio_high: float = Field(0.3, gt=0, lt=1)

    @property
    def is_irregular(self) -> bool:
        """Whether the hole has a share of the image instead of a side."""
        return self.kind in ("strokes", "irregular")

    @property
    def described(self) -> str:
        """Kind and size, for people."""
        return f"{self.kind} {self.ratio_low:g} to {self.ratio_high:g}" if self.is_irregular else f"{self.kind} {self.hole_px} px"


class Range(_Section):
    """A numeric knob's interval, narrower than the documented one.

    Attributes:
        low: least value.
        high: greatest value.
        log: logarithmic scale; None = as documented.
        points: how many values a grid takes of it.
    """

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    log: bool | None = None
    points: int = Field(3, ge=2)


Setting = Range | list[bool | int | float | str] | bool | int | float | str


class Search(_Section):
    """How configurations are drawn. `seed` fixes the drawing, and the weights and data order of every trial.

    With several objectives "tpe" is multi-objective TPE; "nsga2" is for several objectives alone.
    """

    algorithm: Literal["grid", "random", "tpe", "nsga2"] = "tpe"
    seed: int = Field(0, ge=0)


class Scheduler(_Section):
    """When a trial is stopped early.

    Attributes:
        kind: "none" or "asha".
        grace_steps: steps that every trial gets; asha only.
        reduction: one in so many trials goes on at each rung; asha only.
        stop_collapsed: end a trial whose adversarial game has collapsed, with any kind.
    """

    kind: Literal["none", "asha"] = "none"
    grace_steps: int = Field(1, ge=1)
    reduction: int = Field(3, ge=2)
    stop_collapsed: bool = True


class Objective(_Section):
    """What is optimised on the validation split; whether the least or the greatest wins follows from the metric.

    Attributes:
        metric: the first objective; its best step is the one that counts of a trial.
        also: further objectives, measured at that step; with any, the result is a Pareto front.
    """

    metric: str = "l2_hole"
    also: list[str] = []


class Budget(_Section):
    """When the sweep ends: at the first limit reached.

    Attributes:
        trials: greatest number of configurations.
        epochs: greatest number of epochs a trial.
        step_images: training images a step; None = an epoch. A trial's steps follow from `epochs`.
        wall_s: greatest wall time of the search in seconds; None = no limit.
    """

    trials: int = Field(ge=1)
    epochs: float = Field(gt=0, allow_inf_nan=False)
    step_images: int | None = Field(None, ge=1)
    wall_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class Resources(_Section):
    """What one trial holds while it runs; fractions of a GPU share it."""

    cpus: float = Field(1, gt=0)
    gpus: float = Field(0, ge=0)


class Spec(_Section):
    """A whole sweep.

    Attributes:
        name: names the sweep in the store, on disk and on the command line.
        description: one sentence for `sweep list`.
        model: a registered model or "module:Class".
        data: which images.
        mask: where the holes are.
        knobs: a value fixes a knob; a list or a range is searched; "search" searches all of the documented range.
            A knob that is not named keeps the paper's value. "seed" may stand among them: a list of seeds repeats each configuration.
        configurations: a hand-written list, for a grid search: each entry sets some knobs together; the grid of `knobs` is run for each.
        search: how configurations are drawn.
        scheduler: when a trial is stopped early.
        objective: what is optimised.
        budget: when the sweep ends.
        resources: what one trial holds.
        seeds: with how many seeds the best configuration is trained again, to be measured once on the test split.
        finals: "best" trains the best configuration again; "every" each one that was trained to its end, for a grid whose points are all
            wanted on the test split.
        retrain: false measures them as the search has trained them, once each, and trains nothing again.
        pictures: for how many of the best trials a picture grid is kept.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    model: str
    data: Data
    mask: Mask = Mask()
    knobs: dict[str, Setting] = {}
    configurations: list[dict[str, bool | int | float | str]] = []
    search: Search = Search()
    scheduler: Scheduler = Scheduler()
    objective: Objective = Objective()
    budget: Budget
    resources: Resources = Resources()
    seeds: int = Field(1, ge=0)
    finals: Literal["best", "every"] = "best"
    retrain: bool = True
    pictures: int = Field(3, ge=0)

    def to_yaml(self) -> str:
        """The resolved spec, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def shipped() -> dict[str, Path]:
    """The specs that come with the engine, by name."""
    folder = Path(str(files("sweeper").joinpath("specs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_spec(where: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a spec's fields without judging them.

    Args:
        where: name of a shipped spec, or a path.
        overrides: "key=value" each, keys dotted ("budget.trials=4"), values in YAML.

    Returns:
        The fields.

    Raises:
        SpecError: no such spec, a file that cannot be read, YAML that does not parse, an override without "=".
    """
    path = shipped().get(where, Path(where))
    if not path.is_file():
        raise SpecError(f"a spec must be one of {', '.join(shipped())} or a file's path, but got {where!r}; name one of these")
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the spec must be readable text, but {path} is not ({error}); check its permissions and encoding") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise SpecError(f"the spec must be valid YAML, but {place}: {problem}; mend that line") from error
    if not isinstance(fields, dict):
        raise SpecError(f"the spec must be a mapping of fields, but {path} holds {type(fields).__name__}; start it with 'name:'")
    for override in overrides:
        set_field(fields, override)
    return fields


def set_field(fields: dict[str, Any], override: str) -> None:
    """Applies one "key=value" in place, keys dotted, the value in YAML.

    Raises:
        SpecError: no "=", a value that is no YAML, or a key inside something that is no section.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SpecError(f"--set takes key=value, but got {override!r}; for example --set budget.trials=4")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SpecError(f"the value of --set must be valid YAML, but got {text!r} ({error}); quote it") from error
    *parents, last = key.split(".")
    place = fields
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise SpecError(f"--set {key}: {parent} must be a section of the spec, but it is {child!r}; set {parent} itself")
        place = child
    place[last] = value
