"""Where measured numbers come from: the runs behind a table, their data, length, seed, code, machine and checkpoint, whether they are
stale, and how they differ from the source.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reports.freshness import Today
from reports.markdown import NOT_GIVEN, NOT_MEASURED, shorten
from reports.selection import Cell, Run, Sweep, same
from reports.table import Table
from reports.verdict import verdict
from search_spaces import SPACES

HEADINGS = (
    "run",
    "MLflow run id",
    "sweep / trial",
    "model",
    "data",
    "train / validation / test images",
    "fingerprint",
    "epochs",
    "seed",
    "commit",
    "hardware",
    "wall time, s",
    "checkpoint",
)
CSV_FIELDS = (
    *("document", "table", "row", "column", "metric", "unit", "published", "measured", "spread", "difference", "runs", "run_ids", "sweep"),
    *("trials", "model", "data", "data_fingerprint", "train_images", "validation_images", "test_images", "image_px", "mask", "epochs"),
    *("seeds", "commit", "uncommitted_changes", "ratio", "verdict", "reason", "stale", "stand_in", "code", "hardware", "wall_s"),
    *("checkpoints", "configurations"),
)
BEST_CHECKPOINT = "best/checkpoint.pt"


@dataclass(frozen=True)
class Lineage:
    """The runs behind a table, numbered from 1 in the order in which its cells name them.

    Attributes:
        runs: in that order.
        sweeps: every sweep of the store, by its run's id.
        today: says what is stale.
    """

    runs: tuple[Run, ...]
    sweeps: dict[str, Sweep]
    today: Today = field(default_factory=Today)

    @classmethod
    def of(cls, cells: Sequence[Cell], sweeps: Sequence[Sweep], today: Today | None = None) -> "Lineage":
        """Of a table's cells; without `today` code and images are looked at anew."""
        runs: dict[tuple[str, str], Run] = {}
        for cell in cells:
            for run in cell.runs:
                runs.setdefault((run.run_id, run.kind), run)
        return cls(tuple(runs.values()), {sweep.row.run_id: sweep for sweep in sweeps}, today or Today())

    def sweep(self, run: Run) -> Sweep:
        """The sweep of a run."""
        return self.sweeps[run.sweep.run_id]

    def numbers(self, cell: Cell) -> str:
        """ "run 1", or "runs 2, 3"."""
        found = [str(self.runs.index(run) + 1) for run in cell.runs]
        return f"run{'s' if len(found) > 1 else ''} {', '.join(found)}"

    def stale(self, cell: Cell) -> str:
        """Why a cell's value is stale; empty where it is not."""
        return self.today.stale_any(cell.runs)

    def configurations(self) -> list[list[str]]:
        """The knobs of the runs: "1, 2", model, "dropout = 0, ..."; runs of one configuration together."""
        numbers: dict[tuple[str, str], list[str]] = {}
        for place, run in enumerate(self.runs, start=1):
            if run.kind != "baseline":
                knobs = ", ".join(f"{name} = {shorten(value)}" for name, value in sorted(run.knobs.items()))
                numbers.setdefault((run.model, knobs), []).append(str(place))
        return [[", ".join(places), model, knobs] for (model, knobs), places in numbers.items()]

    def rows(self) -> list[list[str]]:
        """One row a run, under `HEADINGS`."""
        rows = []
        for place, run in enumerate(self.runs, start=1):
            sweep = self.sweep(run)
            counts = " / ".join(str(sweep.counts.get(split, "?")) for split in ("train", "validation", "test"))
            data = f"{sweep.tag('sweep.data')}, {sweep.tag('sweep.image_px')} px, {sweep.tag('sweep.mask')}"
            model = "ring mean" if run.kind == "baseline" else run.model
            name = f"{sweep.row.name} / {run.trial}" if run.trial else sweep.row.name
            seed = "" if run.seed is None else str(run.seed)
            fingerprint = sweep.tag("sweep.data_fingerprint")
            wall_s = wall_of(run)
            row = [str(place), run.run_id, name, model, data, counts, fingerprint, epochs(run), seed, commit_of(sweep)]
            rows.append([*row, hardware_of(sweep), "" if wall_s is None else f"{wall_s:.0f}", checkpoint_of(run, sweep)])
        return rows

    def differences(self, table: Table) -> list[list[str]]:
        """Knobs whose value is not the source's: knob, value used, the source's value, where the source gives it."""
        conditioned = {knob for row in table.rows for column in table.columns for knob in table.conditions(row, column).knobs}
        rows = []
        for model in dict.fromkeys(run.model for run in self.runs if run.kind != "baseline"):
            mine = [run for run in self.runs if run.kind != "baseline" and run.model == model]
            for name, knob in SPACES.get(model, {}).items():
                used = sorted({run.knobs[name] for run in mine if name in run.knobs})
                if name not in conditioned and any(not same(text, knob.paper) for text in used):
                    given = NOT_GIVEN if knob.source == NOT_GIVEN else shorten(str(knob.paper))
                    place = "" if knob.source == NOT_GIVEN else knob.source
                    rows.append([model, name, ", ".join(map(shorten, used)), given, place])
        return rows


