"""A published layer table as data: its rows, and which runs of the store hold the networks that are put beside them.

    document: thesis                 # the paper's short name; with `number` it names the report's files
    number: "3.2"                    # in quotes
    source: author, title, where it appeared
    caption: what the table shows
    place: where it stands in the source
    model: image_autoencoder         # conditions on the run: its model,
    knobs: {filter_px: 3}            # its knobs,
    image_px: 32                     # its images,
    mask: centre 12 px               # and its holes; what is left out does not matter
    sweeps: [my_autoencoder]         # shipped specs after which there is such a run, where there are such
    network: network                 # of the model's networks the one that the table shows,
    part: encoder                    # and the modules of it whose path begins so; left out = all
    rows:
      - {title: CONV1 + RELU1 + BatchNorm1, filter: 3x3, stride: 1, padding: Same, output: 32x32x32}
      - {title: Lambda layer1, kind: Reparameterise, follows: [], output: 1024x1}
    padding_means: {Zero: valid}     # a word for padding other than "same" and "valid"
    skip: [Unflatten]                # kinds of layers that the source's table leaves out
    notes: [what a reader must know]

A row's title says what it is: a layer, and after each "+" what comes right after it, numbers aside. `kind` and `follows` say it where the
title does not. What a row leaves out (filter, stride, padding) is not in the source and is not compared.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from reports.errors import ReportError
from reports.table import NAME, Filled, Part, Where, read_subfolder
from search_spaces import SPACES, Value

FOLDER = "layers"
KINDS = {
    "conv": "Conv2d",
    "transposed conv": "ConvTranspose2d",
    "dense": "Linear",
    "fully connected layer": "Linear",
    "flatten": "Flatten",
    "flatten layer": "Flatten",
    "reshape layer": "Unflatten",
}
FOLLOWERS = {
    "relu": "ReLU",
    "leakyrelu": "LeakyReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softmax": "Softmax",
    "batchnorm": "BatchNorm",
    "dropout": "Dropout",
}
PADDINGS = {"same": "same", "valid": "valid"}


class LayerRow(Part):
    """A row; see the module's docstring.

    Attributes:
        title: what the source calls it.
        kind: class of the layer; empty = the title says it.
        follows: classes of what comes right after it, in order, without the number of dimensions; None = the title says it.
        filter: "5x5"; empty where the source gives none.
        stride: None where the source gives none.
        padding: the source's word; empty where it gives none.
        output: height x width x channels, or a length.
    """

    title: str
    kind: str = ""
    follows: tuple[str, ...] | None = None
    filter: str = ""
    stride: int | None = None
    padding: str = ""
    output: str = Field(pattern=r"^[0-9]+(x[0-9]+)*$")

    @field_validator("output", mode="before")
    @classmethod
    def _length(cls, output: object) -> object:
        return str(output) if isinstance(output, int) and not isinstance(output, bool) else output

    @property
    def layer(self) -> str:
        """Class of the layer; empty where neither `kind` nor the title says it."""
        return self.kind or KINDS.get(self._words[0], "")

    @property
    def after(self) -> tuple[str, ...]:
        """Classes of what comes right after it; words of the title that name none are left out."""
        if self.follows is not None:
            return self.follows
        return tuple(FOLLOWERS[word] for word in self._words[1:] if word in FOLLOWERS)

    @property
    def unknown(self) -> list[str]:
        """Words of the title that say nothing, where they would have to."""
        first = [] if self.layer else self._words[:1]
        return first + ([word for word in self._words[1:] if word not in FOLLOWERS] if self.follows is None else [])

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's sizes."""
        return tuple(map(int, self.output.split("x")))

    @property
    def step(self) -> str:
        """The stride as text; empty where the source gives none."""
        return "" if self.stride is None else str(self.stride)

    @property
    def _words(self) -> list[str]:
        """ "CONV1 + RELU1" -> "conv", "relu"."""
        return [re.sub(r"[0-9]+$", "", part.strip()).strip().lower() for part in self.title.split("+")]


