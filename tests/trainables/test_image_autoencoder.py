from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trainables.reconstruction_reference import HOLE, layer_outputs, losses_on, noise_with_holes, photos_with_holes
from trainables.errors import ConfigError
from trainables.image_autoencoder import ImageAutoencoder, ImageAutoencoderConfig, check_size, growing, image_encoder

PAPER = ImageAutoencoderConfig()
TINY = ImageAutoencoderConfig(base_filters=4, batch_images=8)


def built(config: ImageAutoencoderConfig = TINY, image_px: int = 32) -> ImageAutoencoder:
    torch.manual_seed(0)
    return ImageAutoencoder(config, image_px, HOLE)


def test_tables_3_2_and_3_3_row_by_row() -> None:
    model = built(PAPER)
    image, known = noise_with_holes(1)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (32, 32, 32)), ("ReLU", (32, 32, 32)), ("BatchNorm2d", (32, 32, 32))],
        *[("Conv2d", (16, 16, 64)), ("ReLU", (16, 16, 64)), ("BatchNorm2d", (16, 16, 64))],
        *[("Conv2d", (8, 8, 128)), ("ReLU", (8, 8, 128)), ("BatchNorm2d", (8, 8, 128))],
        *[("Conv2d", (4, 4, 256)), ("ReLU", (4, 4, 256))],
        *[("ConvTranspose2d", (8, 8, 256)), ("ReLU", (8, 8, 256))],
        *[("ConvTranspose2d", (16, 16, 128)), ("ReLU", (16, 16, 128))],
        *[("ConvTranspose2d", (32, 32, 64)), ("ReLU", (32, 32, 64))],
        *[("Conv2d", (32, 32, 3)), ("Sigmoid", (32, 32, 3))],
    ]
    layers = [module for module in model.network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert [layer.stride[0] for layer in layers] == [1, 2, 2, 2, 2, 2, 2, 1]
    assert {layer.kernel_size for layer in layers} == {(3, 3)}


def test_parameters_worked_out_by_hand() -> None:
    encoder = (3 * 3 * 4 * 32 + 32) + (3 * 3 * 32 * 64 + 64) + (3 * 3 * 64 * 128 + 128) + (3 * 3 * 128 * 256 + 256)
    norms = 2 * (32 + 64 + 128)
    decoder = (3 * 3 * 256 * 256 + 256) + (3 * 3 * 256 * 128 + 128) + (3 * 3 * 128 * 64 + 64)
    colours = 3 * 3 * 64 * 3 + 3
    assert built(PAPER).parameters == encoder + norms + decoder + colours == 1_349_795


@pytest.mark.parametrize("image_px", [24, 32, 64])
@pytest.mark.parametrize("filter_px", [1, 3, 7])
def test_shapes_and_range(image_px: int, filter_px: int) -> None:
    image, known = noise_with_holes(2, image_px)
    output = built(ImageAutoencoderConfig(base_filters=2, filter_px=filter_px), image_px).output(image, known).detach()
    assert output.shape == image.shape
    assert float(output.min()) > 0
    assert float(output.max()) < 1


def test_the_encoders_first_stride() -> None:
    assert image_encoder(2, 3)(torch.zeros(1, 4, 32, 32)).shape == (1, 16, 4, 4)
    assert image_encoder(2, 3, first_stride=2)(torch.zeros(1, 4, 32, 32)).shape == (1, 16, 2, 2)


def test_each_transposed_convolution_doubles() -> None:
    layers = growing([7, 5, 2], 3)
    assert [type(layer) for layer in layers] == [nn.ConvTranspose2d, nn.ReLU] * 2
    assert nn.Sequential(*layers)(torch.zeros(1, 7, 3, 3)).shape == (1, 2, 12, 12)


def test_the_loss_is_the_mean_squared_error_of_the_whole_image() -> None:
    model = built()
    model.set_training(False)
    image, known = noise_with_holes(3)
    loss, figures = model.loss(image, known)
    torch.testing.assert_close(loss, functional.mse_loss(model.output(image, known), image))
    assert figures == {}


def test_filling_uses_the_running_statistics() -> None:
    """An image is filled alike alone and among others, and not as in training."""
    model = built()
    image, known = noise_with_holes(4)
    together = model.fill(image, known)
    torch.testing.assert_close(model.fill(image[:1], known[:1]), together[:1])
    model.set_training(True)
    assert not torch.allclose(model.output(image, known)[known.expand_as(image) == 0], together[known.expand_as(image) == 0], atol=1e-3)


def test_it_learns(data_dir: str) -> None:
    losses = losses_on(built(replace(TINY, learning_rate=1e-2)), photos_with_holes(data_dir), 60)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("image_px", [20, 36])
def test_an_image_that_the_strides_do_not_divide_is_refused(image_px: int) -> None:
    message = f"image size must be a multiple of 8, but got {image_px}; the strides must divide it"
    with pytest.raises(ConfigError, match=message):
        built(image_px=image_px)
    with pytest.raises(ConfigError, match="must be a multiple of 5, but got 7"):
        check_size(7, 5)


def test_knobs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="base_filters must be at least 1, but got 0; use 1 or more"):
        ImageAutoencoderConfig(base_filters=0)
    with pytest.raises(ConfigError, match="filter_px must be odd and at least 1, but got 2"):
        ImageAutoencoderConfig(filter_px=2)
