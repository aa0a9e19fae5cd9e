"""Every fault as a test, with real processes: `make faults`. The scenarios are in faults.py."""

import pytest

from tests.sweeper.faults import CASES, NotPossibleHereError, play


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_nothing_is_there_twice(case: str, data_dir: str) -> None:
    try:
        found = play(case, data_dir)
    except NotPossibleHereError as error:
        pytest.skip(str(error))
    assert found.problems == ()
    assert (found.lost, found.duplicated, found.running, found.study) == (0, 0, 0, 0)
