import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from trainables.data import MASK_KINDS, Mask
from trainables.data.masks import MaskKind
from trainables.errors import ConfigError

# Draws are seeded, so a test of chance gives the same answer at every run. A sound generator goes below this once in a million
# seeds; a place that is never chosen, or a column that follows the row, gives 0.
LEAST_PVALUE = 1e-6
IRREGULAR: tuple[MaskKind, ...] = ("strokes", "irregular")


def draw(mask: Mask, count: int, image_px: int, seed: int = 0) -> np.ndarray:
    """(count, image_px, image_px) bool, True = hole."""
    known = mask.sample(count, image_px, np.random.default_rng(seed))
    assert known.shape == (count, 1, image_px, image_px)
    assert known.dtype == torch.float32
    assert set(known.flatten().tolist()) == {0.0, 1.0}
    holes: np.ndarray = known[:, 0].numpy() == 0
    return holes


def corners(holes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row and first column of each hole."""
    return holes.any(axis=2).argmax(axis=1), holes.any(axis=1).argmax(axis=1)


@pytest.mark.parametrize(
    ("image_px", "hole_px", "first", "last"),
    [(32, 8, 12, 19), (9, 3, 3, 5), (8, 3, 2, 4), (9, 4, 2, 5), (64, 63, 0, 62), (10, 1, 4, 4)],
)
def test_centre_square_lies_in_the_middle(image_px: int, hole_px: int, first: int, last: int) -> None:
    expected = np.zeros((image_px, image_px), bool)
    expected[first : last + 1, first : last + 1] = True
    mask = Mask("centre", hole_px)
    assert mask.centre_start(image_px) == first
    for hole in draw(mask, 3, image_px):
        np.testing.assert_array_equal(hole, expected)


def test_centre_square_is_never_more_than_half_a_pixel_off() -> None:
    for image_px in range(8, 20):
        for hole_px in range(1, image_px):
            before = Mask("centre", hole_px).centre_start(image_px)
            after = image_px - hole_px - before
            assert after - before in (0, 1)


def test_random_squares_are_whole_squares() -> None:
    holes = draw(Mask("random_square", 5), 500, 16)
    tops, lefts = corners(holes)
    for hole, top, left in zip(holes, tops, lefts, strict=True):
        assert hole.sum() == 25
        assert hole[top : top + 5, left : left + 5].all()


def test_random_squares_are_uniform_over_every_valid_place() -> None:
    tops, lefts = corners(draw(Mask("random_square", 3), 36_000, 8))
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (tops, lefts), 1)  # 36 places, 1,000 expected in each
    assert counts.sum() == 36_000
    assert stats.chisquare(counts.ravel()).pvalue > LEAST_PVALUE


def test_rows_and_columns_of_random_squares_are_independent() -> None:
    tops, lefts = corners(draw(Mask("random_square", 3), 36_000, 8, seed=1))
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (tops, lefts), 1)
    assert stats.chi2_contingency(counts).pvalue > LEAST_PVALUE


def test_squares_of_12_px_in_32_are_uniform_over_21_by_21_places() -> None:
    """The holes of `thesis`; 50 draws a place, from one generator over many batches."""
    rng, counts = np.random.default_rng(0), np.zeros((21, 21), int)
    for _ in range(21):
        holes = Mask("random_square", 12).sample(1_050, 32, rng)[:, 0].numpy() == 0
        assert (holes.sum(axis=(1, 2)) == 144).all()
        np.add.at(counts, corners(holes), 1)
    assert counts.sum() == 50 * 441
    assert stats.chisquare(counts.ravel()).pvalue > LEAST_PVALUE
    assert stats.chisquare(counts.sum(axis=0)).pvalue > LEAST_PVALUE
    assert stats.chisquare(counts.sum(axis=1)).pvalue > LEAST_PVALUE
    assert stats.chi2_contingency(counts).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("hole_px", [1, 4, 9])
def test_random_rectangles_are_whole_and_half_to_full_size(hole_px: int) -> None:
    sizes = set()
    for hole in draw(Mask("random_rectangle", hole_px), 2_000, 16):
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert hole.sum() == len(rows) * len(columns)
        sizes.add((len(rows), len(columns)))
    sides = range(-(-hole_px // 2), hole_px + 1)
    assert sizes == {(height, width) for height in sides for width in sides}


def test_random_rectangles_are_uniform_in_size_and_then_in_place() -> None:
    holes = draw(Mask("random_rectangle", 3), 24_000, 7)
    tops, lefts = corners(holes)
    heights, widths = holes.any(axis=2).sum(axis=1), holes.any(axis=1).sum(axis=1)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (heights - 2, widths - 2), 1)
    assert stats.chisquare(counts.ravel()).pvalue > LEAST_PVALUE
    for first, sizes in ((tops, heights), (lefts, widths)):
        for size in (2, 3):
            assert stats.chisquare(np.bincount(first[sizes == size], minlength=8 - size)).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("image_px", [8, 17, 32, 64])
@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (0.02, 0.04), (0.2, 0.22), (0.5, 0.6), (0.9, 0.95)])
def test_irregular_holes_keep_their_share(kind: MaskKind, image_px: int, low: float, high: float) -> None:
    shares = draw(Mask(kind, ratio_low=low, ratio_high=high), 20, image_px).mean(axis=(1, 2))
    assert shares.min() >= low
    assert shares.max() <= high


@pytest.mark.parametrize("kind", IRREGULAR)
def test_irregular_holes_keep_their_share_over_many_draws(kind: MaskKind) -> None:
    shares = draw(Mask(kind), 1_000, 16).mean(axis=(1, 2))
    assert shares.min() >= 0.1
    assert shares.max() <= 0.3
    assert abs(shares.mean() - 0.2) < 0.01  # the target is uniform over the interval
    assert shares.min() < 0.11
    assert shares.max() > 0.29


@pytest.mark.parametrize("kind", IRREGULAR)
def test_the_shares_of_a_batch_spread_evenly_over_the_interval(kind: MaskKind) -> None:
    """Six intervals of equal width get 20 of 120 images each, give or take two; chance alone would be off by four, one time in three."""
    for seed in range(5):
        shares = draw(Mask(kind, ratio_low=0.001, ratio_high=0.6), 120, 32, seed).mean(axis=(1, 2))
        counts = np.histogram(shares, 6, (0, 0.6))[0]
        assert counts.sum() == 120
        assert abs(counts - 20).max() <= 2


@pytest.mark.parametrize("kind", IRREGULAR)
def test_each_share_alone_is_uniform(kind: MaskKind) -> None:
    mask = Mask(kind, ratio_low=0.1, ratio_high=0.5)
    shares = np.stack([draw(mask, 3, 16, seed).mean(axis=(1, 2)) for seed in range(400)])  # (400, 3)
    for column in shares.T:
        assert stats.kstest(column, "uniform", (0.1, 0.4)).pvalue > LEAST_PVALUE


@pytest.mark.parametrize("kind", IRREGULAR)
def test_irregular_holes_of_a_single_possible_size(kind: MaskKind) -> None:
    holes = draw(Mask(kind, ratio_low=0.2, ratio_high=0.201), 50, 32)  # 204.8 to 205.8 pixels
    assert set(holes.sum(axis=(1, 2)).tolist()) == {205}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_irregular_holes_reach_every_part_of_the_image(kind: MaskKind) -> None:
    often = draw(Mask(kind), 400, 16).mean(axis=0)
    assert often.min() > 0.05


def test_irregular_holes_come_in_few_pieces() -> None:
    """Marks, not noise: an image has about as many pieces as marks, and most hole pixels lie beside four others."""
    for kind in IRREGULAR:
        for hole in draw(Mask(kind), 30, 64):
            assert ndimage.label(hole, np.ones((3, 3)))[1] <= 20
            assert ndimage.binary_erosion(hole, border_value=1).sum() > 0.3 * hole.sum()


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_same_seed_same_holes(kind: str) -> None:
    mask = Mask(kind, 5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(draw(mask, 8, 24, seed=3), draw(mask, 8, 24, seed=3))
    assert (kind == "centre") == np.array_equal(draw(mask, 8, 24, seed=3), draw(mask, 8, 24, seed=4))


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_the_first_holes_are_the_same_in_a_batch_of_any_size(kind: MaskKind) -> None:
    mask = Mask(kind, 5)
    np.testing.assert_array_equal(draw(mask, 3, 24), draw(mask, 11, 24)[:3])


@pytest.mark.parametrize("kind", ["centre", "random_square", "random_rectangle"])
@pytest.mark.parametrize("hole_px", [0, -1, 32, 33])
def test_a_hole_that_does_not_fit_is_refused(kind: str, hole_px: int) -> None:
    with pytest.raises(ConfigError, match=f"hole_px={hole_px} on 32x32 images; use a hole_px from 1 to 31"):
        Mask(kind, hole_px).check(32)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (0.3, 0.3), (0.4, 0.3), (0.5, 1.0), (-0.1, 0.1)])
@pytest.mark.parametrize("kind", IRREGULAR)
def test_an_impossible_interval_is_refused(kind: MaskKind, low: float, high: float) -> None:
    with pytest.raises(ConfigError, match=r"ratio_low < mask\.ratio_high < 1 must hold, but got"):
        Mask(kind, ratio_low=low, ratio_high=high).check(32)


def test_an_interval_without_a_whole_pixel_is_refused() -> None:
    mask = Mask("strokes", ratio_low=0.101, ratio_high=0.105)  # 6.5 to 6.7 of 64 pixels, 103.4 to 107.5 of 1,024
    mask.check(32)
    with pytest.raises(ConfigError, match="whole number of pixels"):
        mask.check(8)


def test_an_unknown_kind_is_answered_with_every_kind() -> None:
    with pytest.raises(ConfigError, match=r"centre, random_square, random_rectangle, strokes, irregular, but got 'circle'"):
        Mask("circle").check(32)  # type: ignore[arg-type]
