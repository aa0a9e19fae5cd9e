import pytest
import torch
from torch import nn

from tests.trainables.reconstruction_reference import layer_outputs
from trainables.errors import ConfigError
from trainables.lsgan_networks import Discriminator, Generator, RefiningAutoencoder


def parameters_of(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def kernels(network: nn.Module, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    return [(*m.kernel_size, *m.stride, *m.padding) for m in network.modules() if isinstance(m, kind)]  # type: ignore[misc]


def test_table_2_1_row_by_row() -> None:
    """4x4x1024, 8x8x512, 16x16x256, 32x32x128 and the image; lrelu and drop after each but the last, batch norm from the text."""
    network = Generator(100, 128, 0.25, 64)
    rows = []
    for side, filters in ((4, 1024), (8, 512), (16, 256), (32, 128)):
        rows += [(kind, (side, side, filters)) for kind in ("ConvTranspose2d", "BatchNorm2d", "LeakyReLU", "Dropout")]
    rows += [("ConvTranspose2d", (64, 64, 3)), ("Tanh", (64, 64, 3))]
    network.eval()
    assert layer_outputs(network, lambda: network(torch.zeros(1, 100))) == rows
    assert kernels(network, nn.ConvTranspose2d) == [(4, 4, 1, 1, 0, 0)] + 4 * [(4, 4, 2, 2, 1, 1)]
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == 4 * [0.25]


def test_the_discriminator_breaks_64_px_down_to_8192_features() -> None:
    network = Discriminator(64, 64, batch_norm=True).eval()
    assert layer_outputs(network, lambda: network(torch.zeros(1, 3, 64, 64))) == [
        *[("Conv2d", (32, 32, 64)), ("LeakyReLU", (32, 32, 64))],
        *[("Conv2d", (16, 16, 128)), ("BatchNorm2d", (16, 16, 128)), ("LeakyReLU", (16, 16, 128))],
        *[("Conv2d", (8, 8, 256)), ("BatchNorm2d", (8, 8, 256)), ("LeakyReLU", (8, 8, 256))],
        *[("Conv2d", (4, 4, 512)), ("BatchNorm2d", (4, 4, 512)), ("LeakyReLU", (4, 4, 512))],
        *[("Flatten", (8192,)), ("Linear", (1,))],
    ]


def test_the_autoencoder_has_four_levels_to_8192_values_and_four_back() -> None:
    network = RefiningAutoencoder(64, 64).eval()
    rows: list[tuple[str, tuple[int, ...]]] = []
    for side, filters in ((64, 64), (32, 128), (16, 256), (8, 512)):
        half = side // 2
        rows.append(("Conv2d", (side, side, filters)))
        rows += [(kind, (half, half, filters)) for kind in ("MaxPool2d", "BatchNorm2d", "ReLU")]
    rows += [("Flatten", (8192,)), ("Unflatten", (4, 4, 512))]
    for side, filters in ((8, 256), (16, 128), (32, 64)):
        rows += [(kind, (side, side, filters)) for kind in ("ConvTranspose2d", "BatchNorm2d", "ReLU")]
    rows += [("ConvTranspose2d", (64, 64, 3)), ("Tanh", (64, 64, 3))]
    assert layer_outputs(network, lambda: network(torch.zeros(1, 3, 64, 64))) == rows


def test_parameters_counted_by_hand() -> None:
    """16 weights a pair of channels and a batch norm of two a channel; a bias where no batch norm follows. 9 in the encoder."""
    with torch.device("meta"):
        generator, discriminator = Generator(100, 128, 0.25, 64), Discriminator(64, 64, batch_norm=True)
        autoencoder = RefiningAutoencoder(64, 64)
    hidden = 16 * (100 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128) + 2 * (1024 + 512 + 256 + 128)
    assert parameters_of(generator) == hidden + (16 * 128 * 3 + 3) == 12_658_435
    judge = (16 * 3 * 64 + 64) + 16 * (64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512) + (8192 + 1)
    assert parameters_of(discriminator) == judge == 2_765_633
    down = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 2 * (64 + 128 + 256 + 512)
    up = 16 * (512 * 256 + 256 * 128 + 128 * 64) + 2 * (256 + 128 + 64) + (16 * 64 * 3 + 3)
    assert parameters_of(autoencoder) == down + up


@pytest.mark.parametrize(("image_px", "filters"), [(32, [64, 32, 16]), (64, [64, 32, 16, 8]), (128, [64, 32, 16, 8, 8])])
def test_the_number_of_levels_follows_the_image(image_px: int, filters: list[int]) -> None:
    generator, judge = Generator(10, 8, 0.0, image_px), Discriminator(4, image_px, batch_norm=True)
    assert [m.out_channels for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)] == [*filters, 3]
    assert not any(isinstance(m, nn.Dropout) for m in generator.modules())
    image = generator(torch.rand(2, 10))
    assert image.shape == (2, 3, image_px, image_px)
    assert float(image.detach().abs().max()) <= 1
    assert judge(image).shape == (2,)
    assert RefiningAutoencoder(4, image_px)(image).shape == image.shape


@pytest.mark.parametrize("image_px", [16, 48, 63, 256])
def test_other_sizes_are_refused(image_px: int) -> None:
    for build in (
        lambda: Generator(10, 8, 0.0, image_px),
        lambda: Discriminator(4, image_px, batch_norm=True),
        lambda: RefiningAutoencoder(4, image_px),
    ):
        with pytest.raises(ConfigError, match=f"the image size must be one of 32, 64, 128, but got {image_px}; use 64, as the source"):
            build()


@pytest.mark.parametrize(("batch_norm", "affine", "norms", "trained"), [(True, True, 2, 4), (True, False, 2, 0), (False, True, 0, 0)])
def test_the_discriminators_batch_norm(batch_norm: bool, affine: bool, norms: int, trained: int) -> None:
    network = Discriminator(4, 32, batch_norm=batch_norm, norm_affine=affine)
    found = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(found) == norms
    assert sum(len(list(m.parameters())) for m in found) == trained
    assert [m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d)] == [False, batch_norm, batch_norm]
