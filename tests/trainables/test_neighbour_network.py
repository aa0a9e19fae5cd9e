from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.reconstruction_reference import losses_on, noise_with_holes
from trainables.data import Batch, ImageSource, Mask, to_tensor
from trainables.errors import ConfigError
from trainables.neighbour_network import NeighbourNetwork, NeighbourNetworkConfig
from trainables.session import Session

TINY = NeighbourNetworkConfig(hidden=8, positions=32, batch_images=4)


def model(config: NeighbourNetworkConfig = TINY, image_px: int = 16, mask: Mask | None = None) -> NeighbourNetwork:
    torch.manual_seed(0)
    return NeighbourNetwork(config, image_px, mask or Mask("centre", 4))


def by_hand(built: NeighbourNetwork, neighbours: Tensor) -> Tensor:
    """The network's estimate for (N, K) neighbours, from its weights."""
    linears = [layer for layer in built.network.layers if isinstance(layer, torch.nn.Linear)]
    origin = neighbours.mean(1, keepdim=True) if built.config.origin == "mean" else torch.tensor(0.5)
    values = (neighbours - origin) * 2
    for layer in linears[:-1]:
        values = (values @ layer.weight.T + layer.bias).clamp(min=0)
    return ((values @ linears[-1].weight.T + linears[-1].bias) / 2 + origin).detach()[:, 0]


