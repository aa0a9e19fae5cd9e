from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.trainables.density_reference import assert_causal_in_intensities, assert_decoders_agree, total_probability
from trainables.data import Batch, ImageSource, Mask
from trainables.density import Decoding
from trainables.errors import ConfigError
from trainables.pixel_cnn import PixelCnn, PixelCnnConfig, PixelCnnNetwork
from trainables.session import Session

TINY = PixelCnnConfig(filters=24, hidden=16, depth=2, positions=8, batch_images=8, dropout=0.0)


def network(config: PixelCnnConfig = TINY, levels: int = 16) -> PixelCnnNetwork:
    torch.manual_seed(0)
    return PixelCnnNetwork(config, levels)


@pytest.mark.parametrize("own_colours", [True, False])
def test_logits_depend_on_earlier_values_alone(own_colours: bool) -> None:
    assert_causal_in_intensities(network(replace(TINY, own_colours=own_colours)), first_informed=1 if own_colours else 3)


@pytest.mark.parametrize(("levels", "height", "width"), [(2, 2, 2), (3, 1, 2)])
def test_probabilities_of_all_images_sum_to_one(levels: int, height: int, width: int) -> None:
    assert total_probability(network(levels=levels), height, width) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", ["argmax", "mean", "sample"])
def test_fast_and_slow_decoders_agree(rule: Any) -> None:
    assert_decoders_agree(network(levels=32), Mask("centre", 4), Decoding(rule), 32, 10, 10)


@pytest.mark.parametrize("mask", [Mask("random_square", 5), Mask("strokes", ratio_low=0.2, ratio_high=0.4)])
def test_decoders_agree_on_any_hole_and_size(mask: Mask) -> None:
    assert_decoders_agree(network(), mask, Decoding(), 32, 7, 9)


def test_features_come_from_the_24_pixels_up_and_to_the_left() -> None:
    net = network(replace(TINY, own_colours=False)).double().eval()
    image = (torch.rand(1, 3, 9, 9, dtype=torch.float64) * 15).requires_grad_()
    net(image)[0, 2, 6, 6].logsumexp(0).backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(0) > 0
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = True
    expected[6, 6] = False
    assert int(expected.sum()) == 24
    assert torch.equal(seen, expected)


def test_the_first_layer_is_a_convolution() -> None:
    """The product with gathered sections against `conv2d` with the same numbers and a zero at the pixel itself."""
    net = network(replace(TINY, depth=1)).double().eval()
    first: Any = net.convolutions[0]
    values = torch.randint(16, (2, 3, 7, 8), generator=torch.Generator().manual_seed(0))
    kernel = functional.pad(first.weight.reshape(-1, 4, 24), (0, 1)).reshape(-1, 4, 5, 5)
    planes = net.planes(values)
    expected = functional.leaky_relu(functional.conv2d(planes, kernel, first.bias))
    sections = planes.unfold(2, 5, 1).unfold(3, 5, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    assert torch.allclose(net.features(sections).reshape(2, 7, 8, -1).permute(0, 3, 1, 2), expected)


def test_parameters_worked_out_by_hand() -> None:
    convolutions = 4 * 24 * 24 + 24 + 24 * 24 + 24
    heads = sum((24 + colour) * 16 + 16 + 16 * 256 + 256 for colour in range(3))
    assert PixelCnn(TINY, 32, Mask()).parameters == convolutions + heads


def test_training_looks_at_the_pixels_own_values() -> None:
    """Images of two flat colours: a section says which, so the loss falls far below that of guessing one of two, ln 2."""
    torch.manual_seed(0)
    model = PixelCnn(replace(TINY, positions=16, learning_rate=0.01), 16, Mask("centre", 4))
    image = torch.tensor([0.2, 0.8]).repeat(16)[:, None, None, None].expand(32, 3, 16, 16)
    batch = Batch(image, torch.ones(32, 1, 16, 16), 0.0)
    model.train_unit([batch] * 60)
    assert model.train_unit([batch])["loss"] < 0.35
    known = model.mask.sample(2, 16, np.random.default_rng(0))
    assert torch.allclose(model.fill(image[:2], known), image[:2], atol=1 / 255)


def test_a_step_reports_bits_per_dim(tmp_path: Any) -> None:
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=str(tmp_path))
    knobs = {"filters": 16, "hidden": 16, "positions": 4, "batch_images": 8}
    session = Session.open("pixel_cnn", knobs, source, Mask("random_square", 6), objective="bits_per_dim")
    assert 0 < session.step()["bits_per_dim"] < 16
    assert "bits_per_dim" in session.evaluate("test")


@pytest.mark.parametrize("knob", ["patch_px", "filters", "depth", "hidden", "positions"])
def test_sizes_that_cannot_be(knob: str) -> None:
    no_size: dict[str, Any] = {knob: 0}
    with pytest.raises(ConfigError, match=f"{knob} must be at least"):
        PixelCnn(replace(TINY, **no_size), 32, Mask())
