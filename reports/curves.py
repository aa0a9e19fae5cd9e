"""A figure of the source that shows a training over its epochs, as data: its panels, their lines, and which trials of the store draw them.

    document: maggiordomo            # the paper's short name; with `number` it names the report's files
    number: figure_4
    source: author, title, where it appeared
    caption: what the figure shows
    place: where it stands in the source
    stand_in: wild cats, for Places2                         # images that are not the source's: what stands for what
    sweeps: [maggiordomo_context_encoder]                    # the shipped specs that train what is drawn; or say how in `fill`
    where: {spec: maggiordomo_context_encoder}               # conditions that hold for every line
    panels:
      - title: losses
        unit: "1"
        log: true                                            # logarithmic scale
        lines: [{metric: loss_adversarial, title: generator}] # with a `where` of its own, where lines differ in it
    notes: [what a reader must know]

A line is a metric that the trials report at each step, against the epoch. Every trial of the newest finished sweep that meets the
conditions and was trained to its end is drawn.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from reports.errors import ReportError
from reports.table import NAME, Filled, Part, Where, read_subfolder

FOLDER = "curves"


class Line(Part):
    """A line: a metric's name as the trials report it, its label, and conditions of its own."""

    metric: str = Field(pattern=NAME)
    title: str
    where: Where = Where()


class Panel(Part):
    """Lines that share their axes."""

    title: str
    unit: str
    log: bool = False
    lines: tuple[Line, ...] = Field(min_length=1)


class Curves(Filled):
    """A figure over epochs; see the module's docstring."""

    number: str = Field(pattern=NAME)
    source: str
    caption: str
    place: str
    stand_in: str = ""
    where: Where = Where()
    panels: tuple[Panel, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What to call it: "figure 4"."""
        return self.number.replace("_", " ")


def read_curves(folder: Path | None = None) -> list[Curves]:
    """Reads and judges the files of `curves/` in a folder of tables; there need not be any.

    Args:
        folder: of table files; None = those that come with the package.

    Returns:
        The figures by name.

    Raises:
        ReportError: every problem of every file in one message, each with file and key.
    """
    return read_subfolder(Curves, FOLDER, folder, lambda _: ())


def check_curve_names(curves: Iterable[Curves], taken: set[str]) -> None:
    """Raises ReportError where a figure has the name of a table."""
    for figure in curves:
        if figure.name in taken:
            raise ReportError(f"tables and figures must have different names, but {figure.name} is both; change a number")
