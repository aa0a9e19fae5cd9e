from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables.reconstruction_reference import layer_outputs, losses_on, noise_with_holes
from trainables.animal_autoencoder import AnimalAutoencoder, AnimalAutoencoderConfig, corners_around, decoder_widths
from trainables.data import Augmentation, Batch, ImageSource, Mask
from trainables.errors import ConfigError
from trainables.game import GAP, HEALTH
from trainables.layers import layer_table
from trainables.session import Session

HOLE = Mask("centre", 8)
TINY: dict[str, Any] = {"base_filters": 4, "dense": 16, "decoder_filters": 4, "discriminator_filters": 4, "batch_images": 8}
OF_THE_GAME = set(HEALTH | GAP) - {"loss_reconstruction", "gradient_norm_generator"}


def built(image_px: int = 32, mask: Mask = HOLE, **knobs: Any) -> AnimalAutoencoder:
    torch.manual_seed(0)
    return AnimalAutoencoder(AnimalAutoencoderConfig(**(TINY | knobs)), image_px, mask)


def on_meta(hole_px: int, image_px: int = 128, **knobs: Any) -> AnimalAutoencoder:
    """A model without memory for its weights."""
    with torch.device("meta"):
        return AnimalAutoencoder(AnimalAutoencoderConfig(**knobs), image_px, Mask("centre", hole_px))


def batch_at(epoch: float, mask: Mask = HOLE, count: int = 8) -> Batch:
    return Batch(*noise_with_holes(count, 32, mask), epoch)


def copies(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


# --- network


@pytest.mark.parametrize(("hole_px", "maps_px"), [(16, [2, 4, 8, 16]), (32, [2, 4, 8, 16, 32])])
def test_the_layers_of_section_4_3(hole_px: int, maps_px: list[int]) -> None:
    """Three convolutions and poolings, two dense layers of 2048, then four transposed convolutions for 16 px and five for 32."""
    model = on_meta(hole_px)
    (visible,) = model.network_inputs()["network"]
    rows = layer_outputs(model.network, lambda: model.network(visible))
    assert [shape for name, shape in rows if name == "Conv2d"] == [(128, 128, 32), (64, 64, 64), (32, 32, 128)]
    assert [shape for name, shape in rows if name == "MaxPool2d"] == [(64, 64, 32), (32, 32, 64), (16, 16, 128)]
    assert [shape for name, shape in rows if name == "Linear"] == [(2048,), (2048,)]
    assert [shape[0] for name, shape in rows if name == "ConvTranspose2d"] == maps_px
    assert rows[-1] == ("ConvTranspose2d", (hole_px, hole_px, 3))


def test_the_papers_parameters_counted_by_hand() -> None:
    """A layer has its filter's area times channels in and out, and a bias for each channel out."""
    encoder = (9 * 4 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128)
    dense = (16 * 16 * 128 * 2048 + 2048) + (2048 * 2048 + 2048)
    decoder = (4 * 2048 * 256 + 256) + (16 * 256 * 128 + 128) + (16 * 128 * 64 + 64) + (16 * 64 * 32 + 32) + (16 * 32 * 3 + 3)
    assert on_meta(32).parameters == encoder + dense + decoder


def test_batch_norm_stands_after_every_hidden_layer_and_takes_its_bias() -> None:
    norms = [nn.BatchNorm1d, nn.BatchNorm2d]
    assert not any(type(module) in norms for module in built().network.modules())
    modules = [module for module in built(batch_norm=True).network.modules() if not list(module.children())]
    layers = [index for index, module in enumerate(modules) if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d)]
    for index in layers[:-1]:
        assert type(modules[index + 1]) in norms
        assert modules[index].bias is None
    assert modules[layers[-1]].bias is not None


