from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from tests.trainables.reconstruction_reference import HOLE, noise_with_holes, photos_with_holes
from tests.trainables.test_contract import knobs_of
from trainables.classical import classical_fill
from trainables.data import Augmentation, Batch, ImageSource, Mask, open_images
from trainables.errors import ConfigError
from trainables.model import build_config
from trainables.reconstruction import (
    ReconstructionConfig,
    Reconstructor,
    check_filter,
    convolution,
    error_weights,
    transposed_convolution,
)
from trainables.registry import load_model
from trainables.session import Session

SYSTEMS = ["direct_cnn", "image_autoencoder", "patch_autoencoder", "cvae", "completion_gan", "classical_fill"]
LEARNED = SYSTEMS[:-1]
FILLS = ["ring_mean", "telea", "navier_stokes", "biharmonic"]
SMALL = ReconstructionConfig(batch_images=8)


class OneLayer(Reconstructor):
    """A 1x1 convolution of the four channels; notes what it is given."""

    def __init__(self, config: ReconstructionConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.trained_on: list[Tensor] = []
        self.measured_on: list[Tensor] = []
        self.adopt(nn.Sequential(nn.Conv2d(4, 3, 1)))

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.trained_on.append(known)
        return self.weighted_error(self.output(image, known), image, known), {"brightness": image.mean()}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        self.measured_on.append(known)
        return super().predict(image, known)


def built(config: ReconstructionConfig = SMALL, image_px: int = 32, mask: Mask = HOLE) -> OneLayer:
    torch.manual_seed(0)
    return OneLayer(config, image_px, mask)


def system(name: str, mask: Mask = HOLE, **knobs: Any) -> Any:
    kind = load_model(name)
    torch.manual_seed(0)
    return kind(build_config(kind, knobs_of(name) | knobs), 32, mask)


def inputs_of(model: Any) -> list[Tensor]:
    """A list that fills with what the model's network is given."""
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    return seen


# --- weights of the pixels


def weights_of(holes: str, **knobs: Any) -> list[str]:
    """Weights of a map whose holes are dots, one digit a pixel, row by row."""
    known = torch.tensor([[float(mark != ".") for mark in row] for row in holes.split()])[None, None]
    weights = error_weights(known, replace(SMALL, **knobs))
    assert weights.shape == known.shape
    return ["".join(f"{value:g}" for value in row) for row in weights[0, 0].tolist()]


MIDDLE = """
#######
#######
##...##
##...##
##...##
#######
#######
"""
CORNER = """
...###
...###
...###
######
"""


@pytest.mark.parametrize(
    ("holes", "knobs", "expected"),
    [
        (MIDDLE, {}, "1111111 1111111 1111111 1111111 1111111 1111111 1111111"),
        (MIDDLE, {"hole_weight": 0.0}, "1111111 1111111 1100011 1100011 1100011 1111111 1111111"),
        (MIDDLE, {"hole_weight": 4.0}, "1111111 1111111 1144411 1144411 1144411 1111111 1111111"),
        (MIDDLE, {"border_weight": 3.0}, "1111111 1111111 1133311 1131311 1133311 1111111 1111111"),
        (MIDDLE, {"border_weight": 3.0, "border_px": 2}, "1111111 1111111 1133311 1133311 1133311 1111111 1111111"),
        (MIDDLE, {"border_weight": 3.0, "overlap_px": 1}, "1111111 1333331 1333331 1331331 1333331 1333331 1111111"),
        (MIDDLE, {"border_weight": 3.0, "border_px": 0, "overlap_px": 1}, "1111111 1333331 1311131 1311131 1311131 1333331 1111111"),
        (MIDDLE, {"border_weight": 3.0, "border_px": 0, "overlap_px": 2}, "3333333 3333333 3311133 3311133 3311133 3333333 3333333"),
        (MIDDLE, {"border_weight": 2.0, "hole_weight": 4.0, "overlap_px": 1}, "1111111 1222221 1288821 1284821 1288821 1222221 1111111"),
        (MIDDLE, {"border_weight": 0.0}, "1111111 1111111 1100011 1101011 1100011 1111111 1111111"),
        (MIDDLE, {"border_weight": 3.0, "border_px": 0}, "1111111 1111111 1111111 1111111 1111111 1111111 1111111"),
        (MIDDLE, {"border_weight": 1.0, "border_px": 2, "overlap_px": 2}, "1111111 1111111 1111111 1111111 1111111 1111111 1111111"),
        # at the image's edge there is nothing beyond, so no border either
        (CORNER, {"border_weight": 3.0}, "113111 113111 333111 111111"),
        (CORNER, {"border_weight": 3.0, "overlap_px": 1}, "113311 113311 333311 333311"),
        (CORNER, {"border_weight": 3.0, "border_px": 2, "hole_weight": 2.0}, "266111 666111 666111 111111"),
        ("### ### ###", {"border_weight": 5.0, "overlap_px": 1, "hole_weight": 3.0}, "111 111 111"),
        ("... ... ...", {"border_weight": 5.0, "overlap_px": 1, "hole_weight": 3.0}, "333 333 333"),
    ],
)
def test_weights_painted_by_hand(holes: str, knobs: dict[str, Any], expected: str) -> None:
    assert weights_of(holes, **knobs) == expected.split()


@pytest.mark.parametrize("kind", ["random_square", "random_rectangle", "irregular"])
@pytest.mark.parametrize(("border_px", "overlap_px"), [(1, 0), (2, 1), (0, 3), (8, 8)])
def test_weights_follow_chessboard_distances(kind: Any, border_px: int, overlap_px: int) -> None:
    known = Mask(kind, 7).sample(6, 24, np.random.default_rng(3))
    config = replace(SMALL, hole_weight=0.5, border_weight=6.0, border_px=border_px, overlap_px=overlap_px)
    for weights, hole in zip(error_weights(known, config)[:, 0].numpy(), known[:, 0].numpy() < 0.5, strict=True):
        to_known = ndimage.distance_transform_cdt(hole, "chessboard")
        to_hole = ndimage.distance_transform_cdt(~hole, "chessboard")
        near = np.where(hole, to_known <= border_px, to_hole <= overlap_px)
        np.testing.assert_array_equal(weights, np.where(hole, 0.5, 1.0) * np.where(near, 6.0, 1.0))


def test_the_weighted_error_against_numpy() -> None:
    model = built(replace(SMALL, hole_weight=3.0, border_weight=5.0, border_px=2, overlap_px=1))
    image, known = noise_with_holes(4)
    output, _ = noise_with_holes(4, seed=2)
    weights = error_weights(known, model.config).double().numpy()
    squared = (output.double().numpy() - image.double().numpy()) ** 2
    expected = (weights * squared).sum() / (weights.sum() * 3)
    assert float(model.weighted_error(output, image, known)) == pytest.approx(expected, rel=1e-5)


def test_weights_of_one_give_the_plain_mean_over_the_image() -> None:
    image, known = noise_with_holes(4)
    output, _ = noise_with_holes(4, seed=2)
    for config in (SMALL, replace(SMALL, border_px=5, overlap_px=5)):
        torch.testing.assert_close(built(config).weighted_error(output, image, known), functional.mse_loss(output, image))


@pytest.mark.parametrize("counted", ["hole", "known"])
def test_a_weight_of_zero_leaves_pixels_out(counted: str) -> None:
    """Either the hole has the weight 0, or so many pixels of it count that the known ones vanish."""
    image, known = noise_with_holes(4)
    output, _ = noise_with_holes(4, seed=2)
    if counted == "known":
        model, counts = built(replace(SMALL, hole_weight=0.0)), known.expand_as(image) > 0
    else:
        model, counts = built(replace(SMALL, hole_weight=1e9)), known.expand_as(image) == 0
    expected = ((output - image)[counts] ** 2).mean()
    torch.testing.assert_close(model.weighted_error(output, image, known), expected, rtol=1e-5, atol=0)


def test_an_error_without_any_weight_is_zero() -> None:
    model = built(replace(SMALL, hole_weight=0.0))
    assert float(model.weighted_error(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))) == 0


