"""`sweep plots`: a sweep's plots drawn anew from its study and journal."""

from sweeper.cli.rooms import installed_rooms
from sweeper.home import Home
from sweeper.journal import read_trials
from sweeper.keepsakes import plot
from sweeper.search.plots import Drawn
from sweeper.spec_file import read_spec
from sweeper.validation import validate


def draw(home: Home, name: str) -> Drawn:
    """Draws them.

    Raises:
        SweepStateError: the sweep's folder is not here.
        SpecError: its spec is no longer valid.
    """
    rooms = installed_rooms()
    spec = validate(read_spec(str(home.spec_file(name))), rooms)
    return plot(spec, rooms, home.folder(name), read_trials(home.folder(name)).values())