def gathered(image: Tensor, window_px: int) -> tuple[Tensor, Tensor]:
    """Neighbours (N, K) and middles (N,) of every window of one colour of one image, (H, W)."""
    reach = window_px // 2
    neighbours, middles = [], []
    for row in range(reach, image.shape[0] - reach):
        for column in range(reach, image.shape[1] - reach):
            window = image[row - reach : row + reach + 1, column - reach : column + reach + 1].flatten()
            neighbours.append(torch.cat([window[: len(window) // 2], window[len(window) // 2 + 1 :]]))
            middles.append(image[row, column])
    return torch.stack(neighbours), torch.stack(middles)


@pytest.mark.parametrize("origin", ["grey", "mean"])
@pytest.mark.parametrize("window_px", [3, 5])
def test_errors_of_a_split_are_those_of_its_windows_by_colour(window_px: int, origin: Any) -> None:
    built = model(replace(TINY, window_px=window_px, origin=origin))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    measured = built.measure_split(images, torch.device("cpu"))
    for index, colour in enumerate(("red", "green", "blue")):
        pairs = [gathered(image[index], window_px) for image in to_tensor(images, torch.device("cpu"))]
        neighbours, middles = (torch.cat(values) for values in zip(*pairs, strict=True))
        expected = float(((by_hand(built, neighbours) - middles) ** 2).mean()) * 255**2
        assert measured[f"middle_error_{colour}"] == pytest.approx(expected, rel=1e-4)


def test_depth_and_width_are_those_of_the_knobs() -> None:
    built = model(NeighbourNetworkConfig(hidden=16, depth=3))
    assert [tuple(weight.shape) for weight in built.network.parameters() if weight.dim() == 2] == [(16, 24), (16, 16), (16, 16), (1, 16)]


def test_drawn_windows_are_windows_of_the_images() -> None:
    built = model(replace(TINY, positions=40))
    image, _ = noise_with_holes(3, 8, Mask("centre", 2))
    found: dict[float, Tensor] = {}
    for one in image.flatten(0, 1):
        neighbours, middles = gathered(one, 5)
        found |= dict(zip(middles.tolist(), neighbours, strict=True))
    neighbours, middles = built.drawn(image)
    assert neighbours.shape == (3 * 40 * 3, 24)
    for around, middle in zip(neighbours, middles.tolist(), strict=True):
        assert torch.equal(found[middle], around)
    assert len(set(middles.tolist())) > 100  # of 3 * 16 * 3


def test_the_loss_is_the_mean_squared_error_of_drawn_windows_in_levels() -> None:
    built = model()
    image, known = noise_with_holes(4, 16)
    torch.manual_seed(5)
    neighbours, middles = built.drawn(image)
    expected = float(((by_hand(built, neighbours) - middles) ** 2).mean()) * 255**2
    torch.manual_seed(5)
    assert built.train_unit([Batch(image, known, 0.0)])["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("origin", ["grey", "mean"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns_smooth_images(origin: Any, precision: Any) -> None:
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    phases = torch.rand(12, 1, 1, generator=torch.Generator().manual_seed(0)) * 6
    image = (0.5 + 0.4 * torch.sin(rows / 3 + phases) * torch.cos(columns / 4 + phases)).reshape(4, 3, 16, 16)
    built = model(replace(TINY, hidden=32, positions=128, learning_rate=1e-2, origin=origin, precision=precision), 16)
    losses = losses_on(built, Batch(image, torch.ones(4, 1, 16, 16), 0.0), 150)
    assert losses[-1] < losses[0] / 20
    known = built.mask.sample(4, 16, np.random.default_rng(0))
    hole = known.expand_as(image) == 0
    assert float(((built.fill(image, known) - image)[hole] ** 2).mean()) < float((image[hole] - 0.5).pow(2).mean())


def test_counted_from_the_mean_brightness_does_not_matter() -> None:
    built = model(replace(TINY, origin="mean"))
    neighbours = torch.rand(24, 10, generator=torch.Generator().manual_seed(0)) * 0.5
    torch.testing.assert_close(built.estimate(neighbours + 0.3), built.estimate(neighbours) + 0.3, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(NeighbourNetwork.masks))
def test_every_kind_of_hole_is_filled_and_nothing_else_changes(kind: Any) -> None:
    image, known = noise_with_holes(4, 32, Mask(kind, 12))
    built = model(image_px=32, mask=Mask(kind, 12))
    filled = built.fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert not bool((filled == image)[~visible].any())
    assert torch.equal(built.fill(torch.where(visible, image, 1 - image), known), filled)


def test_one_pixel_is_the_estimate_of_its_window_in_each_colour() -> None:
    built = model()
    image, known = noise_with_holes(1, 16)
    known = torch.ones_like(known)
    known[:, :, 7, 9] = 0
    window = image[0, :, 5:10, 7:12].flatten(1)
    neighbours = torch.cat([window[:, :12], window[:, 13:]], 1)
    torch.testing.assert_close(built.fill(image, known)[0, :, 7, 9], by_hand(built, neighbours).clamp(0, 1), rtol=0, atol=1e-6)


def test_a_resumed_run_is_the_straight_one(data_dir: str, tmp_path: Any) -> None:
    def opened() -> Session:
        source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
        knobs = {"hidden": 8, "positions": 16, "batch_images": 8, "decay_factor": 0.5, "decay_epochs": 1.0}
        return Session.open("neighbour_network", knobs, source, Mask("random_square", 6), objective="middle_error")

    straight = opened()
    expected = [straight.step() for _ in range(2)]
    assert straight.model.optimizers["network"].param_groups[0]["lr"] == 5e-4
    stopped = opened()
    stopped.step()
    stopped.save(tmp_path)
    resumed = opened()
    resumed.load(tmp_path)
    assert resumed.step() == expected[1]


def test_an_image_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="the image must hold a window of 7 px, but has 6 px; use larger images"):
        model(replace(TINY, window_px=7), image_px=6, mask=Mask("centre", 2))


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"window_px": 4}, "window_px must be odd and at least 3, but got 4; use 5 for example"),
        ({"window_px": 1}, "window_px must be odd and at least 3, but got 1; use 5 for example"),
        ({"hidden": 0}, "hidden must be at least 1, but got 0; use 1 or more"),
        ({"depth": 0}, "depth must be at least 1, but got 0; use 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, but got 0.0; use a positive number"),
        ({"origin": "white"}, "origin must be grey or mean, but got 'white'; name one of these"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16, but got 'float16'; name one of these"),
    ],
)
def test_knobs_that_cannot_work_are_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NeighbourNetworkConfig(**knobs)
