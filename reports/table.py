"""A published table as data: its cells, the published values, and which runs of the store may fill a cell.

    document: beyond_cnns            # the paper's short name; with `number` it names the report's files
    number: 1                        # or a word, for a result that the source gives in its text
    source: authors, title, where it appeared
    caption: what the table shows
    place: where the published values stand in the source
    unit: of every cell; `unit_reason` says how the unit is known
    tolerance: 0.05                                          # relative: a measured value this near the published one is within tolerance
    stand_in: wild cats, for AFHQ's wild                     # images that are not the source's: what stands for what
    not_comparable: {unit: the source names none}            # why published and measured values cannot be compared; see `Hindrances`
    sweeps: [beyond_cnns_table1]                             # the shipped specs whose sweeps fill the cells
    after: {lsgan_autoencoder: [lsgan_search]}               # a sweep that takes over what others have trained runs after them
    fill: a word on how the cells are computed; left out = `sweep run` of the sweeps above
    where: {runs: search, spec: beyond_cnns_table1}          # conditions that hold for every cell
    choose: newest                                           # or best_validation: which of several sweeps
    rows_title: bottleneck
    columns: [{key: validation, title: L2 (validation), metric: l2_hole}]
    rows: [{title: 256, where: {knobs: {bottleneck: 256}}, published: {validation: 7.96}}]
    also: [mse_hole]                                         # further metrics of the same runs
    figure: {kind: curves, x_scale: log2}                    # or bars
    ranked_by: test                                          # a column: its best measured value comes first, what is not measured last
    notes: [what a reader must know]

The conditions of table, row and column are joined; `reports.selection` says which runs they pick. So are `not_comparable` and, of table and
column, `tolerance`; what is narrower speaks last, and an empty text lifts a hindrance. A cell without a published value is "not given in
the source"; a row that no run can fill says why in `unfilled`.

Where several runs claim one cell, those of one sweep get it: a finished sweep before an unfinished one, of several finished ones that which
`choose` names: "newest" the one begun last, "best_validation" the one that is best on the validation split. The others stay in the store.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reports.errors import ReportError
from reports.glossary import glossary, training_metrics
from search_spaces import SPACES, Value

Kind = TypeVar("Kind", bound="Named")

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class Part(BaseModel):
    """A mapping of a table file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(Part):
    """What a whole file holds: it has a name of its own, after which the report's files are called."""

    document: str = Field(pattern=NAME)
    number: int | str

    @property
    def name(self) -> str:
        """Document and number: "thesis_3.2"."""
        return f"{self.document}_{self.number}"


class Filled(Named):
    """What sweeps fill.

    Attributes:
        sweeps: shipped specs, or paths of spec files, whose sweeps fill it.
        after: sweeps that run after others, whose training they take over.
        fill: how it is filled; where it is left out, the command that runs the sweeps.
    """

    sweeps: tuple[str, ...] = ()
    after: dict[str, tuple[str, ...]] = {}
    fill: str

    @model_validator(mode="before")
    @classmethod
    def _command(cls, fields: object) -> object:
        if isinstance(fields, dict) and fields.get("sweeps") and "fill" not in fields:
            return fields | {"fill": f"sweep run table:{fields.get('document')}_{fields.get('number')}"}
        return fields


class Where(Part):
    """Conditions on the runs that may fill a cell; what is left out does not matter.

    Attributes:
        runs: "search" = a trial of the search, read at its best step on the validation split; "every" = all trials of the search that
            ended, collapsed ones too, each read at its last step, their mean; "final" = the best configuration trained again, read on the
            test split, mean over its seeds; "baseline" = the plain ring-mean fill on the test split.
        spec: name of the shipped spec, or stem of the spec's file.
        model: a registered model.
        data: the image set.
        image_px: side of the images in pixels.
        mask: as a sweep records it, "centre 8 px" or "irregular 0.01 to 0.6".
        train_images: size of the training split; keeps quick looks at part of a set out of the table.
        validation_images: likewise.
        test_images: likewise.
        knobs: values of the model's knobs.
    """

    runs: Literal["search", "every", "final", "baseline"] | None = None
    spec: str | None = None
    model: str | None = None
    data: str | None = None
    image_px: int | None = None
    mask: str | None = None
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    knobs: dict[str, Value] = {}

    def joined(self, other: "Where") -> "Where":
        """Both sets of conditions; where both speak, `other` does."""
        spoken = {name: getattr(other, name) for name in other.model_fields_set if name != "knobs"}
        return self.model_copy(update=spoken | {"knobs": self.knobs | other.knobs})

    @property
    def words(self) -> str:
        """The conditions in one line."""
        plain = [f"{name} = {value}" for name, value in self if value is not None and name != "knobs"]
        return ", ".join(plain + [f"{knob} = {value}" for knob, value in self.knobs.items()])