def commit_of(sweep: Sweep) -> str:
    """The code that a sweep ran, for a reader."""
    return sweep.tag("git.commit")[:12] + (" + changes" if sweep.tag("git.dirty") == "true" else "")


def hardware_of(sweep: Sweep) -> str:
    """The machines that a sweep ran on."""
    return sweep.tag("hardware.cluster") or sweep.tag("hardware.driver")


def wall_of(run: Run) -> float | None:
    """Seconds that a run took: its training steps with their measurements, else from its begin to its end; None where nobody says."""
    if run.kind == "baseline":
        return None
    found = run.metrics.get("wall_s", run.ended_s - run.started_s)
    return found if math.isfinite(found) else None


def checkpoint_of(run: Run, sweep: Sweep) -> str:
    """Where a run's weights are: in the store with the sweep's own run for its best trial, else in the sweep's folder as far as kept."""
    if run.kind == "baseline":
        return ""
    if run.trial == sweep.tag("sweep.best"):
        return f"run {sweep.row.run_id}, {BEST_CHECKPOINT}"
    return f"sweeps/{sweep.row.name}/checkpoints/attempt-*/{run.trial}"


def epochs(run: Run) -> str:
    """How long a run trained; nothing for the plain fill."""
    if run.kind == "baseline":
        return ""
    return f"{run.metrics['epoch']:g}" if "epoch" in run.metrics else run.sweep.tags.get("sweep.epochs", "")


def to_csv(table: Table, cells: Sequence[Cell], lineage: Lineage) -> str:
    """One line a cell, under `CSV_FIELDS`, numbers with six digits; what was not measured says so."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        found = verdict(table, cell)
        line = {
            "document": table.document,
            "table": table.number,
            "row": cell.row.title,
            "column": cell.column.key,
            "metric": cell.column.metric,
            "unit": table.unit,
            "published": "" if cell.published is None else f"{cell.published:.6g}",
            "measured": NOT_MEASURED if cell.value is None else f"{cell.value:.6g}",
            "spread": "" if cell.spread is None else f"{cell.spread:.6g}",
            "difference": "" if cell.difference is None else f"{cell.difference:.6g}",
            "runs": len(cell.runs),
            "ratio": "" if found is None or found.ratio is None else f"{found.ratio:.4g}",
            "verdict": "" if found is None else found.word,
            "reason": "" if found is None else found.reason,
            "stale": lineage.stale(cell),
            "stand_in": table.stand_in,
        }
        writer.writerow(line | (_origin(cell.runs, lineage.sweep(cell.runs[0])) if cell.runs else {}))
    return text.getvalue()


def _origin(runs: Sequence[Run], sweep: Sweep) -> dict[str, object]:
    """Where a cell's value comes from; all runs of a cell are from one sweep."""
    return {
        "run_ids": " ".join(run.run_id for run in runs),
        "sweep": sweep.row.name,
        "trials": " ".join(run.trial for run in runs if run.trial),
        "model": "ring_mean" if runs[0].kind == "baseline" else runs[0].model,
        "data": sweep.tag("sweep.data"),
        "data_fingerprint": sweep.tag("sweep.data_fingerprint"),
        "train_images": sweep.counts.get("train", ""),
        "validation_images": sweep.counts.get("validation", ""),
        "test_images": sweep.counts.get("test", ""),
        "image_px": sweep.tag("sweep.image_px"),
        "mask": sweep.tag("sweep.mask"),
        "epochs": " ".join(epochs(run) for run in runs).strip(),
        "seeds": " ".join(str(run.seed) for run in runs if run.seed is not None),
        "commit": sweep.tag("git.commit"),
        "uncommitted_changes": sweep.tag("git.dirty"),
        "code": " ".join(dict.fromkeys(run.code.partition(",")[0] for run in runs if run.code)),
        "hardware": hardware_of(sweep),
        "wall_s": " ".join(f"{wall_s:.6g}" for run in runs if (wall_s := wall_of(run)) is not None),
        "checkpoints": "; ".join(place for run in runs if (place := checkpoint_of(run, sweep))),
        "configurations": json.dumps([dict(sorted(run.knobs.items())) for run in runs]) if runs[0].kind != "baseline" else "",
    }
