from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.reconstruction_reference import noise_with_holes
from trainables.data import Batch, ImageSource, Mask, open_images, to_tensor
from trainables.errors import ConfigError
from trainables.peel import completed, fill_ring_by_ring, offsets
from trainables.pixel_regression import PLACES, PixelRegression, PixelRegressionConfig, mean_squared_error
from trainables.session import Session

EXACT = PixelRegressionConfig(solver="least_squares", batch_images=4)


def model(config: PixelRegressionConfig = EXACT, image_px: int = 12, mask: Mask | None = None) -> PixelRegression:
    torch.manual_seed(0)
    return PixelRegression(config, image_px, mask or Mask("centre", 4))


def with_weights(weights: list[float], image_px: int = 12) -> PixelRegression:
    built = model(image_px=image_px)
    with torch.no_grad():
        built.network.weight.copy_(torch.tensor([weights]))
    return built


def batches_of_noise(count: int = 3, image_px: int = 12) -> list[Batch]:
    return [Batch(*noise_with_holes(4, image_px, Mask("centre", 4), seed=seed), 0.0) for seed in range(count)]


def gathered(image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (N, 8) and middles (N,) in levels, window by window."""
    levels = image.double().numpy() * 255
    neighbours, middles = [], []
    for one in levels.reshape(-1, *levels.shape[2:]):
        for row in range(1, one.shape[0] - 1):
            for column in range(1, one.shape[1] - 1):
                window = one[row - 1 : row + 2, column - 1 : column + 2].flatten()
                neighbours.append(np.delete(window, 4))
                middles.append(window[4])
    return np.array(neighbours), np.array(middles)


def least_squares(parts: list[Batch], bias: bool) -> tuple[np.ndarray, float]:
    """numpy's solution over the batches' windows, and its mean squared error."""
    neighbours, middles = (np.concatenate(values) for values in zip(*(gathered(part.image) for part in parts), strict=True))
    if bias:
        neighbours = np.column_stack([neighbours, np.ones(len(neighbours))])
    solution = np.linalg.lstsq(neighbours, middles, rcond=None)[0]
    return solution, float(((neighbours @ solution - middles) ** 2).mean())


def gradient(slopes: tuple[float, float] = (0.02, 0.03), image_px: int = 12) -> Tensor:
    """An image whose colours are planes, (1, 3, P, P)."""
    rows, columns = torch.meshgrid(torch.arange(image_px), torch.arange(image_px), indexing="ij")
    plane = 0.1 + slopes[0] * rows + slopes[1] * columns
    return torch.stack([plane, 0.9 * plane, 0.5 + 0.2 * plane])[None]


# --- the regression ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_least_squares_is_numpys_solution_of_the_same_windows(bias: bool) -> None:
    built = model(PixelRegressionConfig(solver="least_squares", batch_images=4, bias=bias))
    parts = batches_of_noise()
    expected, error = least_squares(parts, bias)
    result = built.train_unit(parts)
    found = torch.cat([weight.detach().flatten() for weight in built.network.parameters()]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert result["loss"] == pytest.approx(error, rel=1e-6)
    assert [result[f"weight_{place}"] for place in PLACES] == pytest.approx(expected[:8].tolist(), abs=1e-9)
    assert result["weight_spread"] == pytest.approx(expected[:8].max() - expected[:8].min(), abs=1e-9)


def test_least_squares_sums_up_what_it_has_seen() -> None:
    parts = batches_of_noise(4)
    built = model()
    built.train_unit(parts[:1])
    built.train_unit(parts[1:])
    np.testing.assert_allclose(built.network.weight.detach().numpy()[0], least_squares(parts, False)[0], rtol=1e-6, atol=1e-9)


def test_least_squares_of_photographs_is_numpys_too(data_dir: str) -> None:
    images = open_images(ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)).train[:4]
    part = Batch(to_tensor(images, torch.device("cpu")), torch.ones(4, 1, 32, 32), 0.0)
    built = model(image_px=32)
    built.train_unit([part])
    np.testing.assert_allclose(built.network.weight.detach().numpy()[0], least_squares([part], False)[0], atol=1e-7)


def test_a_flat_image_has_many_solutions_and_gets_the_mean() -> None:
    flat = Batch(torch.full((4, 3, 12, 12), 0.4), torch.ones(4, 1, 12, 12), 0.0)
    built = model()
    assert built.train_unit([flat])["loss"] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(built.network.weight.detach()[0], torch.full((8,), 0.125, dtype=torch.float64), rtol=0, atol=1e-9)


def test_gradient_descent_takes_the_step_of_the_mean_squared_error() -> None:
    built = model(PixelRegressionConfig(learning_rate=1e-6, batch_images=4))
    (part,) = batches_of_noise(1)
    neighbours, middles = (torch.from_numpy(values) for values in gathered(part.image))
    before = built.network.weight.detach().clone()[0].requires_grad_()
    loss = ((neighbours @ before - middles) ** 2).mean()
    (slope,) = torch.autograd.grad(loss / 2, before)
    assert built.train_unit([part])["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    torch.testing.assert_close(built.network.weight.detach()[0], before.detach() - 1e-6 * slope, rtol=1e-6, atol=1e-9)


def test_gradient_descent_at_the_documents_rate_approaches_least_squares() -> None:
    parts = batches_of_noise(1)
    expected, error = least_squares(parts, False)
    built = model(PixelRegressionConfig(descent_steps=100, batch_images=4))
    apart, losses = [], []
    for _ in range(6):
        losses.append(built.train_unit(parts)["loss"])
        apart.append(float(np.abs(built.network.weight.detach().numpy()[0] - expected).max()))
    assert losses == sorted(losses, reverse=True)
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 1e-6
    assert losses[-1] == pytest.approx(error, rel=1e-6)


def test_steps_that_would_diverge_are_shortened() -> None:
    white = Batch(torch.ones(4, 3, 12, 12), torch.ones(4, 1, 12, 12), 0.0)  # the greatest eigenvalue is 8 * 255 ** 2
    loose, stable = (model(PixelRegressionConfig(descent_steps=50, stable_step=on, batch_images=4)) for on in (False, True))
    assert loose.train_unit([white])["loss"] > 1e10
    stable.train_unit([white])
    assert float(stable.network.weight.detach().sum()) == pytest.approx(1)


def test_a_black_batch_changes_nothing() -> None:
    built = model(PixelRegressionConfig(batch_images=4))
    before = built.network.weight.detach().clone()
    built.train_unit([Batch(torch.zeros(4, 3, 12, 12), torch.ones(4, 1, 12, 12), 0.0)])
    assert torch.equal(built.network.weight.detach(), before)


def test_the_error_of_any_weights_follows_from_the_moments() -> None:
    built = model()
    (part,) = batches_of_noise(1)
    neighbours, middles = gathered(part.image)
    weights = np.random.default_rng(0).normal(size=8)
    expected = float(((neighbours @ weights - middles) ** 2).mean())
    assert float(mean_squared_error(torch.from_numpy(weights), built.moments(part.image))) == pytest.approx(expected, rel=1e-6)


def test_errors_of_a_split_are_those_of_its_windows_by_colour() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    built = model()
    measured = built.measure_split(images, torch.device("cpu"))
    weights = built.network.weight.detach().numpy()[0]
    image = to_tensor(images, torch.device("cpu"))
    for index, colour in enumerate(("red", "green", "blue")):
        neighbours, middles = gathered(image[:, index : index + 1])
        assert measured[f"middle_error_{colour}"] == pytest.approx(((neighbours @ weights - middles) ** 2).mean(), rel=1e-5)
    assert measured["middle_error"] == pytest.approx(sum(measured[f"middle_error_{colour}"] for colour in ("red", "green", "blue")) / 3)


# --- filling ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [[0.125] * 8, [-0.25, 0.5, -0.25, 0.5, 0.5, -0.25, 0.5, -0.25]])
def test_one_pixel_of_a_linear_gradient_is_continued_exactly(weights: list[float]) -> None:
    image = gradient()
    known = torch.ones(1, 1, 12, 12)
    known[:, :, 5, 6] = 0
    torch.testing.assert_close(with_weights(weights).fill(image, known), image, rtol=0, atol=1e-6)


def test_one_pixel_is_the_weighted_sum_of_its_neighbours() -> None:
    image = torch.zeros(1, 3, 12, 12)
    image[0, 0, 4:7, 4:7] = torch.tensor([[0.1, 0.2, 0.3], [0.4, 9.0, 0.5], [0.6, 0.7, 0.8]])
    known = torch.ones(1, 1, 12, 12)
    known[:, :, 5, 5] = 0
    filled = with_weights([0.5, 0, 0, 0.25, 0, 0, 0, 0.25]).fill(image, known)
    assert filled[0, :, 5, 5].tolist() == pytest.approx([0.05 + 0.1 + 0.2, 0, 0])


def test_an_unknown_neighbour_takes_the_near_ones_mean() -> None:
    """At the image's corner three of eight are known: east 0.2, south 0.4, south-east 0.8; west alone has a weight."""
    image = torch.zeros(1, 3, 12, 12)
    image[0, 0, 0, 1], image[0, 0, 1, 0], image[0, 0, 1, 1] = 0.2, 0.4, 0.8
    known = torch.ones(1, 1, 12, 12)
    known[:, :, 0, 0] = 0
    west = [0.0, 0, 0, 1, 0, 0, 0, 0]
    near = np.array([1 / 16, 1 / 4, 1 / 25])  # inverse fourth powers of 2, the root of 2 and the root of 5
    assert float(with_weights(west).fill(image, known)[0, 0, 0, 0]) == pytest.approx(near @ [0.2, 0.4, 0.8] / near.sum(), rel=1e-5)


def test_rings_follow_each_other_inwards_and_hidden_pixels_are_never_read() -> None:
    image, known = torch.full((1, 3, 11, 11), torch.nan), torch.ones(1, 1, 11, 11)
    known[:, :, 3:8, 3:8] = 0
    image = torch.where(known > 0, 0.0, image)
    asked: list[int] = []

    def one_more(neighbours: Tensor) -> Tensor:
        asked.append(neighbours.shape[1])
        assert bool(torch.isfinite(neighbours).all())
        return torch.full((neighbours.shape[1],), len(asked) / 10)

    filled = fill_ring_by_ring(image, known, 3, one_more)
    assert asked == [3 * 16, 3 * 8, 3 * 1]
    rings = [[round(10 * value) for value in row] for row in filled[0, 1, 3:8, 3:8].tolist()]
    assert rings == [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 3, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    assert torch.equal(filled[known.expand_as(filled) > 0], torch.zeros(3 * (121 - 25)))


@pytest.mark.parametrize("window_px", [3, 5])
def test_a_ring_is_filled_from_the_pixels_before_it_pixel_by_pixel(window_px: int) -> None:
    """Every fill of irregular holes, against loops over pixels, neighbours and pairs of neighbours."""
    image, known = noise_with_holes(2, 12, Mask("strokes", ratio_low=0.3, ratio_high=0.6))
    places = offsets(window_px).tolist()
    weights = torch.rand(len(places), generator=torch.Generator().manual_seed(2)) * 2 / len(places)
    expected = image.clone()
    for one, is_known in zip(expected, known[:, 0] > 0.5, strict=True):
        while not bool(is_known.all()):
            before, was_known = one.clone(), is_known.clone()
            for row, column in (~was_known).nonzero().tolist():
                if not bool(was_known[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()):
                    continue
                seen = {
                    (a, b): before[:, row + a, column + b]
                    for a, b in places
                    if 0 <= row + a < 12 and 0 <= column + b < 12 and was_known[row + a, column + b]
                }
                total = torch.zeros(3)
                for weight, (a, b) in zip(weights, places, strict=True):
                    near = {place: ((place[0] - a) ** 2 + (place[1] - b) ** 2) ** -2.0 for place in seen if place != (a, b)}
                    mean = sum(near[place] * seen[place] for place in near) / max(sum(near.values()), 1e-9)
                    total += weight * seen.get((a, b), mean)
                one[:, row, column] = total.clamp(0, 1)
                is_known[row, column] = True
    filled = fill_ring_by_ring(image, known, window_px, lambda neighbours: weights @ neighbours)
    torch.testing.assert_close(filled, expected, rtol=0, atol=1e-5)


def test_known_neighbours_stay_as_they_are() -> None:
    neighbours = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(completed(neighbours, torch.ones(3, 4, dtype=torch.bool), torch.ones(3, 3)), neighbours)


def test_without_a_known_pixel_the_fill_is_grey_and_others_are_not_touched_by_it() -> None:
    image, known = noise_with_holes(2, 12, Mask("centre", 4))
    alone = model().fill(image[:1], known[:1])
    known[1] = 0
    filled = model().fill(image, known)
    assert torch.equal(filled[1], torch.full((3, 12, 12), 0.5))
    torch.testing.assert_close(filled[:1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(PixelRegression.masks))
def test_every_kind_of_hole_is_filled_and_nothing_else_changes(kind: Any) -> None:
    image, known = noise_with_holes(4, 32, Mask(kind, 12))
    filled = model(image_px=32, mask=Mask(kind, 12)).fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert not bool((filled == image)[~visible].any())
    hidden = model(image_px=32, mask=Mask(kind, 12)).fill(torch.where(visible, image, 1 - image), known)
    assert torch.equal(hidden, filled)


# --- a run ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["least_squares", "gradient_descent"])
def test_a_resumed_run_is_the_straight_one(solver: str, data_dir: str, tmp_path: Any) -> None:
    def opened() -> Session:
        source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
        knobs = {"solver": solver, "batch_images": 8, "descent_steps": 3}
        return Session.open("pixel_regression", knobs, source, Mask("random_square", 6), objective="middle_error")

    straight = opened()
    expected = [straight.step() for _ in range(2)]
    stopped = opened()
    stopped.step()
    stopped.save(tmp_path)
    resumed = opened()
    resumed.load(tmp_path)
    assert resumed.step() == expected[1]
    assert {"middle_error_red", "psnr_hole"} <= set(resumed.evaluate("test"))


def test_knobs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="solver must be one of least_squares, gradient_descent, but got 'adam'; name one of these"):
        PixelRegressionConfig(solver="adam")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="learning_rate must be above 0, but got nan; use 1e-5 for example"):
        PixelRegressionConfig(learning_rate=float("nan"))
    with pytest.raises(ConfigError, match="initial_deviation must be at least 0, but got -1; 0 starts from no weights"):
        PixelRegressionConfig(initial_deviation=-1)
    with pytest.raises(ConfigError, match="descent_steps must be at least 1, but got 0; use 1 or more"):
        PixelRegressionConfig(descent_steps=0)