class Hindrances(Part):
    """Why a published and a measured value cannot be compared; one clause each, empty where nothing is in the way.

    Attributes:
        data: other images.
        budget: trained for longer or shorter, or with fewer images or smaller networks.
        unit: the source names none; the table's is inferred.
        hole: other holes.
        measure: another way of measuring, as another split.
    """

    data: str = ""
    budget: str = ""
    unit: str = ""
    hole: str = ""
    measure: str = ""

    def joined(self, other: "Hindrances") -> "Hindrances":
        """Both; where both speak, `other` does."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class Column(Part):
    """A column: its metric's name as in the glossary, its heading, conditions of its own, and what holds for its published values."""

    key: str = Field(pattern=NAME)
    title: str
    metric: str
    where: Where = Where()
    tolerance: float | None = Field(None, gt=0, lt=1)
    not_comparable: Hindrances = Hindrances()


class Row(Part):
    """A row.

    Attributes:
        title: its heading; for curves a positive number, the place on the x axis.
        where: conditions of its own.
        published: value by column key; a column that is not named has none in the source.
        place: where the values stand in the source, if not where the table's do.
        not_comparable: why its published values cannot be compared.
        unfilled: why no run can fill the row; empty where runs can.
    """

    title: int | float | str
    where: Where = Where()
    published: dict[str, float] = {}
    place: str = ""
    not_comparable: Hindrances = Hindrances()
    unfilled: str = ""


class FigureStyle(Part):
    """How the table is drawn: curves over the rows' numbers, or one bar a cell."""

    kind: Literal["curves", "bars"] = "bars"
    x_scale: Literal["linear", "log2"] = "linear"


class Table(Filled):
    """A published table; see the module's docstring."""

    source: str
    caption: str
    place: str
    unit: str
    unit_reason: str = ""
    tolerance: float = Field(0.05, gt=0, lt=1)
    stand_in: str = ""
    not_comparable: Hindrances = Hindrances()
    where: Where = Where()
    choose: Literal["newest", "best_validation"] = "newest"
    rows_title: str
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    also: tuple[str, ...] = ()
    decimals: int = Field(2, ge=0, le=6)
    figure: FigureStyle = FigureStyle()
    ranked_by: str = ""
    notes: tuple[str, ...] = ()

    @field_validator("number", mode="before")
    @classmethod
    def _number_or_word(cls, number: object) -> object:
        if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
            return number
        if isinstance(number, str) and re.fullmatch(NAME, number):
            return number
        raise ValueError("must be a whole number from 1 on, or a word of letters, digits, '_', '.' and '-'")

    @property
    def label(self) -> str:
        """What the source calls it, "Table 1", or the word for a result of its text, "batch norm"."""
        return f"Table {self.number}" if isinstance(self.number, int) else self.number.replace("_", " ")

    def conditions(self, row: Row, column: Column) -> Where:
        """What a run must meet to fill a cell."""
        return self.where.joined(row.where).joined(column.where)

    def hindrances(self, row: Row, column: Column) -> Hindrances:
        """Why a cell's published value cannot be compared; images that stand in for the source's are other data."""
        own = Hindrances(data=self.stand_in) if self.stand_in else Hindrances()
        return own.joined(self.not_comparable).joined(row.not_comparable).joined(column.not_comparable)


def read_tables(folder: Path | None = None) -> list[Table]:
    """Reads and judges table files.

    Args:
        folder: of `*.yaml` files; None = those that come with the package.

    Returns:
        The tables by name.

    Raises:
        ReportError: no such folder; every problem of every file in one message, each with file and key.
    """
    if folder is not None and not folder.is_dir():
        raise ReportError(f"the tables must lie in a folder, but {folder} is none; name one with --tables, or leave it out")
    place = files("reports").joinpath("tables") if folder is None else folder
    sources = {entry.name: entry.read_bytes() for entry in place.iterdir() if entry.name.endswith(".yaml")}
    if not sources:
        raise ReportError(f"the folder of tables must hold at least one .yaml file, but {place} holds none; add one, or leave --tables out")
    return _judged(Table, sources, _problems_of)


def read_subfolder(kind: type[Kind], name: str, folder: Path | None, problems_of: Callable[[Kind], Iterable[str]]) -> list[Kind]:
    """Reads and judges the files of a folder in the folder of tables; there need not be any.

    Args:
        kind: what each file holds.
        name: of the inner folder.
        folder: of table files; None = those that come with the package.
        problems_of: what the fields' types do not say.

    Returns:
        What was read, by name.

    Raises:
        ReportError: every problem of every file in one message, each with file and key.
    """
    place = (files("reports").joinpath("tables") if folder is None else folder).joinpath(name)
    entries = place.iterdir() if place.is_dir() else ()
    return _judged(kind, {f"{name}/{entry.name}": entry.read_bytes() for entry in entries if entry.name.endswith(".yaml")}, problems_of)


