"""What the benchmarks share: a table of figures, the bars that they must reach, and a file that keeps both."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path("build/benchmarks")


@dataclass(frozen=True)
class Bar:
    """A figure that must not be exceeded, or must be reached.

    Attributes:
        what: in words.
        value: as measured; None = it could not be measured here.
        limit: what is asked for.
        at_most: whether the value must be at most the limit; else at least.
    """

    what: str
    value: float | None
    limit: float
    at_most: bool = True

    @property
    def verdict(self) -> str:
        """ "met", "missed by ...", or "not measured"."""
        if self.value is None:
            return "not measured"
        if self.value <= self.limit if self.at_most else self.value >= self.limit:
            return "met"
        return f"missed by {abs(self.value - self.limit) / abs(self.limit):.0%}"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """A line of the table of bars."""
        sign = "at most" if self.at_most else "at least"
        return self.what, "" if self.value is None else f"{self.value:.3g}", f"{sign} {self.limit:g}", self.verdict


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    widths = [max(len(str(row[column])) for row in [headings, *rows]) for column in range(len(headings))]
    for row in (headings, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def finish(name: str, headings: Sequence[str], rows: Sequence[Sequence[str]], bars: Sequence[Bar], **figures: Any) -> None:
    """Prints a benchmark's table and bars, and writes them to `build/benchmarks/NAME.json`.

    Args:
        name: the module's.
        headings: of the table.
        rows: of the table.
        bars: that the figures must reach.
        figures: what else is worth keeping: settings, single repetitions.
    """
    print_table(headings, rows)
    print_table(("bar", "measured", "asked for", ""), [bar.row for bar in bars])
    FOLDER.mkdir(parents=True, exist_ok=True)
    content = {"hardware": hardware(), "headings": headings, "rows": rows, "bars": [asdict(bar) for bar in bars], "figures": figures}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1))


def hardware() -> dict[str, Any]:
    """What the figures belong to; the load tells of what else ran at the end."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
