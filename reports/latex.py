"""The report for LaTeX: every table with booktabs, and a document that brings them together."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.minute import Answer
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


def latex_report(views: Sequence[View], answers: Sequence[Answer], figures: Mapping[str, str]) -> str:
    """The document.

    Args:
        views: of the tables that it inputs from `tables/NAME.tex`.
        answers: which model fills best, for its first page.
        figures: caption of every figure that lies in `tables/NAME.png`, by name.
    """
    return _environment().get_template("report.tex.j2").render(views=views, answers=answers, figures=figures)


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
