import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.trainables.reconstruction_reference import HOLE, first_corners, layer_outputs, losses_on, noise_with_holes, photos_with_holes
from trainables.data import Mask
from trainables.data.masks import MaskKind
from trainables.errors import ConfigError
from trainables.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig, cut_squares, hole_corners, paste_squares

PAPER = PatchAutoencoderConfig()
TINY = PatchAutoencoderConfig(base_filters=4, latent=32, batch_images=8)


def built(config: PatchAutoencoderConfig = TINY, image_px: int = 32, mask: Mask = HOLE) -> PatchAutoencoder:
    torch.manual_seed(0)
    return PatchAutoencoder(config, image_px, mask)


def holes_at(*corners: tuple[int, int], hole_px: int = 4, image_px: int = 8) -> Tensor:
    known = torch.ones(len(corners), 1, image_px, image_px)
    for index, (row, column) in enumerate(corners):
        known[index, :, row : row + hole_px, column : column + hole_px] = 0
    return known


CORNERS = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 3), (0, 2), (3, 4)]  # each corner of the image, its middle, and its edges


# --- squares


def test_corners_of_holes_by_hand() -> None:
    corners = hole_corners(holes_at(*CORNERS))
    assert corners.dtype == torch.int64
    assert [tuple(corner) for corner in corners.tolist()] == CORNERS


@pytest.mark.parametrize("kind", ["centre", "random_square"])
@pytest.mark.parametrize("hole_px", [1, 5, 12, 31])
def test_corners_of_drawn_holes(kind: MaskKind, hole_px: int) -> None:
    known = Mask(kind, hole_px).sample(20, 32, np.random.default_rng(0))
    assert [tuple(corner) for corner in hole_corners(known).tolist()] == first_corners(known)


@pytest.mark.parametrize("margin_px", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_cutting_against_plain_loops(margin_px: int, channels: int) -> None:
    image = torch.rand(len(CORNERS), channels, 8, 8, generator=torch.Generator().manual_seed(0))
    side_px = 4 + 2 * margin_px
    expected = torch.zeros(len(CORNERS), channels, side_px, side_px)
    for index, (top, left) in enumerate(CORNERS):
        for row in range(side_px):
            for column in range(side_px):
                source = top - margin_px + row, left - margin_px + column
                if 0 <= source[0] < 8 and 0 <= source[1] < 8:
                    expected[index, :, row, column] = image[index, :, source[0], source[1]]
    assert torch.equal(cut_squares(image, torch.tensor(CORNERS), side_px, margin_px), expected)


def test_pasting_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(len(CORNERS), 3, 8, 8, generator=generator)
    patch = torch.rand(len(CORNERS), 3, 4, 4, generator=generator)
    before, expected = image.clone(), image.clone()
    for index, (top, left) in enumerate(CORNERS):
        for row in range(4):
            for column in range(4):
                expected[index, :, top + row, left + column] = patch[index, :, row, column]
    assert torch.equal(paste_squares(image, patch, torch.tensor(CORNERS)), expected)
    assert torch.equal(image, before)


def test_what_was_cut_is_pasted_back() -> None:
    image, known = noise_with_holes(6)
    corner = hole_corners(known)
    assert torch.equal(paste_squares(image * known, cut_squares(image, corner, 12, 0), corner), image)


# --- network


def test_the_layers_row_by_row() -> None:
    """Table 3.2, the latent vector, then a 3x3 square that is doubled twice to the hole's 12 px as in Table 3.3."""
    model = built(PAPER)
    image, known = noise_with_holes(1)
    model.set_training(False)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (32, 32, 32)), ("ReLU", (32, 32, 32)), ("BatchNorm2d", (32, 32, 32))],
        *[("Conv2d", (16, 16, 64)), ("ReLU", (16, 16, 64)), ("BatchNorm2d", (16, 16, 64))],
        *[("Conv2d", (8, 8, 128)), ("ReLU", (8, 8, 128)), ("BatchNorm2d", (8, 8, 128))],
        *[("Conv2d", (4, 4, 256)), ("ReLU", (4, 4, 256))],
        *[("Flatten", (4096,)), ("Linear", (1024,)), ("ReLU", (1024,))],
        *[("Linear", (2304,)), ("ReLU", (2304,)), ("Unflatten", (3, 3, 256))],
        *[("ConvTranspose2d", (6, 6, 128)), ("ReLU", (6, 6, 128))],
        *[("ConvTranspose2d", (12, 12, 64)), ("ReLU", (12, 12, 64))],
        *[("Conv2d", (12, 12, 3)), ("Sigmoid", (12, 12, 3))],
    ]


