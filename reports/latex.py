"""The report for LaTeX: every table and layer table with booktabs, and a document that brings them and the figures together.

Picture grids are WebP files, which LaTeX cannot include: they are in the other formats.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.contents import Contents
from reports.layers_built import Comparison
from reports.layers_page import layers_row
from reports.view import View

COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "→": r"\ensuremath{\rightarrow}",
    "λ": r"\ensuremath{\lambda}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "σ": r"\ensuremath{\sigma}",
    "μ": r"\ensuremath{\mu}",
    "°": r"\ensuremath{^\circ}",
    "²": r"\ensuremath{^2}",
    "·": r"\ensuremath{\cdot}",
    "…": r"\dots{}",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ł": r"\l{}",
} | {sign: f"\\{sign}" for sign in "&%$#_"}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u030c": "v", "\u0327": "c"}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands; a character that its own fonts lack is printed as its number."""
    return "".join(map(_sign, re.sub(r"\s*[\r\n]+\s*", " ", text)))


def latex_table(view: View) -> str:
    """One table as a float with `\\label{tab:NAME}`; needs the packages booktabs and graphicx."""
    return _environment().get_template("table.tex.j2").render(view=view, ranked=any(line.rank for line in view.lines))


def latex_layers(comparison: Comparison) -> str:
    """One layer table, published above built in each row, as a float with `\\label{tab:NAME}`; needs booktabs and graphicx."""
    rows = [layers_row(pair) for pair in comparison.pairs]
    return _environment().get_template("layers.tex.j2").render(table=comparison.table, words=comparison.words, rows=rows)


@dataclass(frozen=True)
class Chapter:
    """What the document shows of one of the sources.

    Attributes:
        source: its name.
        tables: names of the tables and layer tables, which lie in `tables/NAME.tex`.
        figures: name and caption of each figure, which lies in `tables/NAME.png`.
    """

    source: str
    tables: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


def latex_report(contents: Contents) -> str:
    """The document: which model fills best, then a chapter for each source."""
    tables = [table for table, _ in contents.filled.values()]
    layers = [comparison.table for comparison in contents.layers.values()]
    curves = [curves for curves, _ in contents.curves]
    chapters = []
    captions = {part.name: (part.document, part.caption) for part in tables} | {part.name: (part.document, part.caption) for part in curves}
    for source in dict.fromkeys(part.document for part in (*tables, *layers, *curves)):
        names = tuple(part.name for part in (*tables, *layers) if part.document == source)
        figures = [(name, caption) for name, (document, caption) in captions.items() if document == source and name in contents.drawn]
        chapters.append(Chapter(source, names, tuple(figures)))
    return _environment().get_template("report.tex.j2").render(chapters=chapters, answers=contents.answers)


@cache
def _environment() -> Environment:
    """Jinja with signs that LaTeX does not use; whatever a template prints is escaped, but for what it marks as safe."""
    return Environment(
        loader=PackageLoader("reports"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
    )


def _sign(sign: str) -> str:
    if sign in COMMANDS:
        return COMMANDS[sign]
    if sign.isascii():
        return sign if sign.isprintable() else " "
    decomposed = unicodedata.normalize("NFD", sign)
    base, marks = decomposed[0], decomposed[1:]
    if base.isascii() and len(marks) == 1 and marks[0] in ACCENTS:
        return f"\\{ACCENTS[marks[0]]}{{{base}}}"
    return f"[U+{ord(sign):04X}]"
