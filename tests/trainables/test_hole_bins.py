import math

import numpy as np
import pytest
import torch

from trainables.data import ImageSource, Mask, open_images
from trainables.hole_bins import BINNED, BINS, BinMeter
from trainables.metrics import METRICS, measure
from trainables.ring_mean import ring_mean_fill
from trainables.session import EVALUATION_SEED, evaluate

CPU = torch.device("cpu")


def known_with(*pixels: int) -> torch.Tensor:
    """One image of 10 x 10 a number of hole pixels, the first ones in reading order."""
    known = torch.ones(len(pixels), 100)
    for index, count in enumerate(pixels):
        known[index, :count] = 0
    return known.reshape(-1, 1, 10, 10)


def of(*values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) * factor for name, factor in (("psnr_hole", 1.0), ("mse_hole", 0.1), ("ssim_image", 0.01))}


def test_means_of_a_bin_by_hand_over_several_batches() -> None:
    meter = BinMeter()
    meter.add(of(1, 2, 4), known_with(5, 15, 20))
    meter.add(of(9, 6), known_with(60, 7))
    assert meter.result() == pytest.approx(
        {"psnr_hole_bin_01_10": 3.5, "mse_hole_bin_01_10": 0.35, "ssim_image_bin_01_10": 0.035}
        | {"psnr_hole_bin_10_20": 3.0, "mse_hole_bin_10_20": 0.3, "ssim_image_bin_10_20": 0.03}
        | {"psnr_hole_bin_50_60": 9.0, "mse_hole_bin_50_60": 0.9, "ssim_image_bin_50_60": 0.09}
    )


@pytest.mark.parametrize(
    ("pixels", "where"), [(1, None), (2, "01_10"), (10, "01_10"), (11, "10_20"), (20, "10_20"), (50, "40_50"), (60, "50_60"), (61, None)]
)
def test_a_bin_holds_its_upper_bound_and_not_its_lower_one(pixels: int, where: str | None) -> None:
    meter = BinMeter()
    meter.add(of(2), known_with(pixels))
    assert set(meter.result()) == ({f"{name}_bin_{where}" for name in of(0)} if where else set())


def test_a_value_that_is_not_finite_stays_in_its_bin() -> None:
    meter = BinMeter()
    meter.add(of(math.nan, 2), known_with(5, 15))
    assert math.isnan(meter.result()["psnr_hole_bin_01_10"])
    assert meter.result()["psnr_hole_bin_10_20"] == 2


def test_every_name_is_described_and_can_be_stored() -> None:
    assert len(BINNED) == 3 * len(BINS)
    assert not set(BINNED) & set(METRICS)
    for name, metric in BINNED.items():
        assert name.replace("_", "").isalnum()
        assert metric.mode == METRICS[name.partition("_bin_")[0]].mode


@pytest.mark.parametrize("kind", ["strokes", "irregular"])
def test_an_evaluation_of_irregular_holes_gives_the_means_of_each_bin(kind: str, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_images(ImageSource("photos", 32, 32, 32, 32, data_dir=data_dir)).validation
    mask = Mask(kind, ratio_low=0.01, ratio_high=0.6)  # type: ignore[arg-type]
    result = evaluate(ring_mean_fill, images, mask, CPU)
    assert set(result) == set(METRICS) | set(BINNED)
    truth = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    known = mask.sample(32, 32, np.random.default_rng([EVALUATION_SEED, 0]))
    values = measure(ring_mean_fill(truth, known), truth, known)["psnr_hole"].double().numpy()
    pixels = (known == 0).sum((1, 2, 3)).numpy()
    assert result["psnr_hole_bin_20_30"] == pytest.approx(values[(pixels > 204.8) & (pixels <= 307.2)].mean(), rel=1e-5)
    monkeypatch.setattr("trainables.session.EVALUATION_BATCH", 32)
    assert evaluate(ring_mean_fill, images, mask, CPU) == result


def test_an_empty_bin_and_a_square_hole_give_no_value(data_dir: str) -> None:
    images = open_images(ImageSource("photos", 32, 32, 32, 32, data_dir=data_dir)).validation
    narrow = evaluate(ring_mean_fill, images, Mask("irregular", ratio_low=0.11, ratio_high=0.19), CPU)
    assert set(narrow) - set(METRICS) == {f"{name}_bin_10_20" for name in of(0)}
    assert narrow["mse_hole_bin_10_20"] == pytest.approx(narrow["mse_hole"], rel=1e-6)
    assert set(evaluate(ring_mean_fill, images, Mask("random_rectangle", 20), CPU)) == set(METRICS)
    assert evaluate(ring_mean_fill, images, Mask("irregular"), CPU, only="l2_hole").keys() == {"l2_hole"}