# --- what the network sees


@pytest.mark.parametrize("first_stage", FILLS)
def test_the_network_refines_what_the_first_stage_gives(first_stage: Any) -> None:
    image, known = noise_with_holes(3)
    model = built(replace(SMALL, first_stage=first_stage))
    seen = inputs_of(model)
    model.train_unit([Batch(image, known, 0.0)])
    model.fill(image, known)
    expected = torch.cat([classical_fill(first_stage, image * known, known), known], dim=1)
    assert len(seen) == 2
    for inputs in seen:  # the ring's mean is a sum, whose last bit follows the order in memory
        torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-6)
        assert torch.equal(inputs[:, 3:], known)
    hole = known.expand_as(image) == 0
    assert float(seen[0][:, :3][hole].std()) > 0


def test_without_a_first_stage_the_hole_is_zero() -> None:
    image, known = noise_with_holes(3)
    model = built()
    seen = inputs_of(model)
    model.train_unit([Batch(image, known, 0.0)])
    model.fill(image, known)
    expected = torch.cat([torch.where(known > 0.5, image, 0.0), known], dim=1)
    assert [torch.equal(inputs, expected) for inputs in seen] == [True, True]


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("first_stage", ["none", *FILLS])
def test_every_system_feeds_its_network_so(name: str, first_stage: str) -> None:
    """completion_gan works in [-1, 1], where a hole without first stage is 0, mid-grey."""
    image, known = noise_with_holes(2)
    model = system(name, first_stage=first_stage)
    seen = inputs_of(model)
    model.train_unit([Batch(image, known, 0.0)])
    colours = image * known if first_stage == "none" else classical_fill(first_stage, image * known, known)
    if name == "completion_gan":
        colours = (image * 2 - 1) * known if first_stage == "none" else colours * 2 - 1
    assert torch.equal(seen[0], torch.cat([colours, known], dim=1))


