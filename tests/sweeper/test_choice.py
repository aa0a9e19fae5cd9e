"""Which trial wins where several objectives are weighed."""

import pytest

from sweeper.choice import leaders
from sweeper.journal import TrialRecord
from sweeper.spec import Choice, Objective

MODES = {"l2_hole": "min", "psnr_hole": "max"}
VALUES = [(10.0, 20.0), (10.4, 25.0), (10.6, 30.0), (10.2, 22.0)]  # L2 and PSNR of four trials


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (None, [0, 3, 1, 2]),
        (Choice(best="psnr_hole", within_percent=5, of="l2_hole"), [1, 3, 0, 2]),  # up to 10.5
        (Choice(best="psnr_hole", within_percent=0, of="l2_hole"), [0, 3, 1, 2]),
        (Choice(best="l2_hole", within_percent=20, of="psnr_hole"), [1, 2, 0, 3]),  # from 24 on
    ],
)
def test_the_best_in_one_objective_near_the_best_in_another_comes_first(choose: Choice | None, expected: list[int]) -> None:
    objective = Objective(also=["psnr_hole"], choose=choose)
    results = [{1: dict(zip(MODES, values, strict=True))} for values in VALUES]
    records = [TrialRecord(f"search-{number:04d}", number, "toy", {}, 0, results=each) for number, each in enumerate(results)]
    assert [record.number for record in leaders(records, objective, MODES)] == expected