@pytest.mark.parametrize(("patch_px", "expected"), [(4, [4]), (8, [8, 4]), (64, [32, 32, 16, 8, 4]), (32, [32, 16, 8, 4])])
def test_the_decoders_filters_halve_down_to_the_last(patch_px: int, expected: list[int]) -> None:
    assert decoder_widths(4, patch_px) == expected


@pytest.mark.parametrize(("image_px", "hole_px", "knobs"), [(48, 16, {"stages": 4}), (32, 4, {"stages": 1}), (64, 24, {"overlap_px": 4})])
def test_shapes_at_other_sizes(image_px: int, hole_px: int, knobs: dict[str, Any]) -> None:
    mask = Mask("centre", hole_px)
    model = built(image_px, mask, **knobs)
    image, known = noise_with_holes(2, image_px, mask)
    patch_px = hole_px + 2 * knobs.get("overlap_px", 0)
    assert model.patch(image, known).shape == (2, 3, patch_px, patch_px)
    assert model.fill(image, known).shape == image.shape


def test_the_layer_table_shows_the_discriminator_what_it_judges() -> None:
    model = built(discriminator_epoch=3.0)
    assert model.network_inputs()["discriminator"][0].shape == (1, 3, 16, 16)
    assert {row.network for row in layer_table(model)} == {"network", "discriminator"}


# --- places


def test_the_square_around_a_hole_worked_out_by_hand() -> None:
    """In the middle of a 32 px image, shifted by the rounding of an odd rest, and held back by the edges."""
    known = torch.ones(3, 1, 32, 32)
    known[0, :, 12:20, 12:20] = 0
    known[1, :, 10:15, 4:10] = 0
    known[2, :, 30:32, 0:3] = 0
    assert corners_around(known, 8).tolist() == [[12, 12], [9, 3], [24, 0]]
    assert corners_around(known, 16).tolist() == [[8, 8], [5, 0], [16, 0]]


@pytest.mark.parametrize("kind", ["centre", "random_square", "random_rectangle"])
@pytest.mark.parametrize("overlap_px", [0, 4])
def test_the_patch_covers_the_hole_wherever_it_is(kind: Any, overlap_px: int) -> None:
    mask = Mask(kind, 8)
    model = built(mask=mask, overlap_px=overlap_px)
    image, known = noise_with_holes(16, 32, mask)
    patch = torch.full((16, 3, model.patch_px, model.patch_px), 7.0)
    filled = model.composite(image, patch, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert bool((filled[~visible] == 7).all())


def test_a_patch_pixel_is_placed_where_its_error_is_measured() -> None:
    """The truth's own pixels, cut out at the hole's place with numpy, have no error and give the image back."""
    mask = Mask("random_square", 8)
    model = built(mask=mask)
    image, known = noise_with_holes(8, 32, mask)
    patch = torch.stack([picture[:, hole[0] < 0.5].reshape(3, 8, 8) for picture, hole in zip(2 * image - 1, known, strict=True)])
    assert float(model.squared_error(patch, image, known)) == 0
    assert torch.equal(model.composite(2 * image - 1, patch, known), 2 * image - 1)


def test_training_on_random_rectangles_is_measured_on_the_centre(data_dir: str) -> None:
    knobs = TINY | {"train_placement": "random_rectangle", "mirror": True, "crop_px": 5}
    session = Session.open("animal_autoencoder", knobs, ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir), HOLE)
    assert session.model.training_mask == Mask("random_rectangle", 8)
    assert session.model.mask == HOLE
    assert session.model.augmentation == Augmentation(mirror=True, crop_px=5)
    result = session.step()
    assert np.isfinite(result["loss"])
    assert np.isfinite(result["psnr_hole"])


# --- loss


