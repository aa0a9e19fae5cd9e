"""The still plots of a sweep that it has left in the store: parallel coordinates, importance of the knobs, Pareto front."""

from dataclasses import dataclass
from pathlib import Path

from reports.selection import Sweep
from sweeper.errors import TrackingError
from sweeper.tracking import Store

ARTIFACT = "figures"
TITLES = {"parallel": "Parallel coordinates", "importance-ped_anova": "Importance of the knobs (PED-ANOVA)", "pareto": "Pareto front"}


@dataclass(frozen=True)
class Still:
    """A plot: its title, and its file beside the sweep's page."""

    title: str
    file: str


def copy_stills(store: Store, sweep: Sweep, folder: Path, stem: str) -> list[Still]:
    """Copies a sweep's plots into a folder; none where the store has none.

    Args:
        store: where they are.
        sweep: whose.
        folder: where the sweep's page is.
        stem: of the page, with which the files' names begin.
    """
    try:
        place = store.fetch(sweep.row.run_id, ARTIFACT)
    except TrackingError:  # a sweep of before there were such plots, of one trial, or one without pictures
        return []
    stills = []
    for name, title in TITLES.items():
        for file in sorted(place.glob(f"{name}*.svg")):
            metric = file.stem.removeprefix(name).removeprefix("-")
            target = f"{stem}-{file.name}"
            (folder / target).write_bytes(file.read_bytes())
            stills.append(Still(f"{title}, {metric}" if metric else title, target))
    return stills