def test_parameters_worked_out_by_hand() -> None:
    encoder = (3 * 3 * 4 * 32 + 32) + (3 * 3 * 32 * 64 + 64) + (3 * 3 * 64 * 128 + 128) + (3 * 3 * 128 * 256 + 256)
    norms = 2 * (32 + 64 + 128)
    inner = (4 * 4 * 256 * 1024 + 1024) + (1024 * 3 * 3 * 256 + 3 * 3 * 256)
    decoder = (3 * 3 * 256 * 128 + 128) + (3 * 3 * 128 * 64 + 64)
    colours = 3 * 3 * 64 * 3 + 3
    assert built(PAPER).parameters == encoder + norms + inner + decoder + colours


@pytest.mark.parametrize(
    ("image_px", "hole_px", "overlap_px", "patch_px"), [(32, 12, 0, 12), (32, 8, 2, 12), (32, 10, 1, 12), (64, 24, 4, 32)]
)
def test_the_patch_is_as_large_as_the_hole_and_its_overlap(image_px: int, hole_px: int, overlap_px: int, patch_px: int) -> None:
    mask = Mask("random_square", hole_px)
    model = built(replace(TINY, overlap_px=overlap_px), image_px, mask)
    image, known = noise_with_holes(2, image_px, mask)
    assert model.patch_px == patch_px
    assert model.output(image, known).shape == (2, 3, patch_px, patch_px)
    assert model.fill(image, known).shape == image.shape


# --- filling


@pytest.mark.parametrize(("hole_px", "overlap_px"), [(12, 0), (8, 2), (6, 5)])
def test_the_patch_is_pasted_where_the_hole_is(hole_px: int, overlap_px: int) -> None:
    mask = Mask("random_square", hole_px)
    model = built(replace(TINY, overlap_px=overlap_px), mask=mask)
    image, known = noise_with_holes(6, mask=mask)
    model.set_training(False)
    with torch.no_grad():
        patch = model.output(image, known)
    expected = image.clone()
    for index, (top, left) in enumerate(first_corners(known)):
        for row in range(hole_px):
            for column in range(hole_px):
                expected[index, :, top + row, left + column] = patch[index, :, overlap_px + row, overlap_px + column]
    torch.testing.assert_close(model.fill(image, known), expected)


def test_the_place_of_the_hole_changes_the_patch() -> None:
    """The same picture of one colour, a hole at two places: what differs is the location map and the zeros."""
    model = built()
    model.set_training(False)
    image, known = torch.zeros(2, 3, 32, 32), holes_at((2, 3), (18, 15), hole_px=12, image_px=32)
    patches = model.output(image, known)
    assert not torch.equal(patches[0], patches[1])


# --- loss


def test_the_loss_is_the_mean_squared_error_of_the_hole() -> None:
    """Section 3.2.1: the sum over the hole and the colours divided by n^2, here by 3 n^2."""
    model = built()
    model.set_training(False)
    image, known = noise_with_holes(5)
    with torch.no_grad():
        loss, figures = model.loss(image, known)
        patch = model.output(image, known).double().numpy()
    total = 0.0
    for index, (top, left) in enumerate(first_corners(known)):
        truth = image[index, :, top : top + 12, left : left + 12].double().numpy()
        total += ((patch[index] - truth) ** 2).sum() / 12**2
    assert float(loss) == pytest.approx(total / 5 / 3, rel=1e-5)
    assert figures == {}


@pytest.mark.parametrize("knobs", [{}, {"hole_weight": 2.0}, {"border_weight": 5.0, "border_px": 2}, {"hole_weight": 0.0}])
def test_the_loss_with_overlap_at_the_images_edge_pixel_by_pixel(knobs: dict[str, Any]) -> None:
    """The patch reaches 2 px beyond an 8 px hole; what would lie outside the image counts nothing."""
    corners = [(0, 0), (24, 24), (1, 10), (12, 23), (10, 11)]
    image, known = noise_with_holes(5)[0], holes_at(*corners, hole_px=8, image_px=32)
    model = built(replace(TINY, overlap_px=2, **knobs), mask=Mask("random_square", 8))
    model.set_training(False)
    with torch.no_grad():
        loss = float(model.loss(image, known)[0])
        patch = model.output(image, known).double().numpy()
    hole_weight, border_weight, border_px = knobs.get("hole_weight", 1), knobs.get("border_weight", 1), knobs.get("border_px", 1)
    total = weights = 0.0
    for index, (top, left) in enumerate(corners):
        for row in range(max(top - 2, 0), min(top + 10, 32)):
            for column in range(max(left - 2, 0), min(left + 10, 32)):
                inside = top <= row < top + 8 and left <= column < left + 8
                # steps to the first known row or column, on either side, that lies in the image
                steps = [row - top + 1] * (top > 0) + [top + 8 - row] * (top < 24)
                steps += [column - left + 1] * (left > 0) + [left + 8 - column] * (left < 24)
                weight = hole_weight if inside else 1.0
                if not inside or min(steps) <= border_px:
                    weight *= border_weight
                weights += weight
                error = patch[index, :, row - top + 2, column - left + 2] - image[index, :, row, column].double().numpy()
                total += weight * float((error**2).mean())
    assert loss == pytest.approx(total / weights, rel=1e-5)


