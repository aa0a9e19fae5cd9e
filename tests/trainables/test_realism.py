import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import ImageSource, Mask
from trainables.errors import ConfigError
from trainables.realism import EXTRACTOR, Moments, RandomFeatures, RealismMeter, border_and_gradient, crop_around_hole, frechet_distance
from trainables.ring_mean import ring_mean_fill
from trainables.session import Session, evaluate

CPU = torch.device("cpu")
KINDS = [Mask("centre", 6), Mask("random_square", 5), Mask("strokes", ratio_low=0.1, ratio_high=0.3)]


def sums_by_loops(image: Tensor, known: Tensor) -> tuple[float, float]:
    """Border and gradient sums, pixel by pixel."""
    border = gradient = 0.0
    count, channels, height, width = image.shape
    for index in range(count):
        for row in range(height):
            for column in range(width):
                for down, right in ((1, 0), (0, 1)):
                    if row + down >= height or column + right >= width:
                        continue
                    holes = int(known[index, 0, row, column] == 0) + int(known[index, 0, row + down, column + right] == 0)
                    for channel in range(channels):
                        step = float(image[index, channel, row + down, column + right]) - float(image[index, channel, row, column])
                        border += abs(step) if holes == 1 else 0.0
                        gradient += step**2 if holes == 2 else 0.0
    return border, gradient


@pytest.mark.parametrize("mask", KINDS, ids=lambda mask: mask.kind)
def test_sums_equal_a_loop_over_pixels(mask: Mask) -> None:
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    known = mask.sample(3, 16, np.random.default_rng(1))
    assert [float(value) for value in border_and_gradient(image, known)] == pytest.approx(sums_by_loops(image, known), rel=1e-6)


def hand_worked() -> tuple[Tensor, Tensor, Tensor]:
    """A 6x6 image with a 2x2 hole at rows and columns 2, 3. Truth: each row rises by 0.1 a column; fill: all 0.5 in the hole."""
    truth = (torch.arange(6) * 0.1).expand(1, 3, 6, 6).clone()
    known = torch.ones(1, 1, 6, 6)
    known[:, :, 2:4, 2:4] = 0
    filled = torch.where(known > 0, truth, torch.full_like(truth, 0.5))
    return filled, truth, known


def test_hand_worked_square() -> None:
    """Across the border, a channel: truth 2 + 2 pairs of 0.1 left and right, none up and down: 0.4.

    Fill: left 0.5 - 0.1 twice, right 0.5 - 0.4 twice; up and down 0.3 (column 2) and 0.2 (column 3), two of each: 0.8 + 0.2 + 1.0 = 2.0.
    Inside: truth 2 pairs of 0.1^2; fill none.
    """
    filled, truth, known = hand_worked()
    meter = RealismMeter(Mask("centre", 2), 6, CPU)
    meter.add(filled, truth, known)
    result = meter.result()
    assert result["border_jump_hole"] == pytest.approx(2.0 / 0.4, rel=1e-5)
    assert result["sharpness_hole"] == pytest.approx(0, abs=1e-9)
    assert result["realism_gap"] == pytest.approx(1 + 4, rel=1e-5)


def test_sharpness_is_quadratic_in_contrast_and_blind_to_brightness() -> None:
    truth = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(2)) * 0.5 + 0.25
    known = Mask("centre", 6).sample(2, 12, np.random.default_rng(0))
    filled = torch.where(known > 0, truth, 0.5 * truth + 0.2)
    meter = RealismMeter(Mask("centre", 6), 12, CPU)
    meter.add(filled, truth, known)
    assert meter.result()["sharpness_hole"] == pytest.approx(0.25, rel=1e-5)


def test_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    """A flat and a steep image: gradient energies of the truth 0 and E, of the fill e and E; the mean of ratios would be infinite."""
    _, truth, known = hand_worked()
    flat = torch.full_like(truth, 0.3)
    noisy = flat.clone()
    noisy[:, :, 2, 2] = 0.4  # two pairs inside of 0.1, two across the border
    meter = RealismMeter(Mask("centre", 2), 6, CPU)
    meter.add(truth, truth, known)
    meter.add(noisy, flat, known)
    result = meter.result()
    assert result["sharpness_hole"] == pytest.approx((2 + 2) / 2, rel=1e-4)
    assert result["border_jump_hole"] == pytest.approx((0.4 + 0.2) / 0.4, rel=1e-4)


@pytest.mark.parametrize("mask", [*KINDS, Mask("centre", 1)], ids=lambda mask: f"{mask.kind}-{mask.hole_px}")
def test_the_truth_is_perfect(mask: Mask) -> None:
    image = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    known = mask.sample(8, 16, np.random.default_rng(1))
    meter = RealismMeter(mask, 16, CPU)
    meter.add(image, image, known)
    result = meter.result()
    assert result["border_jump_hole"] == result["sharpness_hole"] == 1
    assert result["realism_gap"] == 0
    assert result["frechet_hole"] == pytest.approx(0, abs=1e-6)


