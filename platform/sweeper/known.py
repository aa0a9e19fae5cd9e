"""Trials that need not be trained again, since one with the same code, data and configuration has finished.

A trial's identity is a hash of everything that its result follows from. It stands in the journal; a new trial's is looked up in the
journals of all sweeps in the home folder.
"""

import hashlib
import json
from pathlib import Path

from sweeper.home import Home
from sweeper.journal import Source, TrialRecord, read_trials
from sweeper.rooms import SessionRequest


def identity(request: SessionRequest, kind: str, epochs: float, code: str, fingerprint: str) -> str:
    """16 hexadecimal digits that differ wherever a trial's result might.

    Args:
        request: everything that defines the training run; its number of threads does not count. That of processes does: their draws differ.
        kind: "search" or "final"; a final has figures of the test split too.
        epochs: the trial's budget.
        code: of the models, as `Rooms.code` gives it.
        fingerprint: of the data.
    """
    facts = {
        "kind": kind,
        "model": request.model,
        "knobs": dict(request.knobs),
        "seed": request.seed,
        "mask": dict(request.mask),
        "data": fingerprint,
        "code": code,
        "epochs": epochs,
        "step_images": request.step_images,
        "objective": request.objective,
        "device": request.device,
    }
    if request.processes > 1:
        facts["processes"] = request.processes
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class KnownTrials:
    """Finished trials of all sweeps in a home folder, by identity."""

    def __init__(self, home: Home) -> None:
        """Reads nothing yet.

        Args:
            home: whose sweeps are looked through, as they are at the first question.
        """
        self._home = home
        self._journals: dict[Path, str] | None = None

    def find(self, wanted: str) -> tuple[Source, TrialRecord] | None:
        """A finished trial of an identity; None where there is none."""
        if self._journals is None:
            paths = sorted(self._home.root.glob("sweeps/*/journal.jsonl"))
            self._journals = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
        for path, text in self._journals.items():
            if wanted in text:  # far cheaper than reading every line of every journal
                for record in read_trials(path.parent).values():
                    if record.identity == wanted and record.state == "complete":
                        return record.source or Source(path.parent.name, record.trial), record
        return None
