"""Writing Markdown: tables, numbers, and text from a store that could break them."""

from collections.abc import Sequence

NOT_MEASURED = "not measured"
NOT_GIVEN = "not given in the source"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; first column to the left, the others to the right where every entry is a number or a gap."""
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(headings))]
    rule = ["---:" if number else "---" for number in numeric]
    return "\n".join(f"| {' | '.join(escape(entry) for entry in row)} |" for row in [headings, rule, *rows]) + "\n"


def escape(text: str) -> str:
    """Text that stays in its table cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\r", " ").replace("\n", " ")


def also_as(name: str, endings: Sequence[str]) -> str:
    """A sentence that links a file's twins with other endings; empty where there are none."""
    links = [f"[{ending.upper()}]({name}.{ending})" for ending in endings]
    return f"The same as {' and as '.join(links)}.\n" if links else ""


def number(value: float | None, decimals: int | None = None, missing: str = NOT_MEASURED) -> str:
    """A number with fixed decimals, or four digits where none are given."""
    if value is None:
        return missing
    return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"


def shorten(text: str) -> str:
    """A number in four digits, anything else as it is."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _is_number(text: str) -> bool:
    if text in ("", NOT_MEASURED, NOT_GIVEN):
        return True
    try:
        float(text.split(" ")[0])
    except ValueError:
        return False
    return True
