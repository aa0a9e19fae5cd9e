import numpy as np
import pytest

from trainables.data.irregular import Draw, arc, ellipse, irregular_hole, stroke, targets


def disc(hole: np.ndarray, size_px: float, rng: np.random.Generator) -> tuple[int, int]:
    """A mark that is the same each time: all pixels within 5 px of column 12, row 9."""
    rows, columns = np.mgrid[: len(hole), : len(hole)]
    hole[(rows - 9) ** 2 + (columns - 12) ** 2 <= 25] = 1
    return 12, 9


@pytest.mark.parametrize("target", [1, 5, 9, 13, 21, 81])
def test_the_last_mark_is_cut_by_its_distance_from_the_start(target: int) -> None:
    """A disc has 1, 5, 9, 13, 21 and 81 pixels within sqrt(0), sqrt(1), sqrt(2), 2, sqrt(5) and 5 px."""
    squared = {1: 0, 5: 1, 9: 2, 13: 4, 21: 5, 81: 25}[target]
    rows, columns = np.mgrid[:24, :24]
    expected = (rows - 9) ** 2 + (columns - 12) ** 2 <= squared
    np.testing.assert_array_equal(irregular_hole(24, target, [disc], np.random.default_rng(0)) == 1, expected)


def test_of_pixels_equally_near_the_first_stay() -> None:
    hole = irregular_hole(24, 3, [disc], np.random.default_rng(0))
    assert np.argwhere(hole).tolist() == [[8, 12], [9, 11], [9, 12]]


@pytest.mark.parametrize("mark", [stroke, arc, ellipse])
@pytest.mark.parametrize("target", [1, 50, 1023, 1024])
def test_every_size_up_to_the_whole_image_is_reached(mark: Draw, target: int) -> None:
    for seed in range(5):
        hole = irregular_hole(32, target, [mark], np.random.default_rng(seed))
        assert hole.sum() == target
        assert set(hole.flatten().tolist()) <= {0, 1}


@pytest.mark.parametrize("mark", [stroke, arc, ellipse])
def test_a_mark_starts_on_itself(mark: Draw) -> None:
    inside = []
    for seed in range(50):
        hole = np.zeros((128, 128), np.uint8)
        column, row = mark(hole, 128.0, np.random.default_rng(seed))
        if 0 <= column < 128 and 0 <= row < 128:
            inside.append(hole[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any())
    assert len(inside) > 25
    assert all(inside)


def test_targets_are_the_golden_section_apart() -> None:
    """10,000 pixels, half of them in the interval: steps of 3,090 pixels folded back at the end."""
    sizes = targets(6, 0.25, 0.75, 10_000, np.random.default_rng(0))
    steps = np.diff(sizes) % 5_000
    np.testing.assert_allclose(steps, 3_090, atol=1)
    assert all(2_500 <= size <= 7_500 for size in sizes)


def test_targets_are_whole_pixels_within_the_interval() -> None:
    for seed in range(20):
        sizes = targets(50, 0.101, 0.105, 1_024, np.random.default_rng(seed))  # 103.4 to 107.5 pixels
        assert set(sizes) <= {104, 105, 106, 107}
