"""The report's first page: what is in it, how to read it, every table, every sweep, every term."""

from collections.abc import Mapping, Sequence

from reports.contents import Contents
from reports.curves_drawn import drawn
from reports.markdown import markdown_table
from reports.minute import Answer
from reports.selection import Cell, Sweep
from reports.sweep_page import OVERVIEW, overview_row, terms
from reports.table import Table

WHOLE = (("html", "one page of HTML", "index.html"), ("latex", "a LaTeX document", "report.tex"))
HOW_TO_READ = """\
- *Published* is what the source prints, *measured* what the runs in the store say; *difference* is measured minus published.
- Every measured number names its runs; each table's section "Runs" has their MLflow run id, data, epochs, seed and commit.
- Cells that no run fills read "not measured"; values that the source does not print read "not given in the source".
- The *ring mean* fills a hole with the mean of the one-pixel ring around it, without any training: what a model must at least beat.
- Validation numbers are at a trial's best step and were used to choose; test numbers were measured once, after everything was chosen.
- A number with ± is a mean over seeds with the sample standard deviation; it says nothing about other test images.
- Two models are *separated* where the 95 % confidence intervals of their means over seeds have no value in common. A classical fill learns
  nothing and has no seeds; what was trained under one seed alone cannot be separated from anything.
- "In a minute" compares the rows of the tables that were measured on the same test images, by the error over the hole. The best of many
  rows on the test images is a little lucky; within a row nothing is chosen by them.
"""


def index_page(contents: Contents, stems: Sequence[str], formats: Sequence[str]) -> str:
    """The page in Markdown.

    Args:
        contents: what the report shows.
        stems: file name of each sweep's page, without ending.
        formats: those in which the report is written.
    """
    layers, curves, csv = contents.layers, contents.curves, ("csv",) if "csv" in formats else ()
    whole = [f"[{words}]({file})" for name, words, file in WHOLE if name in formats]
    rows = []
    for name, (table, cells) in contents.filled.items():
        title = f"[{table.document}, {table.label}](tables/{name}.md)"
        rows.append([title, table.caption, _measured(cells, contents), _files(name, csv, contents)])
    parts = [
        "# Report\n",
        f"The same as {' and as '.join(whole)}.\n" if whole else "",
        "## In a minute\n",
        _minute(contents.answers),
        "## How to read this\n",
        how_to_read(contents.filled),
        "## Tables\n",
        markdown_table(["table", "shows", "measured", "files"], rows),
        "## Layer tables\n" if layers else "",
        _layers(contents, csv) if layers else "",
        "## Figures over epochs\n" if curves else "",
        _curves(contents, csv) if curves else "",
        "## Pictures\n" if contents.pictures else "",
        *(f"### {picture.title}\n\n{picture.caption}\n\n![{picture.title}]({picture.file})\n" for picture in contents.pictures),
        "## Sweeps in this store\n",
        _sweeps(contents.sweeps, stems),
        "## Glossary\n",
        terms(),
    ]
    return "\n".join(part for part in parts if part)


def how_to_read(filled: Mapping[str, tuple[Table, Sequence[Cell]]]) -> str:
    """What the words mean, and what about the tables was inferred since the sources do not say it."""
    inferred = [
        f"- {table.document}, {table.label}: {table.unit}. {table.unit_reason[:1].upper()}{table.unit_reason[1:]}."
        for table, _ in filled.values()
        if table.unit_reason
    ]
    return HOW_TO_READ + ("\nInferred, since the source does not say it:\n\n" + "\n".join(inferred) + "\n" if inferred else "")


def _minute(found: Sequence[Answer]) -> str:
    """Who fills best on each data set, by how much, how sure that is, and the command that made the number."""
    if not found:
        return "Nothing is measured on test images yet; start with `sweep run quickstart`.\n"
    rows = []
    for answer in found:
        ring_mean = "" if answer.ring_mean is None else answer.lead(answer.ring_mean)
        others = [
            "" if other is None else f"{answer.lead(other.mean)} ({other.entrant.title})" for other in (answer.classical, answer.second)
        ]
        value = f"{answer.value} ({answer.metric}, {answer.seeds})"
        rows.append(
            [
                answer.task.words,
                f"**{answer.best.entrant.title}**",
                value,
                ring_mean,
                *others,
                answer.sure + (", stale" if answer.stale else ""),
                f"`{answer.command}`",
            ]
        )
    headings = (
        "data and hole",
        "fills best",
        "error over the hole",
        "over the ring mean",
        "over the best classical fill",
        "over the second",
    )
    return markdown_table([*headings, "how sure", "command"], rows)


def _measured(cells: Sequence[Cell], contents: Contents) -> str:
    """How many of a table's cells are measured, and how many of these with code or data that have changed since."""
    stale = sum(bool(contents.today.stale_any(cell.runs)) for cell in cells if cell.value is not None)
    measured = sum(cell.value is not None for cell in cells)
    return f"{measured} of {len(cells)} cells" + (f", {stale} stale" if stale else "")


def _files(name: str, csv: Sequence[str], contents: Contents) -> str:
    """Links to a table's files; to its figure where it has one."""
    endings = (*csv, *(("png",) if name in contents.drawn else ()))
    return ", ".join(f"[{'figure' if ending == 'png' else ending.upper()}](tables/{name}.{ending})" for ending in endings)


def _layers(contents: Contents, csv: Sequence[str]) -> str:
    rows = []
    for name, comparison in contents.layers.items():
        table = comparison.table
        title = f"[{table.document}, {table.label}](tables/{name}.md)"
        sweep = "" if comparison.sweep is None else comparison.sweep.row.name
        rows.append([title, table.caption, table.model, comparison.words, sweep, _files(name, csv, contents)])
    note = "The source's networks layer by layer, beside those of the runs in the store.\n\n"
    return note + markdown_table(["table", "shows", "model", "rows", "sweep", "files"], rows)


def _curves(contents: Contents, csv: Sequence[str]) -> str:
    rows = []
    for figure, found in contents.curves:
        title = f"[{figure.document}, {figure.label}](tables/{figure.name}.md)"
        rows.append([title, figure.caption, drawn(figure, found), _files(figure.name, csv, contents)])
    return markdown_table(["figure", "shows", "drawn", "files"], rows)


def _sweeps(sweeps: Sequence[Sweep], stems: Sequence[str]) -> str:
    if not sweeps:
        return "None yet; start with `sweep run quickstart`.\n"
    rows = [overview_row(sweep, stem) for sweep, stem in zip(sweeps, stems, strict=True)]
    note = "The newest first. Each page has the leaderboard, the result on the test split and the picture grid.\n\n"
    return note + markdown_table(OVERVIEW, rows)
