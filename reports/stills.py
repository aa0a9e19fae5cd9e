"""The still plots of a sweep that it has left in the store: parallel coordinates, importance of the knobs, Pareto front."""

from dataclasses import dataclass

from reports.selection import Sweep
from sweeper.errors import TrackingError
from sweeper.tracking import Store

ARTIFACT = "figures"
TITLES = {"parallel": "Parallel coordinates", "importance-ped_anova": "Importance of the knobs (PED-ANOVA)", "pareto": "Pareto front"}


@dataclass(frozen=True)
class Still:
    """A plot: its title, its file's name in the store, and the SVG."""

    title: str
    name: str
    content: bytes


def read_stills(store: Store, sweep: Sweep) -> list[Still]:
    """A sweep's plots; none where the store has none.

    Args:
        store: where they are.
        sweep: whose.
    """
    try:
        place = store.fetch(sweep.row.run_id, ARTIFACT)
    except TrackingError:  # a sweep of before there were such plots, of one trial, or one without pictures
        return []
    stills = []
    for name, title in TITLES.items():
        for file in sorted(place.glob(f"{name}*.svg")):
            metric = file.stem.removeprefix(name).removeprefix("-")
            stills.append(Still(f"{title}, {metric}" if metric else title, file.name, file.read_bytes()))
    return stills
