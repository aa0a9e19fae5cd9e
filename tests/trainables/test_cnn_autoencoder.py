from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from search_spaces import Choice, Value
from search_spaces.cnn_autoencoder import SPACE
from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig, overlap_weights
from trainables.data import Augmentation, Batch, ImageSource, Mask, batches
from trainables.errors import ConfigError
from trainables.session import Session

TINY = CnnAutoencoderConfig(base_filters=16, bottleneck=256, batch_images=16)
HOLE = Mask("centre", 8)


def built(config: CnnAutoencoderConfig = TINY, image_px: int = 32, hole_px: int = 8) -> CnnAutoencoder:
    torch.manual_seed(0)
    return CnnAutoencoder(config, image_px, Mask("centre", hole_px))


def sample(count: int = 4, image_px: int = 32, hole_px: int = 8) -> tuple[Tensor, Tensor]:
    """Random images and their centre holes."""
    image = torch.rand(count, 3, image_px, image_px, generator=torch.Generator().manual_seed(1))
    return image, Mask("centre", hole_px).sample(count, image_px, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("image_px", "hole_px", "overlap_px", "patch_px"),
    [(32, 8, 0, 8), (32, 8, 4, 16), (32, 8, 12, 32), (32, 2, 0, 2), (32, 10, 1, 12), (64, 16, 0, 16), (64, 32, 3, 38), (128, 48, 0, 48)],
)
@pytest.mark.parametrize("neck", ["fc", "conv"])
def test_shapes(neck: Any, image_px: int, hole_px: int, overlap_px: int, patch_px: int) -> None:
    model = built(replace(TINY, neck=neck, overlap_px=overlap_px), image_px, hole_px)
    image, known = sample(2, image_px, hole_px)
    assert model.patch(image * known).shape == (2, 3, patch_px, patch_px)
    assert model.fill(image, known).shape == image.shape


def test_the_patch_is_pasted_around_the_centre() -> None:
    model = built(replace(TINY, overlap_px=4))
    image, known = sample()
    model.set_training(False)
    with torch.no_grad():
        patch = model.patch(image * known)
    filled = model.fill(image, known)
    assert torch.equal(filled[:, :, 12:20, 12:20], patch[:, :, 4:12, 4:12].clamp(0, 1))


def test_parameters_worked_out_by_hand() -> None:
    """32 px images, 8 px hole, 16 filters, bottleneck 256, no bias where batch norm follows."""
    encoder = 3 * 16 * 9 + 16 * 16 * 9 + 16 * 32 * 9 + 32 * 32 * 9 + 32 * 64 * 9 + 64 * 64 * 9
    encoder_norms = 2 * (16 + 16 + 32 + 32 + 64 + 64)
    neck = 64 * 4 * 4 * 256 + 256 * 64 * 4 * 4  # 4x4x64 to 256 and back
    neck_norms = 2 * (256 + 64 * 4 * 4)
    decoder = 64 * 32 * 4 * 4 + 2 * 32  # one doubling, 4 to 8 px, and its batch norm
    colours = 32 * 3 * 9 + 3
    assert built().parameters == encoder + encoder_norms + neck + neck_norms + decoder + colours


def test_parameters_worked_out_by_hand_without_batch_norm_and_with_a_convolutional_neck() -> None:
    """A bias in each layer; the neck's convolutions span the 4x4 features and the 4x4 seed."""
    encoder = 3 * 16 * 25 + 16 * 16 * 25 + 16 * 32 * 25 + 32 * 32 * 25 + 32 * 64 * 25 + 64 * 64 * 25 + (16 + 16 + 32 + 32 + 64 + 64)
    neck = 64 * 4 * 4 * 256 + 256 + 256 * 4 * 4 * 64 + 64
    decoder = 64 * 32 * 4 * 4 + 32
    colours = 32 * 3 * 9 + 3
    config = replace(TINY, batch_norm=False, neck="conv", kernel_px=5, downsampling="pool")
    assert built(config).parameters == encoder + neck + decoder + colours


def ends(knob: Any) -> tuple[Value, ...]:
    """All values of a choice, both ends of an interval."""
    if isinstance(knob, Choice):
        return knob.values
    kind = int if knob.kind == "int" else float
    return kind(knob.low), kind(knob.high)