def test_the_output_is_the_networks_and_reads_known_pixels_alone() -> None:
    """The convolution's weights pick one channel a colour: red, the location map and blue."""
    model = built()
    convolution_ = model.network[0]  # type: ignore[index]
    with torch.no_grad():
        convolution_.weight.zero_()
        convolution_.bias.zero_()
        convolution_.weight[0, 0] = convolution_.weight[1, 3] = convolution_.weight[2, 2] = 1
    image, known = noise_with_holes(3)
    expected = torch.stack([image[:, 0] * known[:, 0], known[:, 0], image[:, 2] * known[:, 0]], dim=1)
    torch.testing.assert_close(model.output(image, known), expected)
    assert torch.equal(model.output(torch.where(known > 0, image, 1 - image), known), model.output(image, known))


@pytest.mark.parametrize("name", SYSTEMS)
def test_known_pixels_are_kept_around_random_squares(name: str) -> None:
    image, known = noise_with_holes(4)
    filled = system(name).fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert not torch.equal(filled, torch.where(visible, image, 0.0))
    assert float(filled.min()) >= 0
    assert float(filled.max()) <= 1


@pytest.mark.parametrize(("precision", "inside"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_is_that_of_the_convolutions(precision: Any, inside: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.precision.computes_in_bfloat16", lambda device_type: True)
    model = built(replace(SMALL, precision=precision))
    image, known = noise_with_holes()
    dtypes: list[torch.dtype] = []
    model.network[0].register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))  # type: ignore[index]
    output = model.output(image, known)
    assert dtypes == [inside]
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, built().output(image, known), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", LEARNED)
def test_every_system_trains_in_mixed_precision(name: str) -> None:
    image, known = noise_with_holes(2)
    model = system(name, precision="bfloat16")
    assert np.isfinite(model.train_unit([Batch(image, known, 0.0)])["loss"])
    assert model.fill(image, known).dtype == torch.float32


# --- holes in training


@pytest.mark.parametrize(
    ("measured", "knobs", "expected"),
    [
        (Mask("centre", 12), {}, Mask("centre", 12)),
        (Mask("irregular"), {}, Mask("irregular")),
        (Mask("centre", 12), {"train_hole_px": 8}, Mask("centre", 8)),
        (Mask("random_rectangle", 12), {"train_hole_px": 16}, Mask("random_rectangle", 16)),
        (Mask("centre", 12), {"train_placement": "random_square"}, Mask("random_square", 12)),
        (Mask("random_square", 12), {"train_placement": "centre", "train_hole_px": 9}, Mask("centre", 9)),
        (Mask("strokes", 8), {"train_placement": "random_square", "train_hole_px": 12}, Mask("random_square", 12)),
    ],
)
def test_the_mask_of_training(measured: Mask, knobs: dict[str, Any], expected: Mask) -> None:
    model = built(replace(SMALL, **knobs), mask=measured)
    assert model.training_mask == expected
    assert model.mask == measured


def test_a_session_trains_on_these_holes_and_measures_on_the_others(data_dir: str) -> None:
    model = built(replace(SMALL, train_placement="random_square", train_hole_px=5), mask=Mask("centre", 12))
    images = open_images(ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir))
    Session(model, images, seed=0, device=torch.device("cpu")).step()
    trained, measured = torch.cat(model.trained_on), torch.cat(model.measured_on)
    assert len(trained) == 16
    assert (1 - trained).sum((1, 2, 3)).tolist() == [25.0] * 16
    assert len({tuple(hole.flatten().tolist()) for hole in trained}) > 8
    centre = torch.ones(1, 1, 32, 32)
    centre[:, :, 10:22, 10:22] = 0
    assert torch.equal(measured, centre.expand_as(measured))


