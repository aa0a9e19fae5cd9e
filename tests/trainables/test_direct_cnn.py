from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trainables.reconstruction_reference import HOLE, layer_outputs, losses_on, noise_with_holes, photos_with_holes
from trainables.data import Mask
from trainables.direct_cnn import DirectCnn, DirectCnnConfig, direct_network
from trainables.errors import ConfigError

PAPER = DirectCnnConfig()
TINY = DirectCnnConfig(filters=8, batch_images=8)


def built(config: DirectCnnConfig = TINY, image_px: int = 32) -> DirectCnn:
    torch.manual_seed(0)
    return DirectCnn(config, image_px, HOLE)


def test_table_3_1_row_by_row() -> None:
    model = built(PAPER)
    image, known = noise_with_holes(1)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (32, 32, 64)), ("ReLU", (32, 32, 64))] * 4,
        *[("Conv2d", (32, 32, 3)), ("Sigmoid", (32, 32, 3))],
    ]
    layers = [module for module in model.network.modules() if isinstance(module, nn.Conv2d)]
    assert {(layer.kernel_size, layer.stride) for layer in layers} == {((5, 5), (1, 1))}


def test_parameters_worked_out_by_hand() -> None:
    first = 5 * 5 * 4 * 64 + 64
    inner = 5 * 5 * 64 * 64 + 64
    colours = 5 * 5 * 64 * 3 + 3
    assert built(PAPER).parameters == first + 3 * inner + colours == 318_659


@pytest.mark.parametrize(("filters", "filter_px"), [(8, 3), (1, 1), (5, 7)])
def test_parameters_follow_the_knobs(filters: int, filter_px: int) -> None:
    area = filter_px**2
    expected = (area * 4 + 1) * filters + 3 * (area * filters + 1) * filters + (area * filters + 1) * 3
    assert built(DirectCnnConfig(filters=filters, filter_px=filter_px)).parameters == expected


@pytest.mark.parametrize("image_px", [20, 32, 49])
def test_any_image_size_is_kept(image_px: int) -> None:
    image, known = noise_with_holes(2, image_px)
    output = built(image_px=image_px).output(image, known)
    assert output.shape == image.shape
    assert float(output.detach().min()) > 0
    assert float(output.detach().max()) < 1


def test_the_loss_is_the_mean_squared_error_of_the_whole_image() -> None:
    model = built()
    image, known = noise_with_holes(3)
    loss, figures = model.loss(image, known)
    torch.testing.assert_close(loss, functional.mse_loss(model.output(image, known), image))
    assert figures == {}


def test_the_loss_follows_the_weights_of_its_pixels() -> None:
    image, known = noise_with_holes(3)
    model = built(DirectCnnConfig(filters=8, hole_weight=0.0))
    output = model.output(image, known)
    visible = known.expand_as(image) > 0
    torch.testing.assert_close(model.loss(image, known)[0], ((output - image)[visible] ** 2).mean())


def test_a_pixel_sees_ten_pixels_in_each_direction() -> None:
    """Five 5x5 filters reach 5 * 2 px."""
    visible = torch.rand(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    built().network(visible)[0, :, 16, 16].sum().backward()
    assert visible.grad is not None
    rows, columns = torch.nonzero(visible.grad.abs().sum((0, 1)), as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (6, 26, 6, 26)


def test_it_learns(data_dir: str) -> None:
    losses = losses_on(built(replace(TINY, learning_rate=5e-3)), photos_with_holes(data_dir), 40)
    assert losses[-1] < 0.6 * losses[0]


def test_more_layers_and_another_last_activation() -> None:
    network = direct_network(6, 3, 2, nn.Tanh())
    assert [type(layer) for layer in network] == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.Conv2d, nn.Tanh]
    assert network(torch.zeros(1, 4, 9, 9)).shape == (1, 3, 9, 9)


def test_knobs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="filters must be at least 1, but got 0; use 1 or more"):
        DirectCnnConfig(filters=0)
    with pytest.raises(ConfigError, match="filter_px must be odd and at least 1, but got 4; use 3, 5 or 7"):
        DirectCnnConfig(filter_px=4)


def test_a_hole_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="hole_px=32 on 32x32 images"):
        DirectCnn(TINY, 32, Mask("random_square", 32))
