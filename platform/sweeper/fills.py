"""What final runs made of the first test images: one file a run in the sweep's folder, kept until the store has it, and after.

The bytes come from the worker that measured the test split (`trainables.fill_record` says what is in them); nothing here looks inside.
"""

import os
from pathlib import Path

FOLDER = "fills"
PLAIN = "ring_mean"  # the plain fill's, which every sweep has, and with it the images themselves


def fills_file(folder: Path, run: str) -> Path:
    """Where the fills of a run lie in a sweep's folder; `run` is a trial's name, or `PLAIN`."""
    return folder / FOLDER / f"{run}.npz"


def keep(folder: Path, run: str, content: bytes) -> None:
    """Writes a run's fills, whole or not at all."""
    file = fills_file(folder, run)
    file.parent.mkdir(exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_bytes(content)
    os.replace(draft, file)
