import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.context_encoder import OBJECTIVES, SPACE
from search_spaces.knob import Choice
from trainables.context_encoder import ContextEncoder, ContextEncoderConfig, border_weights, ladder, widths
from trainables.data import Augmentation, Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import METRICS

TINY: dict[str, Any] = {"base_filters": 8, "discriminator_filters": 8, "latent": 32, "batch_images": 4}


def built(image_px: int = 32, hole_px: int = 8, **knobs: Any) -> ContextEncoder:
    torch.manual_seed(0)
    return ContextEncoder(ContextEncoderConfig(**(TINY | knobs)), image_px, Mask("centre", hole_px))


def on_meta(image_px: int, hole_px: int, **knobs: Any) -> ContextEncoder:
    """A model without memory for its weights."""
    with torch.device("meta"):
        return ContextEncoder(ContextEncoderConfig(**knobs), image_px, Mask("centre", hole_px))


def batch_of(model: ContextEncoder, count: int = 4, seed: int = 1) -> Batch:
    image = torch.rand(count, 3, model.image_px, model.image_px, generator=torch.Generator().manual_seed(seed))
    return Batch(image, model.mask.sample(count, model.image_px, np.random.default_rng(0)), 0.0)


def weights_of(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def layers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


# --- networks


def test_the_generator_of_figure_1() -> None:
    """128 px to 64, 64, 128, 256, 512 and 4000 channels, and back to a patch of 64 px."""
    model = on_meta(128, 56)
    generator = model.networks["generator"]
    down = [(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride) for layer in layers(generator, nn.Conv2d)]
    channels = [3, 64, 64, 128, 256, 512]
    assert down[:-1] == [(wide, deep, (4, 4), (2, 2)) for wide, deep in pairwise(channels)]
    assert down[-1] == (512, 4000, (4, 4), (1, 1))
    up = [(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride) for layer in layers(generator, nn.ConvTranspose2d)]
    assert up[0] == (4000, 512, (4, 4), (1, 1))
    channels = [512, 256, 128, 64, 3]
    assert up[1:] == [(wide, narrow, (4, 4), (2, 2)) for wide, narrow in pairwise(channels)]
    assert model.patch_px == 64
    assert model.start_px == 32


def test_the_papers_parameters_counted_by_hand() -> None:
    """A convolution without bias has 16 * in * out weights, a batch norm two a channel; the first and the last layer have a bias."""
    encoder = (16 * 3 * 64 + 64) + 16 * 64 * 64 + 16 * 64 * 128 + 16 * 128 * 256 + 16 * 256 * 512 + 2 * (64 + 128 + 256 + 512)
    latent = 16 * 512 * 4000 + 2 * 4000
    decoder = 16 * 4000 * 512 + 16 * 512 * 256 + 16 * 256 * 128 + 16 * 128 * 64 + 2 * (512 + 256 + 128 + 64) + (16 * 64 * 3 + 3)
    judge = (16 * 3 * 64 + 64) + 16 * 64 * 128 + 16 * 128 * 256 + 16 * 256 * 512 + 2 * (128 + 256 + 512) + (16 * 512 + 1)
    model = on_meta(128, 56)
    assert weights_of(model.networks["generator"]) == encoder + latent + decoder == 71_124_611
    assert weights_of(model.networks["discriminator"]) == judge == 2_765_633
    assert model.parameters == 73_890_244


def test_the_generators_parameters_at_64_px_counted_by_hand() -> None:
    """Base 8, latent 32: 8, 16, 32, 64 down from 64 px, 64, 32, 16, 3 up to a patch of 32 px."""
    encoder = (48 * 8 + 8) + 16 * (8 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 16 * 64 * 32 + 2 * 32
    decoder = 16 * (32 * 64 + 64 * 32 + 32 * 16) + 2 * (64 + 32 + 16) + (48 * 16 + 3)
    assert weights_of(built(64, 24).networks["generator"]) == encoder + decoder


@pytest.mark.parametrize(
    ("image_px", "hole_px", "overlap_px", "patch_px"),
    [
        (128, 56, 4, 64),
        (64, 24, 4, 32),
        (64, 32, 0, 32),
        (32, 8, 4, 16),
        (32, 8, 0, 8),
        (96, 48, 0, 48),
        (80, 20, 4, 28),
        (32, 32 - 8, 4, 32),
    ],
)
def test_sizes_that_fit(image_px: int, hole_px: int, overlap_px: int, patch_px: int) -> None:
    model = built(image_px, hole_px, overlap_px=overlap_px)
    batch = batch_of(model, 2)
    patch = model.patch(batch.image, batch.known)
    assert patch.shape == (2, 3, patch_px, patch_px)
    assert float(patch.detach().abs().max()) <= 1
    assert model.score(patch).shape == (2,)
    assert all(math.isfinite(value) for value in model.train_unit([batch]).values())
    assert model.fill(batch.image, batch.known).shape == batch.image.shape
    inputs = model.network_inputs()
    assert model.networks["discriminator"](*inputs["discriminator"]).shape == (1, 1, 1, 1)
    assert model.networks["generator"].eval()(*inputs["generator"]).shape == (1, 3, patch_px, patch_px)


@pytest.mark.parametrize(
    ("side_px", "steps", "left_px"), [(128, 5, 4), (64, 4, 4), (8, 1, 4), (96, 4, 6), (56, 3, 7), (80, 4, 5), (7, 0, 7)]
)
def test_a_side_is_halved_down_to_4_to_7_px(side_px: int, steps: int, left_px: int) -> None:
    assert ladder(side_px) == (steps, left_px)
    assert left_px * 2**steps == side_px


@pytest.mark.parametrize(
    ("count", "expected"), [(5, [64, 64, 128, 256, 512]), (4, [64, 128, 256, 512]), (3, [128, 256, 512]), (6, [64, 64, 64, 128, 256, 512])]
)
def test_filters_double_towards_the_deepest_layer(count: int, expected: list[int]) -> None:
    assert widths(64, count) == expected


def test_no_batch_norm_after_the_first_layers_and_the_outputs() -> None:
    model = built()
    generator, judge = model.networks["generator"], model.networks["discriminator"]
    assert [type(layer).__name__ for layer in generator.encoder][:3] == ["Conv2d", "LeakyReLU", "Conv2d"]  # type: ignore[union-attr,arg-type]
    assert [type(layer).__name__ for layer in generator.encoder][-3:] == ["Conv2d", "BatchNorm2d", "LeakyReLU"]  # type: ignore[union-attr,arg-type]
    assert [type(layer).__name__ for layer in generator.decoder][-3:] == ["ReLU", "ConvTranspose2d", "Tanh"]  # type: ignore[union-attr,arg-type]
    assert [type(layer).__name__ for layer in judge][:2] == ["Conv2d", "LeakyReLU"]  # type: ignore[arg-type]
    assert all(layer.negative_slope == 0.2 for network in (generator, judge) for layer in layers(network, nn.LeakyReLU))


def test_initial_weights_are_those_of_dcgan() -> None:
    generator = built(base_filters=32, latent=200).networks["generator"]
    for layer in layers(generator, nn.Conv2d) + layers(generator, nn.ConvTranspose2d):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        assert layer.bias is None or not layer.bias.any()
    scales = torch.cat([layer.weight.detach() for layer in layers(generator, nn.BatchNorm2d)])
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.1)


# --- what goes in and comes out


def test_the_hole_enters_at_medium_intensity_and_the_rest_signed() -> None:
    model = built()
    batch = batch_of(model)
    seen: list[Tensor] = []
    model.networks["generator"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    model.patch(batch.image, batch.known)
    expected = batch.image * 2 - 1
    expected[:, :, 12:20, 12:20] = 0
    torch.testing.assert_close(seen[0], expected)


def test_the_patch_lies_around_the_hole_and_its_overlap_is_not_filled_in() -> None:
    model = built()  # hole at 12 to 19, patch at 8 to 23
    batch = batch_of(model)
    model.set_training(False)
    patch = model.patch(batch.image, batch.known)
    filled = model.fill(batch.image, batch.known)
    torch.testing.assert_close(filled[:, :, 12:20, 12:20], (patch[:, :, 4:12, 4:12] + 1) / 2)
    assert torch.equal(filled[batch.known.expand_as(filled) > 0], batch.image[batch.known.expand_as(filled) > 0])
    torch.testing.assert_close(model.square(batch.image), batch.image[:, :, 8:24, 8:24] * 2 - 1)


def test_training_images_are_shifted_and_mirrored_as_asked() -> None:
    assert built().augmentation == Augmentation(crop_px=8)
    assert built(crop_px=0, mirror=True).augmentation == Augmentation(mirror=True)


# --- losses


def test_border_weights_by_hand() -> None:
    expected = [
        [10, 10, 10, 10, 10, 10],
        [10, 10, 10, 10, 10, 10],
        [10, 10, 1, 1, 10, 10],
        [10, 10, 1, 1, 10, 10],
        [10, 10, 10, 10, 10, 10],
        [10, 10, 10, 10, 10, 10],
    ]
    assert border_weights(6, 2, 10).tolist() == [[expected]]
    assert border_weights(6, 0, 10).tolist() == [[[[1.0] * 6] * 6]]
    assert border_weights(6, 3, 7).tolist() == [[[[7.0] * 6] * 6]]


def test_the_papers_band_is_the_overlap() -> None:
    """Of the 64 x 64 patch the 56 x 56 hole weighs 1."""
    weights = border_weights(64, 4, 10)[0, 0].numpy()
    assert (weights == 1).sum() == 56 * 56
    assert (weights == 10).sum() == 64 * 64 - 56 * 56
    assert (weights[4:60, 4:60] == 1).all()


def test_the_generators_loss_against_numpy() -> None:
    model = built(adversarial_weight=0.25, border_px=2, border_weight=5.0)
    batch = batch_of(model)
    patch, truth = model.patch(batch.image, batch.known), model.square(batch.image)
    loss, terms = model.generator_loss(patch, truth)
    weights = np.full((16, 16), 5.0)
    weights[2:14, 2:14] = 1
    squared = ((patch.detach().numpy().astype(float) - truth.numpy()) ** 2 * weights).mean()
    scores = copy.deepcopy(model.networks["discriminator"])(patch.detach()).detach().numpy().astype(float).ravel()
    adversarial = -np.log(1 / (1 + np.exp(-scores))).mean()
    assert float(terms["loss_reconstruction"]) == pytest.approx(squared, rel=1e-5)
    assert float(terms["loss_adversarial"]) == pytest.approx(adversarial, rel=1e-5)
    assert loss.item() == pytest.approx(0.75 * squared + 0.25 * adversarial, rel=1e-5)


@pytest.mark.parametrize(("weight", "term"), [(0.0, "loss_reconstruction"), (1.0, "loss_adversarial")])
def test_at_either_end_one_term_alone_is_the_loss(weight: float, term: str) -> None:
    model = built(adversarial_weight=weight)
    batch = batch_of(model)
    loss, terms = model.generator_loss(model.patch(batch.image, batch.known), model.square(batch.image))
    assert loss.item() == terms[term].item()


def test_without_an_adversarial_weight_the_discriminator_moves_nothing() -> None:
    """Two discriminators, one generator: equal gradients at weight 0, different ones above it."""
    for weight in (0.0, 0.5):
        gradients = []
        for scale in (1.0, -3.0):
            model = built(adversarial_weight=weight)
            with torch.no_grad():
                for parameter in model.networks["discriminator"].parameters():
                    parameter *= scale
            batch = batch_of(model)
            model.generator_loss(model.patch(batch.image, batch.known), model.square(batch.image))[0].backward()  # type: ignore[no-untyped-call]
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.networks["generator"].parameters()]))  # type: ignore[union-attr]
        assert torch.equal(*gradients) == (weight == 0)


