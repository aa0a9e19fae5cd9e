import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from trainables.metrics import METRICS, PSNR_CEILING_DB, composite, measure, psnr_from_mse, ssim_map


def noisy_pair(height: int, width: int, count: int = 3) -> tuple[Tensor, Tensor]:
    """Smooth images and noisy copies of them, (count, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    rows, columns = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 2, width), indexing="ij")
    waves = torch.stack([torch.sin(rows + k) * torch.cos(columns * (k + 1)) for k in range(3 * count)])
    image = (0.5 + 0.4 * waves).reshape(count, 3, height, width)
    noise = 0.1 * torch.randn(image.shape, generator=generator)
    return image, (image + noise).clamp(0, 1)


def square_hole(count: int, px: int, top: int, left: int, hole_px: int) -> Tensor:
    known = torch.ones(count, 1, px, px)
    known[:, :, top : top + hole_px, left : left + hole_px] = 0
    return known


def to_skimage(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 9), (32, 32), (21, 40)])
def test_ssim_map_equals_scikit_image_on_every_pixel(height: int, width: int) -> None:
    image, noisy = noisy_pair(height, width)
    ours = ssim_map(image, noisy)
    for index in range(len(image)):
        _, expected = structural_similarity(to_skimage(image[index]), to_skimage(noisy[index]), channel_axis=2, data_range=1, full=True)
        np.testing.assert_allclose(ours[index].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_ssim_of_nearly_flat_images_keeps_its_digits() -> None:
    image = 0.9 + 1e-3 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    other = image.flip(-1)
    _, expected = structural_similarity(to_skimage(image[0]), to_skimage(other[0]), channel_axis=2, data_range=1, full=True)
    np.testing.assert_allclose(ssim_map(image, other)[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_ssim_image_and_psnr_image_equal_scikit_image() -> None:
    image, noisy = noisy_pair(32, 32)
    values = measure(noisy, image, square_hole(3, 32, 12, 12, 8))
    for index in range(len(image)):
        truth, other = to_skimage(image[index]), to_skimage(noisy[index])
        assert float(values["ssim_image"][index]) == pytest.approx(
            structural_similarity(truth, other, channel_axis=2, data_range=1), abs=1e-6
        )
        assert float(values["psnr_image"][index]) == pytest.approx(peak_signal_noise_ratio(truth, other, data_range=1), abs=1e-4)


def test_ssim_hole_and_psnr_hole_are_scikit_images_over_the_hole() -> None:
    image, noisy = noisy_pair(32, 32)
    values = measure(noisy, image, square_hole(3, 32, 5, 20, 10))
    for index in range(len(image)):
        truth, other = to_skimage(image[index]), to_skimage(noisy[index])
        _, full = structural_similarity(truth, other, channel_axis=2, data_range=1, full=True)
        assert float(values["ssim_hole"][index]) == pytest.approx(full[5:15, 20:30].mean(), abs=1e-5)
        expected = peak_signal_noise_ratio(truth[5:15, 20:30], other[5:15, 20:30], data_range=1)
        assert float(values["psnr_hole"][index]) == pytest.approx(expected, abs=1e-4)


def test_hand_worked_numbers() -> None:
    """An 8x8 image with a 2x2 hole, 12 values: six off by 0.1, three by 0.3, three by nothing.

    Sum of squares: 6 * 0.01 + 3 * 0.09 = 0.33.
    """
    image = torch.full((1, 3, 8, 8), 0.5)
    known = square_hole(1, 8, 3, 3, 2)
    filled = image.clone()
    filled[0, 0, 3:5, 3:5] += 0.1  # four values
    filled[0, 1, 3, 3:5] -= 0.1  # two
    filled[0, 1, 4, 3:5] += 0.3  # two
    filled[0, 2, 3, 3] -= 0.3  # one; the other three of blue are right
    values = {name: float(value) for name, value in measure(filled, image, known).items()}
    assert values["l2_hole"] == pytest.approx(0.33, rel=1e-5)
    assert values["l2_image"] == pytest.approx(0.33, rel=1e-5)
    assert values["l2_formula_hole"] == pytest.approx(0.33 / 4, rel=1e-5)
    assert values["l2_formula_image"] == pytest.approx(0.33 / 64, rel=1e-5)
    assert values["mse_hole"] == pytest.approx(0.33 / 12, rel=1e-5)
    assert values["mse_image"] == pytest.approx(0.33 / 192, rel=1e-5)
    assert values["maem_hole"] == pytest.approx(3 / 12)
    assert values["maem_image"] == pytest.approx((192 - 9) / 192)
    assert values["psnr_hole"] == pytest.approx(10 * math.log10(12 / 0.33), abs=1e-4)
    assert values["psnr_image"] == pytest.approx(10 * math.log10(192 / 0.33), abs=1e-4)


def test_maem_counts_five_levels_and_not_six() -> None:
    image = torch.full((1, 3, 8, 8), 100 / 255)
    filled = image.clone()
    filled[:, 0] = 105 / 255
    filled[:, 1] = 95 / 255
    filled[:, 2] = 106 / 255
    assert float(measure(filled, image, square_hole(1, 8, 0, 0, 4))["maem_hole"]) == pytest.approx(2 / 3)


def test_one_value_an_image_none_mixed_up() -> None:
    image = torch.full((3, 3, 8, 8), 0.2)
    offsets = torch.tensor([0.0, 0.1, 0.5])
    values = measure(image + offsets[:, None, None, None], image, square_hole(3, 8, 2, 2, 4))
    torch.testing.assert_close(values["mse_hole"], offsets**2)
    torch.testing.assert_close(values["mse_image"], offsets**2)
    torch.testing.assert_close(values["l2_hole"], 48 * offsets**2)
    assert all(value.shape == (3,) for value in values.values())


def test_the_printed_formula_is_bounded_by_three() -> None:
    black, white = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    values = measure(white, black, square_hole(1, 8, 0, 0, 8))
    assert float(values["l2_formula_hole"]) == 3
    assert float(values["l2_hole"]) == 3 * 64
    assert float(values["psnr_hole"]) == 0
    assert float(values["maem_hole"]) == 0


def test_identical_images_get_the_best_finite_values() -> None:
    image, _ = noisy_pair(16, 16)
    values = measure(image, image, square_hole(3, 16, 4, 4, 8))
    for name, value in values.items():
        metric = METRICS[name]
        best = {"dB": PSNR_CEILING_DB, "1": 1.0, "share": 1.0}[metric.unit] if metric.mode == "max" else 0.0
        torch.testing.assert_close(value, torch.full((3,), best))


def test_psnr_has_a_ceiling_and_no_other_bend() -> None:
    mse = torch.tensor([0.0, 1e-12, 1e-10, 1e-4, 0.01, 1.0])
    torch.testing.assert_close(psnr_from_mse(mse), torch.tensor([100.0, 100.0, 100.0, 40.0, 20.0, 0.0]))


def test_every_metric_is_measured_and_described() -> None:
    image, noisy = noisy_pair(16, 16)
    of_a_split = {"border_jump_hole", "sharpness_hole", "realism_gap", "frechet_hole"}
    measured = set(measure(noisy, image, square_hole(3, 16, 4, 4, 8)))
    assert measured == set(METRICS) - of_a_split
    assert {name.rpartition("_")[2] for name in measured} == {"hole", "image"}
    assert all(metric.meaning and metric.unit for metric in METRICS.values())


def test_composite_keeps_known_pixels_bit_for_bit_and_clips_the_hole() -> None:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    known = square_hole(2, 8, 2, 2, 4)
    filled = torch.full_like(image, 1.7)
    filled[1] = -0.3
    pasted = composite(filled, image, known)
    everywhere_known = (known > 0).expand_as(image)
    assert torch.equal(pasted[everywhere_known], image[everywhere_known])
    assert torch.equal(pasted[0, :, 2:6, 2:6], torch.ones(3, 4, 4))
    assert torch.equal(pasted[1, :, 2:6, 2:6], torch.zeros(3, 4, 4))