class LayerTable(Filled):
    """A published layer table; see the module's docstring."""

    number: str = Field(pattern=NAME)
    source: str
    caption: str
    place: str
    model: str
    knobs: dict[str, Value] = Field(default_factory=dict)
    image_px: int | None = None
    mask: str | None = None
    fill: str = ""
    network: str
    part: str = ""
    rows: tuple[LayerRow, ...] = Field(min_length=1)
    padding_means: dict[str, str] = Field(default_factory=dict)
    skip: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the source calls it."""
        return f"Table {self.number}"

    @property
    def where(self) -> Where:
        """What a run must meet to stand beside the table."""
        return Where(model=self.model, image_px=self.image_px, mask=self.mask, knobs=self.knobs)

    @property
    def shows(self) -> str:
        """Which part of the model it is about, in words."""
        return f"{self.part} of {self.network}" if self.part else self.network

    def padding(self, row: LayerRow) -> str:
        """What a row's word for its padding means: "same", "valid", or nothing where it has none."""
        return ({word.lower(): meaning for word, meaning in self.padding_means.items()} | PADDINGS).get(row.padding.lower(), "")

    def holds(self, network: str, name: str) -> bool:
        """Whether a module is in the part that the table shows."""
        return network == self.network and (not self.part or name == self.part or name.startswith(f"{self.part}."))


def read_layer_tables(folder: Path | None = None) -> list[LayerTable]:
    """Reads and judges the files of `layers/` in a folder of tables; there need not be any.

    Args:
        folder: of table files; None = those that come with the package.

    Returns:
        The tables by name.

    Raises:
        ReportError: every problem of every file in one message, each with file and key.
    """
    return read_subfolder(LayerTable, FOLDER, folder, _problems_of)


def _problems_of(table: LayerTable) -> Iterator[str]:
    """What the fields' types do not say."""
    space = SPACES.get(table.model, {})
    if table.model not in SPACES:
        yield f"model: must be one of {', '.join(SPACES)}, but got {table.model!r}"
    for knob, value in table.knobs.items() if space else ():
        if knob not in space:
            yield f"knobs.{knob}: must be one of {', '.join(space)}, but {table.model} has no such knob"
        elif not space[knob].holds(value):
            yield f"knobs.{knob}: must be {'' if hasattr(space[knob], 'low') else 'one of '}{space[knob].allowed}, but got {value!r}"
    for word, meaning in table.padding_means.items():
        if meaning not in PADDINGS:
            yield f"padding_means.{word}: must be one of {', '.join(PADDINGS)}, but got {meaning!r}"
    for number, row in enumerate(table.rows):
        if row.padding and not table.padding(row):
            yield f"rows.{number}.padding: must be same, valid or a word of padding_means, but got {row.padding!r}"
        if row.unknown:
            yield f"rows.{number}.title: says no layer with {', '.join(map(repr, row.unknown))}; say it in 'kind' and 'follows'"


def conditions(table: LayerTable) -> str:
    """What a run must meet, in words."""
    return table.where.words


def command(table: LayerTable) -> str:
    """The command that prints the model's layers without any run."""
    settings = [f"--set {knob}={value}" for knob, value in table.knobs.items()]
    size = [] if table.image_px is None else [f"--image-px {table.image_px}"]
    square = re.fullmatch(r"(\w+) ([0-9]+) px", table.mask or "")
    hole = [f"--mask {square[1]} --hole-px {square[2]}"] if square else []
    return " ".join(["sweep layers", table.model, *settings, *size, *hole])


def check_names(layers: list[LayerTable], taken: set[str]) -> None:
    """Raises ReportError where a layer table has the name of another table."""
    for table in layers:
        if table.name in taken:
            raise ReportError(f"tables must have different names, but {table.name} is a table and a layer table; change a number")
