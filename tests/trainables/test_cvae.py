import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tests.trainables.reconstruction_reference import HOLE, layer_outputs, losses_on, noise_with_holes, photos_with_holes
from trainables.cvae import Cvae, CvaeConfig, Reparameterise, kl_to_unit_gaussian
from trainables.data import Batch
from trainables.errors import ConfigError

PAPER = CvaeConfig()
TINY = CvaeConfig(base_filters=4, latent=64, batch_images=8)


def built(config: CvaeConfig = TINY, image_px: int = 32) -> Cvae:
    torch.manual_seed(0)
    return Cvae(config, image_px, HOLE)


def gaussians(count: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    """Means and log variances, (count, width) each."""
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(count, width, generator=generator), torch.randn(count, width, generator=generator)


# --- layers


def test_tables_3_4_to_3_6_row_by_row() -> None:
    model = built(PAPER)
    image, known = noise_with_holes(1)
    model.set_training(False)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (16, 16, 32)), ("ReLU", (16, 16, 32)), ("BatchNorm2d", (16, 16, 32))],
        *[("Conv2d", (8, 8, 64)), ("ReLU", (8, 8, 64)), ("BatchNorm2d", (8, 8, 64))],
        *[("Conv2d", (4, 4, 128)), ("ReLU", (4, 4, 128)), ("BatchNorm2d", (4, 4, 128))],
        *[("Conv2d", (2, 2, 256)), ("ReLU", (2, 2, 256))],
        *[("Flatten", (1024,)), ("Linear", (1024,)), ("Linear", (1024,))],
        *[("Reparameterise", (1024,)), ("JoinMap", (2048,)), ("Unflatten", (2, 2, 512))],
        *[("ConvTranspose2d", (4, 4, 256)), ("ReLU", (4, 4, 256))],
        *[("ConvTranspose2d", (8, 8, 128)), ("ReLU", (8, 8, 128))],
        *[("ConvTranspose2d", (16, 16, 64)), ("ReLU", (16, 16, 64))],
        *[("ConvTranspose2d", (32, 32, 32)), ("ReLU", (32, 32, 32))],
        *[("Conv2d", (32, 32, 3)), ("Sigmoid", (32, 32, 3))],
    ]


def test_parameters_worked_out_by_hand() -> None:
    encoder = (3 * 3 * 4 * 32 + 32) + (3 * 3 * 32 * 64 + 64) + (3 * 3 * 64 * 128 + 128) + (3 * 3 * 128 * 256 + 256)
    norms = 2 * (32 + 64 + 128)
    inner = 2 * (2 * 2 * 256 * 1024 + 1024)
    decoder = (3 * 3 * 512 * 256 + 256) + (3 * 3 * 256 * 128 + 128) + (3 * 3 * 128 * 64 + 64) + (3 * 3 * 64 * 32 + 32)
    colours = 3 * 3 * 32 * 3 + 3
    assert built(PAPER).parameters == encoder + norms + inner + decoder + colours


@pytest.mark.parametrize(("image_px", "latent"), [(32, 64), (48, 72), (64, 64)])
def test_shapes_at_other_sizes(image_px: int, latent: int) -> None:
    image, known = noise_with_holes(2, image_px)
    model = built(replace(TINY, latent=latent), image_px)
    output, mean, log_variance = model.network(torch.cat([image * known, known], 1))
    assert output.shape == image.shape
    assert mean.shape == log_variance.shape == (2, latent)
    assert model.fill(image, known).shape == image.shape


# --- the latent


def test_the_divergence_by_hand() -> None:
    """Mean 1 with variance 1 gives 1/2, mean 0 with variance e gives (e - 2) / 2; both together are the sum."""
    mean = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    log_variance = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    expected = torch.tensor([0.0, 0.5, (math.e - 2) / 2, 0.5 + (math.e - 2) / 2])
    torch.testing.assert_close(kl_to_unit_gaussian(mean, log_variance), expected)