# No two knobs exclude each other within these bounds: the widest patch is 8 + 2 * 8 = 24 px of 32. Larger holes can exceed the image;
# see test_sizes_that_cannot_work.
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, knob in SPACE.items() for value in ends(knob)])
def test_every_value_of_every_knob_trains(name: str, value: Value) -> None:
    model = built(replace(TINY, **{name: value}))  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (model.batch_images, 32, 32, 3), dtype=np.uint8)
    before = [weight.clone() for weight in model.network.parameters()]
    count = model.batch_images
    (batch,) = batches(images, HOLE, batch_images=count, start_image=0, count=count, seed=0, device=torch.device("cpu"))
    varied = model.augmentation.apply(batch.image, torch.Generator().manual_seed(0))
    result = model.train_unit([replace(batch, image=varied)])
    assert np.isfinite(result["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before, model.network.parameters(), strict=True))
    filled = model.fill(batch.image[:2], batch.known[:2])
    assert bool(torch.isfinite(filled).all())


def test_augmentation_follows_the_knobs() -> None:
    config = replace(TINY, hue=0.1, saturation=0.2, contrast=0.3, blur_px=0.4, mirror=True)
    assert built(config).augmentation == Augmentation(hue=0.1, saturation=0.2, contrast=0.3, blur_px=0.4, mirror=True)
    assert built().augmentation == Augmentation()


def test_overlap_weights_by_hand() -> None:
    """A 2 px hole in a ring of 1 px, weight 3: 4 * 1 + 12 * 3 = 40 over 16 pixels, so 1 / 2.5 inside and 3 / 2.5 around."""
    expected = torch.full((4, 4), 1.2)
    expected[1:3, 1:3] = 0.4
    torch.testing.assert_close(overlap_weights(2, 1, 3.0)[0, 0], expected)


@pytest.mark.parametrize(("hole_px", "overlap_px", "weight"), [(8, 4, 20.0), (8, 1, 100.0), (6, 3, 1.0)])
def test_overlap_weights_have_a_mean_of_one_and_the_ratio_asked_for(hole_px: int, overlap_px: int, weight: float) -> None:
    weights = overlap_weights(hole_px, overlap_px, weight)[0, 0]
    end = overlap_px + hole_px
    inside = weights[overlap_px:end, overlap_px:end]
    assert weights.shape == (hole_px + 2 * overlap_px,) * 2
    assert float(weights.mean()) == pytest.approx(1, rel=1e-5)
    assert len(set(inside.flatten().tolist())) == 1
    ring = weights.clone()
    ring[overlap_px:end, overlap_px:end] = torch.nan
    ring = ring[~ring.isnan()]
    assert len(ring) == (hole_px + 2 * overlap_px) ** 2 - hole_px**2
    torch.testing.assert_close(ring / inside[0, 0], torch.full_like(ring, weight))


def test_without_overlap_the_weights_are_one() -> None:
    assert torch.equal(overlap_weights(8, 0, 20.0), torch.ones(1, 1, 8, 8))


def test_loss_without_overlap_is_the_mean_squared_error_of_the_hole() -> None:
    model = built(replace(TINY, overlap_px=0, overlap_weight=50.0))
    image, known = sample()
    model.set_training(False)
    patch = model.patch(image * known)
    assert torch.equal(model.loss(image, known), functional.mse_loss(patch, image[:, :, 12:20, 12:20]))


def test_loss_with_overlap_weighs_the_ring_and_nothing_else() -> None:
    """Pixel by pixel: weight 1 in rows and columns 12 to 19, 20 in the ring from 8 to 23, divided by the weights' mean."""
    model = built(replace(TINY, overlap_px=4, overlap_weight=20.0))
    image, known = sample(2)
    model.set_training(False)
    with torch.no_grad():
        patch = model.patch(image * known).double().numpy()
        loss = float(model.loss(image, known))
    truth = image.double().numpy()
    total = weights = 0.0
    for row in range(8, 24):
        for column in range(8, 24):
            weight = 1.0 if 12 <= row < 20 and 12 <= column < 20 else 20.0
            weights += weight
            total += weight * ((patch[:, :, row - 8, column - 8] - truth[:, :, row, column]) ** 2).mean()
    assert loss == pytest.approx(total / weights, rel=1e-5)


@pytest.mark.parametrize("overlap_px", [0, 4])
def test_training_does_not_show_the_hole_to_the_network(overlap_px: int) -> None:
    model = built(replace(TINY, overlap_px=overlap_px))
    image, known = sample()
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.train_unit([Batch(image, known, 0.0)])
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.where(known > 0, image, 0.0))


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0.0, 0.01), (1.99, 0.01), (2.0, 0.005), (3.9, 0.005), (4.0, 0.0025), (6.5, 0.00125), (20.0, 0.01 / 1024)]
)
def test_learning_rate_is_halved_every_two_epochs(epoch: float, rate: float) -> None:
    model = built(replace(TINY, learning_rate=0.01, decay_factor=0.5, decay_epochs=2.0))
    image, known = sample()
    model.train_unit([Batch(image, known, epoch)])
    assert [group["lr"] for group in model.optimizers["network"].param_groups] == pytest.approx([rate])


