from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.freshness import Today
from reports.minute import Answer, answers
from reports.selection import fill, read_sweeps
from reports.table import read_tables
from tests.reports.conftest import CIFAR10_COUNTS, Filler
from tests.reports.filled import ranked_store


def found(filler: Filler, names: Sequence[str]) -> list[Answer]:
    sweeps = read_sweeps(filler.store)
    filled = {table.name: (table, fill(table, sweeps)) for table in read_tables() if table.name in names}
    return answers(filled, sweeps, Today(Path("/nowhere")))


def test_the_best_row_stands_beside_the_plain_the_classical_and_the_second(filler: Filler, home: Path) -> None:
    ranked_store(home)
    (answer,) = found(filler, ["thesis_ranking", "beyond_cnns_1"])
    assert answer.task.words == "cifar10_cars, 32 px, random_square 12 px hole, 1,000 test images"
    assert [standing.entrant.title for standing in answer.standings] == ["whole-image autoencoder", "direct CNN", "biharmonic"]
    assert (answer.value, answer.seeds) == ("17.05 ± 0.05 dB", "mean of 3 seeds")
    assert answer.ring_mean == pytest.approx(13.9)
    assert answer.classical is not None
    assert (answer.lead(13.9), answer.lead(answer.classical.mean)) == ("+3.15 dB", "+0.85 dB")
    # Student's t for two degrees of freedom is 4.303: 17.05 and 16.85, each
    # ± 4.303 * 0.05 / sqrt(3) = 0.124, have 16.926 to 16.974 in common.
    assert answer.near == ["direct CNN"]
    assert answer.best.apart(answer.standings[2]) is True
    assert answer.command == "sweep run thesis_image_autoencoder"
    assert answer.stale == ""


@pytest.mark.parametrize(
    ("second", "sure"),
    [
        ([3.1, 3.11, 3.12], "separated from wgan: the 95 % intervals of the means do not overlap"),
        ([2.6, 2.61, 2.62], "not separated from wgan: the 95 % intervals of the means overlap"),
        ([3.1], "unknown: one seed alone of wgan"),
    ],
)
def test_where_no_table_covers_a_task_its_sweeps_do(filler: Filler, second: list[float], sure: str) -> None:
    for name, model, values in (("mine", "dcgan", [2.5, 2.55, 2.6]), ("other", "wgan", second)):
        parent = filler.sweep(name, spec="my_own", model=model, baseline={"ring_mean_test_l2_hole": 6.0}, tags={"sweep.data": "my_photos"})
        for seed, value in enumerate(values, start=1):
            filler.trial(name, parent, f"final-{seed - 1}", {"test_l2_hole": value}, seed=seed)
    filler.done()
    (answer,) = found(filler, ["beyond_cnns_2"])
    assert (answer.task.data, answer.task.test_images) == ("my_photos", CIFAR10_COUNTS["test"])
    assert (answer.best.entrant.title, answer.metric, answer.sure) == ("dcgan", "l2_hole", sure)
    assert answer.ring_mean is not None
    assert answer.lead(answer.ring_mean) == "58 % less error"  # (6 - 2.55) / 6
    assert answer.command == "sweep run my_own.yaml"


def test_a_classical_fill_that_is_ahead_is_said_to_be(filler: Filler) -> None:
    parent = filler.sweep("plain", model="classical_fill, dcgan", tags={"sweep.data": "my_photos"})
    filler.trial("plain", parent, "final-0", {"test_psnr_hole": 20.0}, seed=1, model="classical_fill")
    filler.trial("plain", parent, "final-1", {"test_psnr_hole": 18.0}, seed=1, model="dcgan")
    filler.done()
    (answer,) = found(filler, [])
    assert (answer.best.entrant.title, answer.seeds) == ("classical_fill", "no training, so no seeds")
    assert answer.sure == "unknown: one seed alone of dcgan"


def test_between_two_classical_fills_nothing_is_said_of_seeds(filler: Filler) -> None:
    baseline = {"ring_mean_test_psnr_hole": 16.9}
    parent = filler.sweep("plain", model="classical_fill", baseline=baseline, tags={"sweep.data": "my_photos"})
    filler.trial("plain", parent, "final-0", {"test_psnr_hole": 17.0}, seed=1, model="classical_fill", knobs={"method": "telea"})
    filler.done()
    (answer,) = found(filler, [])
    assert answer.best.mean == 17.0
    assert answer.sure.startswith("exact on these images, since neither it nor ring mean is trained")


def test_what_was_measured_on_no_test_image_answers_nothing(filler: Filler) -> None:
    parent = filler.sweep("search-only")
    filler.trial("search-only", parent, "search-0000", {"best_l2_hole": 2.0}, knobs={"bottleneck": 256})
    filler.done()
    assert found(filler, ["beyond_cnns_1", "beyond_cnns_2"]) == []
