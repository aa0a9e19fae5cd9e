import cv2
import numpy as np
import pytest
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from tests.trainables.reconstruction_reference import noise_with_holes
from trainables.classical import METHODS, check_method, classical_fill
from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.ring_mean import ring_mean_fill

every_method = pytest.mark.parametrize("method", METHODS)
KINDS = ["centre", "random_square", "random_rectangle", "irregular"]


def smooth(count: int = 3, image_px: int = 24) -> Tensor:
    """Slow waves, another one in each colour; most values lie between two of the 256 levels."""
    place = torch.arange(image_px) / image_px
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    waves = [torch.sin(3 * rows + index) * torch.cos(2 * columns * index + 1) for index in range(3 * count)]
    return 0.5 + 0.45 * torch.stack(waves).reshape(count, 3, image_px, image_px)


def test_the_methods() -> None:
    assert METHODS == ("ring_mean", "telea", "navier_stokes", "biharmonic")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "flag"), [("telea", cv2.INPAINT_TELEA), ("navier_stokes", cv2.INPAINT_NS)])
def test_opencvs_methods_on_the_rounded_image(method: str, flag: int, kind: str) -> None:
    image = smooth()
    known = Mask(kind, 9).sample(3, 24, np.random.default_rng(0))  # type: ignore[arg-type]
    filled = classical_fill(method, image, known)
    for index in range(3):
        hole = known[index, 0].numpy() == 0
        levels = np.floor(image[index].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
        levels[hole] = 0
        expected = cv2.inpaint(levels, hole.astype(np.uint8) * 255, 3, flag)
        got = filled[index].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(got[hole] * 255, expected[hole], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_biharmonic_method_is_scikit_images(kind: str) -> None:
    image = smooth()
    known = Mask(kind, 9).sample(3, 24, np.random.default_rng(0))  # type: ignore[arg-type]
    filled = classical_fill("biharmonic", image, known)
    for index in range(3):
        hole = known[index, 0].numpy() == 0
        expected = inpaint_biharmonic(image[index].permute(1, 2, 0).double().numpy(), hole, channel_axis=-1)
        np.testing.assert_allclose(filled[index].permute(1, 2, 0).numpy()[hole], expected[hole].clip(0, 1), atol=1e-4)


def test_the_rings_mean_is_the_baselines() -> None:
    image, known = noise_with_holes(3)
    assert torch.equal(classical_fill("ring_mean", image, known), ring_mean_fill(image, known))


def test_a_ramp_is_continued_by_the_biharmonic_method() -> None:
    """A linear function has no second derivative, so it solves the equation itself."""
    place = torch.arange(20) / 40
    ramp = (0.1 + place[:, None] + 0.5 * place[None, :]).expand(1, 3, 20, 20)
    known = Mask("centre", 6).sample(1, 20, np.random.default_rng(0))
    torch.testing.assert_close(classical_fill("biharmonic", ramp, known), ramp, rtol=0, atol=1e-4)


@every_method
@pytest.mark.parametrize("colour", [0.0, 0.25, 1.0])
def test_a_constant_image_stays_constant(method: str, colour: float) -> None:
    known = torch.ones(4, 1, 20, 20)
    for index, (row, column) in enumerate([(4, 4), (9, 4), (6, 9), (9, 9)]):
        known[index, :, row : row + 7, column : column + 7] = 0
    image = torch.full((4, 3, 20, 20), colour)
    torch.testing.assert_close(classical_fill(method, image * known, known), image, rtol=0, atol=1 / 255)


def test_near_the_images_edge_telea_reads_the_zeroed_hole_a_little() -> None:
    """OpenCV's code does so: a level of 64 becomes 61 to 67 there, and would be another one if the hole were not zeroed first."""
    image, known = torch.full((1, 3, 20, 20), 64 / 255), torch.ones(1, 1, 20, 20)
    known[:, :, 4:11, :7] = 0
    filled = classical_fill("telea", image, known)
    assert float((filled - image).abs().max()) <= 4 / 255
    assert torch.equal(classical_fill("telea", torch.where(known > 0, image, 1.0), known), filled)


@every_method
@pytest.mark.parametrize("kind", KINDS)
def test_known_pixels_are_kept_bit_by_bit_and_the_hole_is_not_read(method: str, kind: str) -> None:
    mask = Mask(kind, 7)  # type: ignore[arg-type]
    image, known = noise_with_holes(4, 20, mask)
    before = image.clone()
    filled = classical_fill(method, image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(image, before)
    assert torch.equal(filled[visible], image[visible])
    assert torch.equal(classical_fill(method, torch.where(visible, image, 1 - image), known), filled)
    assert filled.dtype == torch.float32
    assert filled.shape == image.shape
    assert float(filled.min()) >= 0
    assert float(filled.max()) <= 1


@every_method
def test_images_are_filled_one_by_one(method: str) -> None:
    image, known = noise_with_holes(4, 20, Mask("random_square", 7))
    alone = torch.cat([classical_fill(method, image[index : index + 1], known[index : index + 1]) for index in range(4)])
    torch.testing.assert_close(classical_fill(method, image, known), alone, rtol=0, atol=1e-6)


@every_method
def test_without_a_hole_and_without_known_pixels(method: str) -> None:
    """Three images: no hole, nothing but a hole, and a usual one, which the others leave alone."""
    image, known = noise_with_holes(3, 20, Mask("centre", 6))
    alone = classical_fill(method, image[2:], known[2:])
    known[0], known[1] = 1, 0
    filled = classical_fill(method, image, known)
    assert torch.equal(filled[0], image[0])
    assert torch.equal(filled[1], torch.full((3, 20, 20), 0.5))
    torch.testing.assert_close(filled[2:], alone, rtol=0, atol=1e-6)


@every_method
def test_a_hole_at_the_images_corner(method: str) -> None:
    known = torch.ones(1, 1, 20, 20)
    known[:, :, :6, :6] = 0
    image = smooth(1, 20)
    filled = classical_fill(method, image, known)
    assert bool(torch.isfinite(filled).all())
    assert float((filled - image).abs().max()) < 0.5


@every_method
def test_it_works_on_what_lies_channels_last(method: str) -> None:
    image, known = noise_with_holes(2, 20, Mask("centre", 6))
    last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(classical_fill(method, last, known), classical_fill(method, image, known), rtol=0, atol=1e-6)


def test_an_unknown_method_is_answered_with_every_one() -> None:
    image, known = noise_with_holes(1)
    message = r"method must be one of ring_mean, telea, navier_stokes, biharmonic, but got 'cubic'; name one of these"
    with pytest.raises(ConfigError, match=message):
        classical_fill("cubic", image, known)


def test_a_knob_may_take_further_words() -> None:
    check_method("first_stage", "none", "none")
    check_method("first_stage", "telea", "none")
    with pytest.raises(ConfigError, match="first_stage must be one of none, ring_mean, telea, navier_stokes, biharmonic, but got 'off'"):
        check_method("first_stage", "off", "none")
    with pytest.raises(ConfigError, match=r"method must be one of ring_mean, .*, but got 'none'"):
        check_method("method", "none")