def test_the_generators_step_leaves_the_discriminator_and_the_other_way_round() -> None:
    model = built()
    model.set_training(True)
    batch = batch_of(model)
    patch, truth = model.patch(batch.image, batch.known), model.square(batch.image)

    def snapshot(name: str) -> list[Tensor]:
        return [weight.detach().clone() for weight in model.networks[name].parameters()]

    def moved(name: str, before: list[Tensor]) -> bool:
        return any(not torch.equal(one, two) for one, two in zip(before, snapshot(name), strict=True))

    generator, judge = snapshot("generator"), snapshot("discriminator")
    model.discriminator_step(truth, patch.detach())
    assert not moved("generator", generator)
    assert moved("discriminator", judge)
    judge = snapshot("discriminator")
    model.generator_step(patch, truth)
    assert moved("generator", generator)
    assert not moved("discriminator", judge)
    assert all(weight.requires_grad for weight in model.networks["discriminator"].parameters())


def test_the_discriminators_loss_is_the_cross_entropy_of_both_kinds() -> None:
    model = built()
    real, fake = (torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in (1, 2))
    judge = copy.deepcopy(model.networks["discriminator"])
    chances = [1 / (1 + np.exp(-judge(patch).detach().numpy().astype(float).ravel())) for patch in (real, fake)]
    figures = model.discriminator_step(real, fake)
    assert float(figures["loss_discriminator"]) == pytest.approx(-np.log(chances[0]).mean() - np.log(1 - chances[1]).mean(), rel=1e-5)
    assert float(figures["gap_probability"]) == pytest.approx(chances[0].mean() - chances[1].mean(), abs=1e-6)
    assert float(figures["accuracy_real"]) == pytest.approx((chances[0] > 0.5).mean())