def test_the_loss_moves_every_pixel_of_the_patch() -> None:
    model = built()
    image, known = noise_with_holes(2)
    patches: list[Tensor] = []
    model.network.register_forward_hook(lambda module, inputs, output: patches.append(output))
    (gradient,) = torch.autograd.grad(model.loss(image, known)[0], patches[0])
    assert bool((gradient != 0).all())


def test_it_learns(data_dir: str) -> None:
    losses = losses_on(built(replace(TINY, learning_rate=5e-3)), photos_with_holes(data_dir), 60)
    assert losses[-1] < 0.2 * losses[0]


def test_a_learned_patch_lies_at_its_place(data_dir: str) -> None:
    """After learning eight photos by heart, the composited images are nearer to the truth than a grey hole is."""
    model, batch = built(replace(TINY, learning_rate=5e-3)), photos_with_holes(data_dir)
    losses_on(model, batch, 80)
    filled = model.fill(batch.image, batch.known)
    grey = torch.where(batch.known > 0.5, batch.image, 0.5)
    assert functional.mse_loss(filled, batch.image) < 0.5 * functional.mse_loss(grey, batch.image)


# --- bad input


@pytest.mark.parametrize(("hole_px", "overlap_px", "patch_px"), [(10, 0, 10), (12, 1, 14), (9, 2, 13)])
def test_a_patch_that_is_no_multiple_of_four_is_refused(hole_px: int, overlap_px: int, patch_px: int) -> None:
    with pytest.raises(ConfigError, match=rf"hole_px \+ 2 \* overlap_px must be a multiple of 4, but got {patch_px}; it is doubled twice"):
        built(replace(TINY, overlap_px=overlap_px), mask=Mask("random_square", hole_px))


def test_a_smaller_hole_in_training_is_inside_the_patch_and_a_larger_one_is_refused() -> None:
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    corner = torch.tensor([[28, 3], [0, 29]])
    square = cut_squares(image, corner, 12, 0)
    assert torch.equal(square[0, :, :4], image[0, :, 28:, 3:15])
    assert torch.equal(square[1, :, :, :3], image[1, :, :12, 29:])
    assert square[0, :, 4:].abs().max() == square[1, :, :, 3:].abs().max() == 0
    model = built(replace(TINY, train_hole_px=8))
    known = model.training_mask.sample(2, 32, np.random.default_rng(0))
    assert (known == 0).sum((1, 2, 3)).tolist() == [64, 64]
    loss, _ = model.loss(image, known)
    assert math.isfinite(loss.item())
    with pytest.raises(ConfigError, match="train_hole_px must be at most hole_px = 12, but got 13; the patch must cover the hole"):
        built(replace(TINY, train_hole_px=13))


def test_an_image_that_the_strides_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="image size must be a multiple of 8, but got 36"):
        built(image_px=36)


@pytest.mark.parametrize("kind", ["random_rectangle", "strokes", "irregular"])
def test_holes_of_other_shapes_are_refused(kind: MaskKind) -> None:
    with pytest.raises(ConfigError, match=f"fills holes of kind centre, random_square, but got mask.kind='{kind}'"):
        built(mask=Mask(kind, 12))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"hole_weight": 0.0}, "hole_weight must be greater than 0 without an overlap, but got 0.0; nothing would be learnt"),
        ({"latent": 0}, "latent must be at least 1, but got 0; use 1 or more"),
        ({"base_filters": 0}, "base_filters must be at least 1, but got 0; use 1 or more"),
        ({"filter_px": 6}, "filter_px must be odd and at least 1, but got 6"),
    ],
)
def test_knobs_that_cannot_work_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchAutoencoderConfig(**knobs)


def test_holes_may_be_trained_at_another_place_than_measured() -> None:
    model = built(replace(TINY, train_placement="random_square"), mask=Mask("centre", 12))
    assert model.training_mask == Mask("random_square", 12)