@pytest.mark.parametrize("kind", ["centre", "random_rectangle"])
def test_the_error_is_the_mean_over_the_hole_alone(kind: Any) -> None:
    mask = Mask(kind, 8)
    model = built(mask=mask)
    image, known = noise_with_holes(8, 32, mask)
    patch = model.patch(image, known).detach()
    filled = model.composite(2 * image - 1, patch, known).numpy().astype(float)
    hole = np.broadcast_to(known.numpy() < 0.5, filled.shape)
    expected = ((filled - (2 * image.numpy() - 1)) ** 2)[hole].mean()
    loss, figures = model.loss(image, known)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert figures["loss_reconstruction"].item() == loss.item()


def test_with_an_overlap_the_known_pixels_of_the_patch_count_too() -> None:
    """8 px and 4 px on each side: a patch of 16 px in the middle, all of it counted, its known pixels predicted too."""
    model = built(overlap_px=4)
    image, known = noise_with_holes(4, 32, HOLE)
    patch = model.patch(image, known).detach()
    truth = 2 * image[:, :, 8:24, 8:24] - 1
    assert model.squared_error(patch, image, known).item() == pytest.approx(float(((patch - truth) ** 2).mean()), rel=1e-5)
    torch.testing.assert_close(patch, model.run(model.network, model.visible(image, known)))


def test_a_first_stage_is_what_the_output_is_added_to() -> None:
    """With the last layer at 0 the fill is the ring's mean."""
    model = built(first_stage="ring_mean")
    for weight in list(model.network.decoder.children())[-1].parameters():  # type: ignore[union-attr]
        nn.init.zeros_(weight)
    image, known = noise_with_holes(1, 32, HOLE)
    ring = image.clone()
    ring[:, :, 12:20, 12:20] = float("nan")
    expected = ring[:, :, 11:21, 11:21].nanmean((2, 3))
    torch.testing.assert_close(model.fill(image, known)[:, :, 12:20, 12:20], expected[:, :, None, None].expand(1, 3, 8, 8))


def test_the_network_learns_a_colour() -> None:
    model = built(learning_rate=5e-3, batch_norm=True)
    shade = torch.linspace(0.1, 0.9, 8)[:, None, None, None].expand(8, 3, 32, 32).contiguous()
    losses = losses_on(model, Batch(shade, HOLE.sample(8, 32, np.random.default_rng(0)), 0.0), 40)
    assert losses[-1] < losses[0] / 10


# --- the discriminator that joins


def test_without_an_epoch_to_join_at_no_discriminator_is_built() -> None:
    assert set(built().networks) == set(built(discriminator_epoch=0.0, adversarial_weight=0.0).networks) == {"network"}
    assert set(built(discriminator_epoch=0.0).networks) == {"network", "discriminator"}


def test_until_it_joins_the_network_trains_as_without_it() -> None:
    alone, later = built(), built(discriminator_epoch=2.0)
    judge = copies(later.networks["discriminator"])
    later.scores = None  # type: ignore[assignment] - a call would fail
    for epoch in (0.0, 1.0):
        torch.manual_seed(0)
        expected = alone.train_unit([batch_at(epoch)])
        torch.manual_seed(0)
        assert later.train_unit([batch_at(epoch)]) == expected
    assert same(copies(alone.network), copies(later.network))
    assert same(judge, copies(later.networks["discriminator"]))
    assert all(expected[name] == 0 for name in OF_THE_GAME)


def test_from_its_epoch_on_it_is_trained_and_moves_the_network() -> None:
    alone, joined = built(), built(discriminator_epoch=2.0)
    judge = copies(joined.networks["discriminator"])
    without, figures = alone.train_unit([batch_at(2.0)]), joined.train_unit([batch_at(2.0)])
    assert set(without) == set(figures) == set(HEALTH | GAP) | {"loss"}
    assert figures["loss_discriminator"] > 0
    assert not same(judge, copies(joined.networks["discriminator"]))
    assert not same(copies(alone.network), copies(joined.network))


