"""Why a measured number is stale: the code of its model, or its images, have changed since it was measured.

Code: a trial's run says which version of the code it began with (`sweeper.source_code`, the files behind its model); it is compared with
the version of the files that are installed here. Images: a sweep's run has the fingerprint of its prepared images; it is compared with that
of the newest prepared set of the same name and size in the data folder, as its record there says. No image is read, and neither torch nor a
model is imported.

What cannot be told is not stale: a run from before the version was recorded, a model or prepared images that are not here, the plain fill's
code.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reports.selection import Run
from search_spaces import SPACES
from sweeper.source_code import SourceCode

PREPARED = "prepared"
META = "meta.json"
DEFAULT_DATA_DIR = "~/.cache/inpaint-sweeps"
COUNTED = "photos"  # prepared anew for other counts of images, under the same name


@dataclass(frozen=True)
class Record:
    """What a prepared image set says of itself: name, size, fingerprint, and when it was prepared."""

    source: str
    image_px: int
    fingerprint: str
    prepared_s: float


@dataclass
class Today:
    """Code and images as they are now; everything is looked at once, when first asked for.

    Attributes:
        data_dir: the data folder; None = SWEEP_DATA_DIR, or ~/.cache/inpaint-sweeps.
    """

    data_dir: Path | None = None
    _source: SourceCode = field(default_factory=SourceCode)
    _codes: dict[str, str | None] = field(default_factory=dict)

    def stale(self, run: Run) -> str:
        """Why a run's numbers are stale, in words; empty where they are not, or where that cannot be told."""
        return "; ".join(reason for reason in (self._stale_code(run), self._stale_data(run)) if reason)

    def stale_any(self, runs: Sequence[Run]) -> str:
        """Why a number that comes from several runs is stale; empty where it is not."""
        return "; ".join(dict.fromkeys(reason for run in runs if (reason := self.stale(run))))

    def code(self, model: str) -> str | None:
        """Version of a model's code; None where it is not here."""
        if model not in self._codes:
            module = f"trainables.{model}" if model in SPACES else model.partition(":")[0]
            self._codes[model] = self._source.version([module, "trainables"], leave_out=["trainables.registry"])
        return self._codes[model]

    def _stale_code(self, run: Run) -> str:
        then, now = run.code.partition(",")[0], self.code(run.model) if run.code and run.model else None
        return f"the code of {run.model} has changed since ({then} then, {now} now)" if now is not None and then != now else ""

    def _stale_data(self, run: Run) -> str:
        tags = run.sweep.tags
        name, fingerprint = tags.get("sweep.data", ""), tags.get("sweep.data_fingerprint", "")
        found = [each for each in self._prepared if each.source == name and str(each.image_px) == tags.get("sweep.image_px")]
        if not found or not fingerprint:
            return ""
        newest = max(found, key=lambda each: (each.prepared_s, each.fingerprint)).fingerprint
        if newest == fingerprint or name == COUNTED:
            return ""
        return f"the images of {name} have changed since (fingerprint {fingerprint} then, {newest} now)"

    @cached_property
    def _prepared(self) -> list[Record]:
        """Every prepared set in the data folder; a record that cannot be read is none."""
        folder = Path(self.data_dir or os.environ.get("SWEEP_DATA_DIR") or DEFAULT_DATA_DIR).expanduser() / PREPARED
        records = []
        for path in sorted(folder.glob(f"*/{META}")):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                record = Record(str(told["source"]), int(told["image_px"]), str(told["fingerprint"]), path.stat().st_mtime)
            except (OSError, ValueError, KeyError, TypeError):
                continue
            records.append(record)
        return records
