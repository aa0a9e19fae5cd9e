import os
from functools import partial
from pathlib import Path

import pytest

from reports.figures import FEWEST_A_PROCESS, draw_side_by_side


def note(place: Path) -> None:
    with place.open("x") as file:
        file.write(str(os.getpid()))


@pytest.mark.parametrize("count", [0, 1, 2 * FEWEST_A_PROCESS])
def test_every_figure_is_drawn_once(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    draw_side_by_side([partial(note, tmp_path / str(number)) for number in range(count)])  # a second time would be refused
    drawn = list(tmp_path.iterdir())
    assert len(drawn) == count
    assert len({place.read_text() for place in drawn}) <= 2


@pytest.mark.parametrize("wrong", [0, 2 * FEWEST_A_PROCESS - 1])
def test_what_goes_wrong_in_either_process_is_told(wrong: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / str(wrong)).touch()
    with pytest.raises(FileExistsError):
        draw_side_by_side([partial(note, tmp_path / str(number)) for number in range(2 * FEWEST_A_PROCESS)])