def test_the_divergence_is_the_one_of_torchs_distributions() -> None:
    mean, log_variance = gaussians()
    expected = kl_divergence(Normal(mean, log_variance.exp().sqrt()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_unit_gaussian(mean, log_variance), expected)


def test_the_divergence_is_the_mean_of_the_log_ratio_over_draws() -> None:
    """KL = E[log q(z) - log p(z)] with z from q, over 200,000 draws of three dimensions."""
    mean, log_variance = torch.tensor([0.5, -1.0, 0.0]), torch.tensor([0.3, -0.6, 1.0])
    torch.manual_seed(0)
    z = mean + log_variance.exp().sqrt() * torch.randn(200_000, 3)
    q, p = Normal(mean, log_variance.exp().sqrt()), Normal(0.0, 1.0)
    ratio = (q.log_prob(z) - p.log_prob(z)).sum(1)  # type: ignore[no-untyped-call]
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert float(kl_to_unit_gaussian(mean[None], log_variance[None])) == pytest.approx(float(ratio.mean()), abs=5 * error)


def test_samples_have_the_mean_and_deviation_asked_for() -> None:
    mean, log_variance = torch.tensor([2.0, -1.0, 0.0]), torch.log(torch.tensor([0.25, 1.0, 9.0]))
    deviation = torch.tensor([0.5, 1.0, 3.0])
    torch.manual_seed(0)
    draws = Reparameterise().train()(mean.expand(40_000, 3), log_variance.expand(40_000, 3))
    assert float(((draws.mean(0) - mean).abs() / deviation).max()) < 5 / math.sqrt(40_000)
    torch.testing.assert_close(draws.std(0), deviation, rtol=0.02, atol=0)
    assert float((torch.corrcoef(draws.T) - torch.eye(3)).abs().max()) < 0.025


def test_the_gradient_goes_through_the_sample() -> None:
    """z = mean + exp(v / 2) * epsilon has the slope 1 in the mean and (z - mean) / 2 in v."""
    mean, log_variance = (value.requires_grad_() for value in gaussians())
    torch.manual_seed(3)
    z = Reparameterise().train()(mean, log_variance)
    z.sum().backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    torch.testing.assert_close(mean.grad, torch.ones_like(mean))
    torch.testing.assert_close(log_variance.grad, ((z - mean) / 2).detach())


def test_in_evaluation_the_mean_is_taken_and_nothing_is_drawn() -> None:
    mean, log_variance = gaussians()
    state = torch.get_rng_state()
    assert Reparameterise().eval()(mean, log_variance) is mean
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_comes_from_torchs_default_generator_in_training_alone() -> None:
    model = built()
    image, known = noise_with_holes(2)
    model.set_training(True)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model.output(image, known))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(model.fill(image, known), model.fill(image, known))


# --- the location map


def joined(model: Cvae, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The decoder's input and the means."""
    model.set_training(False)
    with torch.no_grad():
        decoder_input, mean, _ = model.network.inner(features, known)  # type: ignore[operator]
    return decoder_input, mean


def test_the_maps_pixels_follow_z_in_reading_order() -> None:
    """At 32 px, z of 1,024 values fills feature maps 0 to 255; pixel p of the map stands in feature map 256 + p // 4, at place p % 4."""
    model = built(PAPER)
    features = torch.rand(1, 256, 2, 2, generator=torch.Generator().manual_seed(0))
    known = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))  # any numbers, to tell the pixels apart
    decoder_input, mean = joined(model, features, known)
    assert decoder_input.shape == (1, 512, 2, 2)
    for index in range(1024):
        row, column = index % 4 // 2, index % 2
        assert decoder_input[0, index // 4, row, column] == mean[0, index]
        assert decoder_input[0, 256 + index // 4, row, column] == known[0, 0, index // 32, index % 32]


def test_the_map_alone_changes_the_image() -> None:
    """The same features, so the same z; one pixel of the map changes the decoder's image."""
    model = built()
    features = torch.rand(1, 32, 2, 2, generator=torch.Generator().manual_seed(0))
    known = torch.ones(1, 1, 32, 32)
    other = known.clone()
    other[:, :, 20, 7] = 0
    inputs = [joined(model, features, place) for place in (known, other)]
    assert torch.equal(inputs[0][1], inputs[1][1])
    assert int((inputs[0][0] != inputs[1][0]).sum()) == 1
    images = [model.network.decoder(decoder_input) for decoder_input, _ in inputs]  # type: ignore[operator]
    assert not torch.equal(images[0], images[1])


def test_the_network_hands_its_fourth_channel_to_the_decoder() -> None:
    model = built()
    image, known = noise_with_holes(2)
    seen: list[Tensor] = []
    model.network.inner.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))  # type: ignore[union-attr]
    model.output(image, known)
    assert torch.equal(seen[0], known)