def _judged(kind: type[Kind], sources: Mapping[str, bytes], problems_of: Callable[[Kind], Iterable[str]]) -> list[Kind]:
    """The files' content by name; raises ReportError with all problems."""
    found: dict[str, Kind] = {}
    problems: list[str] = []
    for file, content in sorted(sources.items()):
        part = _parsed(kind, file, content, problems)
        if part is None:
            continue
        problems += [f"{file}, {problem}" for problem in problems_of(part)]
        if part.name in found:
            problems.append(f"{file}, number: must be another one, since {part.name} stands in a second file too")
        found[part.name] = part
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ReportError(f"the table files have {count}; nothing was written\n" + "\n".join(f"  - {problem}" for problem in problems))
    return [found[name] for name in sorted(found)]


def _parsed(kind: type[Kind], file: str, content: bytes, problems: list[str]) -> Kind | None:
    """A file's fields with their types checked; adds to `problems` what is wrong with them."""
    try:
        fields = yaml.safe_load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        problems.append(f"{file}: must be UTF-8 text, but is not ({error.reason} at byte {error.start})")
        return None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problems.append(f"{file}{line}: must be valid YAML, but {getattr(error, 'problem', None) or error}")
        return None
    if not isinstance(fields, dict):
        problems.append(f"{file}: must be a mapping of fields, but holds {type(fields).__name__}; start it with 'document:'")
        return None
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        problems += [f"{file}, {finding}" for finding in _in_words(error)]
        return None


def _in_words(error: ValidationError) -> list[str]:
    """pydantic's findings, one line each: key, rule, value given."""
    lines = []
    for finding in error.errors(include_url=False):
        key = ".".join(str(part) for part in finding["loc"] if part not in ("int", "float", "str", "bool"))
        extra = finding["type"] == "extra_forbidden"
        said = finding["msg"].removeprefix("Value error, ")
        rule = "is no key of a table file; remove it" if extra else said[:1].lower() + said[1:]
        given = "" if finding["type"] in ("missing", "extra_forbidden") else f", but got {finding['input']!r}"
        lines.append(f"{key}: {rule}{given}")
    return list(dict.fromkeys(lines))


def _problems_of(table: Table) -> Iterator[str]:
    """What the fields' types do not say."""
    keys = [column.key for column in table.columns]
    if len(set(keys)) < len(keys):
        yield f"columns: keys must differ, but got {', '.join(keys)}"
    if table.ranked_by and table.ranked_by not in keys:
        yield f"ranked_by: must be one of {', '.join(keys)}, but got {table.ranked_by!r}"
    if table.ranked_by and table.figure.kind == "curves":
        yield "ranked_by: must be left out of a table drawn as curves, whose rows are places on the x axis"
    titles = [str(row.title) for row in table.rows]
    if len(set(titles)) < len(titles):
        yield f"rows: titles must differ, but got {', '.join(titles)}"
    for place, metric in [(f"columns.{i}.metric", column.metric) for i, column in enumerate(table.columns)] + [
        (f"also.{i}", metric) for i, metric in enumerate(table.also)
    ]:
        if metric not in glossary():
            yield f"{place}: must be one of {', '.join(glossary())}, but got {metric!r}"
    wheres = [("where", table.where)]
    wheres += [(f"columns.{i}.where", column.where) for i, column in enumerate(table.columns)]
    wheres += [(f"rows.{i}.where", row.where) for i, row in enumerate(table.rows)]
    for place, where in wheres:
        if where.model is not None and where.model not in SPACES:
            yield f"{place}.model: must be one of {', '.join(SPACES)}, but got {where.model!r}"
    for number, row in enumerate(table.rows):
        for key in row.published:
            if key not in keys:
                yield f"rows.{number}.published.{key}: must be one of {', '.join(keys)}, but is no column's key"
        if table.figure.kind == "curves" and (isinstance(row.title, str) or row.title <= 0):
            yield f"rows.{number}.title: must be a positive number in a table drawn as curves, but got {row.title!r}"
        if not row.unfilled:
            for column in table.columns:
                yield from _problems_of_cell(f"rows.{number}.where", table.conditions(row, column), column)


def _problems_of_cell(place: str, where: Where, column: Column) -> Iterator[str]:
    """Conditions that pick nothing, or name knobs that are not there."""
    if where.runs is None:
        yield f"{place}.runs: must be search, every, final or baseline where runs can fill the row; else say why in 'unfilled'"
    if column.metric in training_metrics() and where.runs not in (None, "search", "every"):
        yield f"{place}.runs: must be search or every for {column.metric}, which no test split has, but got {where.runs!r}"
    if where.knobs and where.model is None:
        yield f"{place}.model: must be given with knobs, but is not"
    space: Any = SPACES.get(where.model or "", {})
    for knob, value in where.knobs.items():
        if space and knob not in space:
            yield f"{place}.knobs.{knob}: must be one of {', '.join(space)}, but {where.model} has no such knob"
        elif space and not space[knob].holds(value):
            yield f"{place}.knobs.{knob}: must be one of {space[knob].allowed}, but got {value!r}"
