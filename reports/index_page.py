"""The report's first page: what is in it, how to read it, every table, every sweep, every term."""

from collections.abc import Mapping, Sequence

from reports.curves import Curves
from reports.curves_drawn import Trace, drawn
from reports.layers_built import Comparison
from reports.markdown import markdown_table
from reports.selection import Cell, Sweep
from reports.sweep_page import OVERVIEW, overview_row, terms
from reports.table import Table

HOW_TO_READ = """\
- *Published* is what the source prints, *measured* what the runs in the store say; *difference* is measured minus published.
- Every measured number names its runs; each table's section "Runs" has their MLflow run id, data, epochs, seed and commit.
- Cells that no run fills read "not measured"; values that the source does not print read "not given in the source".
- The *ring mean* fills a hole with the mean of the one-pixel ring around it, without any training: what a model must at least beat.
- Validation numbers are at a trial's best step and were used to choose; test numbers were measured once, after everything was chosen.
- A number with ± is a mean over seeds with the sample standard deviation.
"""


def index_page(
    filled: Mapping[str, tuple[Table, Sequence[Cell]]],
    layers: Mapping[str, Comparison],
    curves: Sequence[tuple[Curves, Sequence[Trace]]],
    sweeps: Sequence[Sweep],
    stems: Sequence[str],
) -> str:
    """The page in Markdown.

    Args:
        filled: each table with its cells, by name.
        layers: each layer table with what was built, by name.
        curves: each figure over epochs with what is drawn.
        sweeps: the newest first.
        stems: file name of each sweep's page, without ending.
    """
    rows = []
    for name, (table, cells) in filled.items():
        measured = sum(cell.value is not None for cell in cells)
        title = f"[{table.document}, {table.label}](tables/{name}.md)"
        rows.append([title, table.caption, f"{measured} of {len(cells)} cells", f"[CSV](tables/{name}.csv), [figure](tables/{name}.png)"])
    parts = [
        "# Report\n",
        "## How to read this\n",
        HOW_TO_READ,
        "## Tables\n",
        markdown_table(["table", "shows", "measured", "files"], rows),
        "## Layer tables\n" if layers else "",
        _layers(layers) if layers else "",
        "## Figures over epochs\n" if curves else "",
        _curves(curves) if curves else "",
        "## Sweeps in this store\n",
        _sweeps(sweeps, stems),
        "## Glossary\n",
        terms(),
    ]
    return "\n".join(part for part in parts if part)


def _layers(layers: Mapping[str, Comparison]) -> str:
    rows = []
    for name, comparison in layers.items():
        table = comparison.table
        title = f"[{table.document}, {table.label}](tables/{name}.md)"
        sweep = "" if comparison.sweep is None else comparison.sweep.row.name
        rows.append([title, table.caption, table.model, comparison.words, sweep, f"[CSV](tables/{name}.csv)"])
    note = "The source's networks layer by layer, beside those of the runs in the store.\n\n"
    return note + markdown_table(["table", "shows", "model", "rows", "sweep", "files"], rows)


def _curves(curves: Sequence[tuple[Curves, Sequence[Trace]]]) -> str:
    rows = []
    for figure, found in curves:
        title = f"[{figure.document}, {figure.label}](tables/{figure.name}.md)"
        rows.append([title, figure.caption, drawn(figure, found), f"[CSV](tables/{figure.name}.csv), [figure](tables/{figure.name}.png)"])
    return markdown_table(["figure", "shows", "drawn", "files"], rows)


def _sweeps(sweeps: Sequence[Sweep], stems: Sequence[str]) -> str:
    if not sweeps:
        return "None yet; start with `sweep run quickstart`.\n"
    rows = [overview_row(sweep, stem) for sweep, stem in zip(sweeps, stems, strict=True)]
    note = "The newest first. Each page has the leaderboard, the result on the test split and the picture grid.\n\n"
    return note + markdown_table(OVERVIEW, rows)