def test_a_step_in_which_it_joins_has_means_over_its_own_batches() -> None:
    """Two batches before and one after; at rates that move nothing its figures are those of the last batch alone."""
    still = {"learning_rate": 1e-30, "discriminator_learning_rate": 1e-30, "discriminator_epoch": 1.0}
    straddling = built(**still).train_unit([batch_at(0.4), batch_at(0.8), batch_at(1.2)])
    alone = built(**still).train_unit([batch_at(1.2)])
    for name in ("loss_adversarial", "loss_discriminator", "gap_probability", "loss_reconstruction"):
        assert straddling[name] == pytest.approx(alone[name], rel=1e-5)


def test_the_loss_of_the_joined_game_by_hand() -> None:
    """Squared distances of the scores to 1, weighted by the hole's share: 16 px in 2x2 patches have a quarter of the hole each."""
    model = built(discriminator_epoch=0.0, adversarial_weight=0.3)
    image, known = noise_with_holes(4, 32, HOLE)
    model.playing = model.players(0.0)
    loss, figures = model.network_loss(model.outputs(image, known), image, known)
    filled = torch.where(known > 0.5, 2 * image - 1, torch.nn.functional.pad(model.patch(image, known), (12, 12, 12, 12)))
    scores = model.networks["discriminator"](filled[:, :, 8:24, 8:24])
    assert scores.shape == (4, 1, 2, 2)
    adversarial = float(((scores.detach() - 1) ** 2).mean())
    assert float(figures["loss_adversarial"]) == pytest.approx(adversarial, rel=1e-5)
    assert loss.item() == pytest.approx(float(figures["loss_reconstruction"]) + 0.3 * adversarial, rel=1e-5)


def test_a_run_restored_before_the_joining_epoch_goes_on_exactly(data_dir: str, tmp_path: Path) -> None:
    def opened() -> Session:
        knobs = TINY | {"discriminator_epoch": 2.0, "batch_norm": True, "dropout": 0.2, "crop_px": 2}
        return Session.open("animal_autoencoder", knobs, ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir), HOLE)

    straight = opened()
    expected = [straight.step() for _ in range(4)]
    assert [step["loss_discriminator"] > 0 for step in expected] == [False, False, True, True]
    stopped = opened()
    stopped.step()
    stopped.save(tmp_path)
    resumed = opened()
    resumed.load(tmp_path)
    assert [resumed.step() for _ in range(3)] == expected[1:]
    for name, network in straight.model.networks.items():
        assert same(copies(network), copies(resumed.model.networks[name]))


# --- bad input


@pytest.mark.parametrize(
    ("image_px", "hole_px", "knobs", "message"),
    [
        (32, 12, {}, r"hole_px \+ 2 \* overlap_px must be a power of 2 from 4, but got 12; each layer doubles the map, use 16 or 32"),
        (32, 16, {"overlap_px": 24}, "must be at most image_px = 32, but got 64; use a smaller overlap"),
        (32, 8, {"train_hole_px": 9}, "train_hole_px must be at most hole_px = 8, but got 9; the patch must cover the hole"),
        (36, 8, {}, "the image size must be a multiple of 8, but got 36"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(image_px: int, hole_px: int, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        on_meta(hole_px, image_px, **(TINY | knobs))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"dense": 0}, "dense must be at least 1, but got 0; use 1 or more"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), but got 1.0; 0 drops nothing"),
        ({"discriminator_epoch": -2.0}, "discriminator_epoch must be at least -1, but got -2.0; -1 leaves the game out"),
        ({"batch_images": 1, "batch_norm": True}, "batch_images must be at least 2 with batch_norm, but got 1; use 2 or more"),
        ({"hole_weight": 0.0}, "hole_weight must be greater than 0 without an overlap, but got 0.0; nothing would be learnt"),
        (
            {"train_placement": "edge"},
            "train_placement must be one of as_measured, centre, random_square, .*, but got 'edge'",
        ),
    ],
)
def test_a_knob_that_cannot_work_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AnimalAutoencoderConfig(**knobs)