@pytest.mark.parametrize(
    ("measured", "knobs", "message"),
    [
        (Mask("centre", 12), {"train_hole_px": 32}, "hole_px=32 on 32x32 images; use a hole_px from 1 to 31"),
        (Mask("irregular"), {"train_hole_px": 8}, "train_hole_px must be 0 for holes of kind irregular, but got 8; they have no side"),
        (Mask("strokes"), {"train_placement": "centre"}, "train_hole_px must be greater than 0 for squares in training, but got 0"),
    ],
)
def test_holes_in_training_that_cannot_be(measured: Mask, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(replace(SMALL, **knobs), mask=measured)


# --- training


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize(("epoch", "rate"), [(0.0, 0.01), (1.99, 0.01), (2.0, 0.005), (5.0, 0.0025)])
def test_the_learning_rate_decays(name: str, epoch: float, rate: float) -> None:
    model = system(name, learning_rate=0.01, decay_factor=0.5, decay_epochs=2.0)
    image, known = noise_with_holes()
    model.train_unit([Batch(image, known, epoch)])
    assert [group["lr"] for group in model.optimizers["network"].param_groups] == pytest.approx([rate])


def test_a_decay_factor_of_one_keeps_the_rate() -> None:
    model = built(replace(SMALL, learning_rate=0.01, decay_epochs=0.5))
    image, known = noise_with_holes()
    model.train_unit([Batch(image, known, 30.0)])
    assert model.optimizers["network"].param_groups[0]["lr"] == 0.01


def test_the_first_update_of_adam_is_as_large_as_the_rate() -> None:
    """Adam's first step moves each weight by rate * g / (|g| + 1e-8), so by the rate, whatever the gradient."""
    model = built(replace(SMALL, learning_rate=0.004, decay_factor=0.5, decay_epochs=1.0))
    image, known = noise_with_holes()
    bias = model.network[0].bias  # type: ignore[index]
    before = bias.detach().clone()
    model.train_unit([Batch(image, known, 1.0)])
    torch.testing.assert_close((bias - before).abs().detach(), torch.full((3,), 0.002), rtol=1e-3, atol=0)


def test_the_figures_of_a_unit_are_means_over_its_batches() -> None:
    model = built(replace(SMALL, decay_factor=1e-30, decay_epochs=1.0))  # at epoch 1 the rate is 0, so the weights stay
    parts = [Batch(*noise_with_holes(seed=seed), 1.0) for seed in range(3)]
    losses = [functional.mse_loss(model.output(part.image, part.known), part.image).item() for part in parts]
    result = model.train_unit(parts)
    assert set(result) == {"loss", "brightness"}
    assert result["loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert result["brightness"] == pytest.approx(sum(float(part.image.mean()) for part in parts) / 3, rel=1e-5)


def test_a_loss_that_is_not_finite_is_given_back() -> None:
    image, known = noise_with_holes()
    assert np.isnan(built().train_unit([Batch(image * torch.nan, known, 0.0)])["loss"])


def test_augmentation_is_the_mirror_alone() -> None:
    assert built().augmentation == Augmentation()
    assert built(replace(SMALL, mirror=True)).augmentation == Augmentation(mirror=True)


def test_it_learns_what_is_known(data_dir: str) -> None:
    model = built(replace(SMALL, learning_rate=0.05))
    batch = photos_with_holes(data_dir)
    losses = [model.train_unit([batch])["loss"] for _ in range(40)]
    assert losses[-1] < 0.3 * losses[0]


# --- layers


@pytest.mark.parametrize("filter_px", [1, 3, 5, 7])
@pytest.mark.parametrize("image_px", [8, 15, 30, 32])
def test_same_padding(filter_px: int, image_px: int) -> None:
    image = torch.zeros(1, 2, image_px, image_px)
    half = -(-image_px // 2)
    assert convolution(2, 5, filter_px)(image).shape == (1, 5, image_px, image_px)
    assert convolution(2, 5, filter_px, 2)(image).shape == (1, 5, half, half)
    assert transposed_convolution(2, 5, filter_px)(image).shape == (1, 5, 2 * image_px, 2 * image_px)


def test_stride_two_pads_at_the_top_and_left() -> None:
    """Ones under a 3x3 filter of ones: the first place of 4x4 sees 2x2 of them, none lies beyond the bottom or right."""
    layer = convolution(1, 1, 3, stride=2)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    assert layer(torch.ones(1, 1, 4, 4)).tolist() == [[[[4.0, 6.0], [6.0, 9.0]]]]


# --- bad input


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"first_stage": "cubic"}, "first_stage must be one of none, ring_mean, telea, navier_stokes, biharmonic, but got 'cubic'"),
        (
            {"train_placement": "edge"},
            "train_placement must be one of as_measured, centre, random_square, random_rectangle, but got 'edge'",
        ),
        ({"precision": "float16"}, "precision must be float32 or bfloat16, but got 'float16'"),
        ({"hole_weight": -0.1}, "hole_weight must be at least 0, but got -0.1; use 0 or more"),
        ({"border_weight": -1.0}, "border_weight must be at least 0, but got -1.0"),
        ({"border_weight": float("nan")}, "border_weight must be at least 0, but got nan"),
        ({"border_px": -1}, "border_px must be at least 0, but got -1"),
        ({"overlap_px": -2}, "overlap_px must be at least 0, but got -2"),
        ({"train_hole_px": -3}, "train_hole_px must be at least 0, but got -3"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0, but got 0.0; use a positive value"),
        ({"learning_rate": float("nan")}, "learning_rate must be greater than 0, but got nan"),
        ({"decay_factor": 0.0}, "decay_factor must be greater than 0, but got 0.0"),
        ({"decay_epochs": -1.0}, "decay_epochs must be greater than 0, but got -1.0"),
        ({"batch_images": 0}, "batch_images must be greater than 0, but got 0"),
    ],
)
@pytest.mark.parametrize("name", LEARNED)
def test_a_knob_that_cannot_work_is_refused(name: str, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(load_model(name), knobs)


@pytest.mark.parametrize("filter_px", [0, 2, 4, -1, -3])
def test_a_filter_without_a_middle_is_refused(filter_px: int) -> None:
    with pytest.raises(ConfigError, match=f"filter_px must be odd and at least 1, but got {filter_px}; use 3, 5 or 7"):
        check_filter("filter_px", filter_px)
    for name in LEARNED:
        with pytest.raises(ConfigError, match=f"filter_px must be odd and at least 1, but got {filter_px}"):
            build_config(load_model(name), {"filter_px": filter_px})