def test_batches_add_up() -> None:
    image = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    mask = Mask("random_square", 4)
    known = mask.sample(12, 16, np.random.default_rng(1))
    filled = ring_mean_fill(image, known)
    whole, parts = RealismMeter(mask, 16, CPU), RealismMeter(mask, 16, CPU)
    whole.add(filled, image, known)
    for start, end in ((0, 5), (5, 12)):
        parts.add(filled[start:end], image[start:end], known[start:end])
    assert parts.result() == pytest.approx(whole.result(), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("top", "left", "row", "column"),
    [(6, 6, 4, 4), (0, 0, 0, 0), (12, 12, 8, 8), (0, 7, 0, 5), (11, 1, 8, 0)],
)
def test_crops_are_centred_on_the_hole_and_stay_inside(top: int, left: int, row: int, column: int) -> None:
    image = torch.rand(2, 3, 16, 16)
    known = torch.ones(2, 1, 16, 16)
    known[1, :, top : top + 4, left : left + 4] = 0
    crop = crop_around_hole(image, known, 8)
    assert torch.equal(crop[1], image[1, :, row : row + 8, column : column + 8])
    assert torch.equal(crop[0], image[0, :, 4:12, 4:12])  # no hole: the middle


def test_moments_equal_numpys() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (50, 4))
    moments = Moments(4)
    moments.add(torch.from_numpy(rows[:20]))
    moments.add(torch.from_numpy(rows[20:]))
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T), rtol=1e-9)


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(5).normal(size=(size, size)))[0]


def test_frechet_distance_of_commuting_gaussians() -> None:
    """Covariances with the same axes: |a - b|^2 + sum of (sqrt(u) - sqrt(v))^2."""
    axes, rng = rotation(6), np.random.default_rng(6)
    first, second = rng.uniform(0.1, 4, 6), rng.uniform(0.1, 4, 6)
    mean_a, mean_b = rng.normal(size=6), rng.normal(size=6)
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    covariances = [(axes * values) @ axes.T for values in (first, second)]
    assert frechet_distance(mean_a, covariances[0], mean_b, covariances[1]) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_two_by_two_gaussians() -> None:
    """Of any 2x2 matrices: tr sqrt(AB) = sqrt(tr AB + 2 sqrt(det AB))."""
    first, second = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    product = first @ second
    cross = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = np.trace(first) + np.trace(second) - 2 * cross
    assert frechet_distance(np.zeros(2), first, np.zeros(2), second) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_robust() -> None:
    """Singular covariances, as of fewer images than features, and a distance to itself."""
    rows = np.random.default_rng(7).normal(size=(10, 64)) * 1e3
    covariance = np.cov(rows.T)
    assert frechet_distance(np.zeros(64), covariance, np.zeros(64), covariance) == pytest.approx(0, abs=1e-4 * np.trace(covariance))
    assert frechet_distance(np.zeros(64), covariance, np.zeros(64), np.zeros((64, 64))) == pytest.approx(np.trace(covariance))
    assert math.isnan(frechet_distance(np.full(2, np.nan), np.eye(2), np.zeros(2), np.eye(2)))


def test_the_extractor_is_fixed() -> None:
    """Weights from numpy's documented generator, and what three convolutions give, by torch-free arithmetic on a constant image."""
    extractor = RandomFeatures()
    expected = np.random.default_rng(0).standard_normal((32, 3, 3, 3)) * math.sqrt(2 / 27)
    np.testing.assert_allclose(extractor.filters[0].numpy(), expected, rtol=1e-6)
    assert EXTRACTOR == "random-conv-64-seed-0"
    state = torch.get_rng_state()
    first = RandomFeatures()(torch.full((2, 3, 16, 16), 0.7))
    assert torch.equal(first, extractor(torch.full((2, 3, 16, 16), 0.7)))
    assert torch.equal(state, torch.get_rng_state())
    assert first.shape == (2, 64)
    assert torch.equal(extractor(torch.full((1, 3, 8, 8), 0.5)), torch.zeros(1, 64))  # 0.5 becomes 0, and there is no bias
    assert not [weight for weight in extractor.parameters() if weight.requires_grad]


def test_the_distance_grows_with_noise() -> None:
    rng = torch.Generator().manual_seed(8)
    image = torch.rand(64, 3, 16, 16, generator=rng) * 0.2 + torch.rand(64, 3, 1, 1, generator=rng) * 0.8
    mask = Mask("centre", 8)
    known = mask.sample(64, 16, np.random.default_rng(0))
    distances = []
    for strength in (0.0, 0.1, 0.3):
        noisy = (image + strength * torch.randn(image.shape, generator=rng)).clamp(0, 1)
        meter = RealismMeter(mask, 16, CPU)
        meter.add(torch.where(known > 0, image, noisy), image, known)
        distances.append(meter.result()["frechet_hole"])
    assert distances[0] < 1e-6 < distances[1] < distances[2]


@pytest.mark.parametrize("mask", KINDS, ids=lambda mask: mask.kind)
def test_evaluate_reports_the_figures_for_any_hole(mask: Mask) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    result = evaluate(ring_mean_fill, images, mask, CPU)
    assert result["sharpness_hole"] < 0.5  # one colour in a square; strokes of one colour each way
    assert result["realism_gap"] == pytest.approx(abs(result["sharpness_hole"] - 1) + abs(result["border_jump_hole"] - 1))
    assert result["frechet_hole"] > 0
    assert set(evaluate(ring_mean_fill, images, mask, CPU, only="l2_hole")) == {"l2_hole"}


@pytest.mark.parametrize("objective", ["sharpness_hole", "border_jump_hole"])
def test_a_metric_that_is_best_at_one_is_no_objective(objective: str, data_dir: str) -> None:
    source = ImageSource("photos", train=16, validation=8, test=8, data_dir=data_dir)
    with pytest.raises(ConfigError, match="best at 1; use realism_gap"):
        Session.open("cnn_autoencoder", {"batch_images": 8}, source, Mask("centre", 8), objective=objective)