def test_a_decay_factor_of_one_keeps_the_rate() -> None:
    model = built(replace(TINY, learning_rate=0.01, decay_factor=1.0, decay_epochs=0.5))
    image, known = sample()
    model.train_unit([Batch(image, known, 30.0)])
    assert model.optimizers["network"].param_groups[0]["lr"] == 0.01


def test_the_first_update_of_adam_is_as_large_as_the_rate() -> None:
    """Adam's first step moves each weight by rate * g / (|g| + 1e-8), so by the rate, whatever the gradient."""
    model = built(replace(TINY, learning_rate=0.004, decay_factor=0.5, decay_epochs=1.0))
    image, known = sample()
    last = list(model.network.parameters())[-1]  # the three colours' bias
    before = last.detach().clone()
    model.train_unit([Batch(image, known, 1.0)])
    torch.testing.assert_close((last - before).abs().detach(), torch.full((3,), 0.002), rtol=1e-3, atol=0)


def test_the_loss_of_a_unit_is_the_mean_over_its_batches() -> None:
    config = replace(TINY, dropout=0.0, learning_rate=0.0)  # a rate of 0: the weights stay, so each loss can be measured again
    model = built(config)
    image, known = sample(12)
    parts = [Batch(image[start : start + 4], known[:4], 0.0) for start in (0, 4, 8)]
    model.set_training(True)
    losses = [float(model.loss(part.image, part.known).detach()) for part in parts]
    assert model.train_unit(parts)["loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)


@pytest.mark.parametrize(("dropout_at", "expected"), [("every", 9), ("neck", 2)])
def test_dropout_is_where_it_should_be(dropout_at: Any, expected: int) -> None:
    """Six convolutions, two layers of the neck, one doubling."""

    def layers(dropout: float) -> list[float]:
        network = built(replace(TINY, dropout=dropout, dropout_at=dropout_at)).network
        return [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)]

    assert layers(0.4) == [0.4] * expected
    assert layers(0.0) == []


@pytest.mark.parametrize(
    ("image_px", "hole_px", "overlap_px", "message"),
    [
        (36, 8, 0, "image size must be a multiple of 8, but got 36; the three strides must divide it"),
        (32, 7, 0, "must be even, but got 7; .*use an even hole"),
        (32, 9, 4, "must be even, but got 17; .*use an even hole"),
        (32, 8, 13, "must be at most the image's 32, but got 34; use a smaller overlap_px or hole"),
        (32, 32, 0, "smaller than the image, but got hole_px=32 on 32x32 images; use a hole_px from 1 to 31"),
        (32, 8, -1, "overlap_px must be at least 0, but got -1; 0 switches"),
    ],
)
def test_sizes_that_cannot_work(image_px: int, hole_px: int, overlap_px: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(replace(TINY, overlap_px=overlap_px), image_px, hole_px)


def test_it_learns(data_dir: str) -> None:
    source = ImageSource("photos", 32, 128, 32, 32, data_dir=data_dir)
    knobs = {"base_filters": 16, "bottleneck": 256, "batch_images": 32, "dropout": 0.0}
    session = Session.open("cnn_autoencoder", knobs, source, HOLE)
    first, *_, last = [session.step() for _ in range(5)]
    assert last["loss"] < 0.5 * first["loss"]
    assert last["train_l2_hole"] < first["train_l2_hole"]