# --- training


def test_the_generator_learns_a_colour() -> None:
    """Images of one colour: the patch nears it."""
    model = built(learning_rate=5e-3)
    shade = torch.linspace(0.1, 0.9, 8)[:, None, None, None].expand(8, 3, 32, 32).contiguous()
    batch = Batch(shade, model.mask.sample(8, 32, np.random.default_rng(0)), 0.0)
    before = model.train_unit([batch])["loss_reconstruction"]
    model.train_unit([batch] * 25)
    assert model.train_unit([batch])["loss_reconstruction"] < before / 10


def test_both_rates_decay_together() -> None:
    model = built(decay_factor=0.5, decay_epochs=2.0)
    for epoch, factor in ((0.0, 1.0), (1.9, 1.0), (2.0, 0.5), (5.0, 0.25)):
        batch = batch_of(model)
        model.train_unit([Batch(batch.image, batch.known, epoch)])
        rates = [model.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
        assert rates == pytest.approx([1e-3 * factor, 1e-4 * factor])


def test_a_game_that_is_won_three_times_in_a_row_has_collapsed_and_stays_so_when_restored() -> None:
    model = built(discriminator_learning_rate=5e-3, learning_rate=1e-6, adversarial_weight=0.0)
    batch = batch_of(model)
    for _ in range(6):
        health = model.train_unit([batch] * 4)
    assert health["collapsed"] == 1
    assert "the discriminator won 3 evaluations in a row" in model.collapse_reason
    restored = built(discriminator_learning_rate=5e-3, learning_rate=1e-6, adversarial_weight=0.0)
    restored.load_state_dict(model.state_dict())
    assert restored.collapse_reason == model.collapse_reason
    assert restored.train_unit([batch] * 2) == model.train_unit([batch] * 2)


def test_a_restored_model_trains_on_exactly() -> None:
    model, other = built(precision="bfloat16"), built(precision="bfloat16")
    model.train_unit([batch_of(model, seed=seed) for seed in range(3)])
    other.load_state_dict(model.state_dict())
    more = [batch_of(model, seed=seed) for seed in range(3, 5)]
    assert model.train_unit(more) == other.train_unit(more)
    for name, network in model.networks.items():
        for one, two in zip(network.state_dict().values(), other.networks[name].state_dict().values(), strict=True):
            assert torch.equal(one, two)


# --- bad input


@pytest.mark.parametrize(
    ("image_px", "hole_px", "knobs", "message"),
    [
        (100, 56, {}, "the image size must be 4, 5, 6 or 7 px doubled at least once, but got 100; use 32, 48, 64, 96 or 128"),
        (36, 8, {}, "the image size must be 4, 5, 6 or 7 px doubled at least once, but got 36"),
        (64, 28, {}, r"hole_px \+ 2 \* overlap_px must be 4, 5, 6 or 7 px doubled at least once, but got 36"),
        (64, 60, {}, r"hole_px \+ 2 \* overlap_px must be at most image_px = 64, but got 68; use a smaller hole or overlap"),
        (32, 8, {"border_px": 9}, "border_px must be at most half the patch's 16 px, but got 9; use a narrower band"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(image_px: int, hole_px: int, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        on_meta(image_px, hole_px, **(TINY | knobs))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"adversarial_weight": 1.5}, r"adversarial_weight must lie in \[0, 1\], but got 1.5; 0 trains on the squared error alone"),
        ({"latent": 0}, "latent must be at least 1, but got 0; use 1 or more"),
        ({"batch_images": 1}, "batch_images must be at least 2, but got 1; use 2 or more"),
        ({"overlap_px": -1}, "overlap_px must be at least 0, but got -1; use 0 or more"),
        ({"border_weight": -0.5}, "border_weight must be at least 0, but got -0.5"),
        ({"collapse_evaluations": 0}, "collapse_evaluations must be at least 1"),
    ],
)
def test_a_knob_that_cannot_work_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ContextEncoderConfig(**knobs)


@pytest.mark.parametrize("name", sorted(set(SPACE) - {"overlap_px", "border_px"}))
def test_the_ends_of_every_knob_build(name: str) -> None:
    knob = SPACE[name]
    for value in knob.values if isinstance(knob, Choice) else (knob.low, knob.high):
        on_meta(128, 56, **(TINY | {name: value}))


@pytest.mark.parametrize("name", ["overlap_px", "border_px"])
def test_the_ends_of_the_sizes_build_with_a_hole_that_fits(name: str) -> None:
    for value in (0, 32):
        on_meta(128, 64, **(TINY | {"overlap_px": 0, "border_px": 0, name: value}))


def test_the_objectives_are_metrics_with_their_modes() -> None:
    assert all(METRICS[name].mode == mode for name, mode in OBJECTIVES)