# --- loss


@pytest.mark.parametrize("kl_weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("hole_weight", [1.0, 4.0])
def test_the_loss_is_the_summed_error_and_the_weighted_divergence(kl_weight: float, hole_weight: float) -> None:
    """Means over the images; with a weight, the error keeps the size of a sum over 3 * 32 * 32 values."""
    model = built(replace(TINY, kl_weight=kl_weight, hole_weight=hole_weight))
    image, known = noise_with_holes(3)
    model.set_training(False)
    with torch.no_grad():
        loss, figures = model.loss(image, known)
        output, mean, log_variance = model.network(torch.cat([image * known, known], 1))
    squared = (output - image).double() ** 2
    weights = torch.where(known > 0, 1.0, hole_weight).double().expand_as(image)
    error = float((weights * squared).sum() / weights.sum()) * 3 * 32 * 32
    if hole_weight == 1:
        assert error == pytest.approx(float(squared.sum((1, 2, 3)).mean()), rel=1e-9)
    divergence = float(kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean())
    assert set(figures) == {"error_sum", "kl"} == set(model.extra_metrics)
    assert float(figures["error_sum"]) == pytest.approx(error, rel=1e-5)
    assert float(figures["kl"]) == pytest.approx(divergence, rel=1e-4)
    assert float(loss) == pytest.approx(error + kl_weight * divergence, rel=1e-5)


def test_without_weight_the_divergence_moves_nothing() -> None:
    """The loss and its gradient are those of the error, for the same noise."""
    image, known = noise_with_holes(3)
    gradients = []
    for name in ("loss", "error"):
        model = built(replace(TINY, kl_weight=0.0))
        torch.manual_seed(5)
        loss = model.loss(image, known)[0] if name == "loss" else ((model.output(image, known) - image) ** 2).sum() / 3
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([weight.grad for weight in model.network.parameters()])
    for first, second in zip(*gradients, strict=True):
        assert first is not None
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


def test_a_unit_reports_both_terms() -> None:
    model = built(replace(TINY, kl_weight=3.0))
    result = model.train_unit([Batch(*noise_with_holes(2), 0.0)])
    assert set(result) == {"loss", "error_sum", "kl"}
    assert result["loss"] == pytest.approx(result["error_sum"] + 3 * result["kl"], rel=1e-5)


def test_a_large_weight_brings_the_latent_to_the_unit_gaussian(data_dir: str) -> None:
    divergences = losses_on(built(replace(TINY, kl_weight=1e4, learning_rate=5e-3)), photos_with_holes(data_dir), 30, "kl")
    assert divergences[-1] < 0.2 * divergences[0]


def test_it_learns(data_dir: str) -> None:
    errors = losses_on(built(replace(TINY, learning_rate=5e-3)), photos_with_holes(data_dir), 60, "error_sum")
    assert errors[-1] < 0.6 * errors[0]


# --- bad input


@pytest.mark.parametrize(("image_px", "latent", "area"), [(32, 1022, 4), (64, 1000, 16), (48, 64, 9)])
def test_a_latent_that_fills_no_square_is_refused(image_px: int, latent: int, area: int) -> None:
    message = f"latent must be a multiple of {area} for images of {image_px} px, but got {latent}; z and the map become a square"
    with pytest.raises(ConfigError, match=message):
        built(replace(TINY, latent=latent), image_px)


def test_an_image_that_the_strides_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="image size must be a multiple of 16, but got 40"):
        built(image_px=40)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"kl_weight": -1.0}, "kl_weight must be at least 0, but got -1.0; 0 leaves a plain autoencoder with noise"),
        ({"kl_weight": float("nan")}, "kl_weight must be at least 0, but got nan"),
        ({"latent": 0}, "latent must be at least 1, but got 0; use 1 or more"),
        ({"base_filters": 0}, "base_filters must be at least 1, but got 0"),
        ({"filter_px": 2}, "filter_px must be odd and at least 1, but got 2"),
    ],
)
def test_knobs_that_cannot_work_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CvaeConfig(**knobs)
