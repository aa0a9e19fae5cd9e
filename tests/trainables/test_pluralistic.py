import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from tests.trainables.reconstruction_reference import HOLE, losses_on, noise_with_holes, photos_with_holes
from trainables.data import Batch, ImageSource, Mask
from trainables.errors import ConfigError
from trainables.layers import layer_table
from trainables.metrics import measure
from trainables.pluralistic import Pluralistic, PluralisticConfig, gaussian_divergence, noise_of, prior_sigma
from trainables.session import Session

TINY: dict[str, Any] = {"base_filters": 4, "latent": 6, "discriminator_filters": 4, "samples": 3, "batch_images": 8}
STILL = 1e-30  # a rate that moves no float32 weight, and a weight of 0 by no more than itself
JUDGES = ("discriminator", "reconstruction_discriminator")


def built(image_px: int = 32, mask: Mask = HOLE, **knobs: Any) -> Pluralistic:
    torch.manual_seed(0)
    return Pluralistic(PluralisticConfig(**(TINY | knobs)), image_px, mask)


def reached(term: Tensor, network: nn.Module) -> bool:
    """Whether a term's gradient comes to any weight of a network."""
    found = torch.autograd.grad(term, list(network.parameters()), allow_unused=True, retain_graph=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in found)


def outputs_of(model: Pluralistic, image: Tensor, known: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(4)
    return model.outputs(image, known)


# --- the Gaussians


def test_the_divergence_is_the_one_of_torchs_distributions() -> None:
    mean, log_variance, other_mean, other_log_variance = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(other_mean, (other_log_variance / 2).exp()))
    torch.testing.assert_close(gaussian_divergence(mean, log_variance, other_mean, other_log_variance), expected, rtol=1e-4, atol=1e-5)


def test_the_divergence_by_hand() -> None:
    """Of N(1, 1) from N(0, 4): (1/4 + 1/4 - 1 + ln 4) / 2; of equal Gaussians 0."""
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert float(gaussian_divergence(one, zero, zero, torch.tensor(math.log(4)))) == pytest.approx((0.5 - 1 + math.log(4)) / 2)
    assert float(gaussian_divergence(one, one, one, one)) == 0


def test_the_fixed_priors_deviation_grows_with_the_hole() -> None:
    known = torch.ones(4, 1, 10, 10)
    for index, hole_rows in enumerate((0, 2, 5, 9)):
        known[index, :, :hole_rows] = 0
    sigma = prior_sigma(known)
    assert sigma.shape == (4, 1, 1, 1)
    expected = [1 / (1 + math.exp(8 * (share - 0.8))) for share in (1.0, 0.8, 0.5, 0.1)]
    assert sigma.flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert all(small < large for small, large in pairwise(expected))


def test_both_divergences_of_a_batch() -> None:
    model = built()
    image, known = noise_with_holes(3)
    truth = 2 * image - 1
    hidden = torch.cat([truth * (1 - known), 1 - known], 1)
    with torch.no_grad():
        posterior = model.network.posterior(model.network.features(hidden)[-1])
        prior = model.network.prior(model.network.features(torch.cat([truth * known, known], 1))[-1])
        found = outputs_of(model, image, known)
    q, p = (Normal(mean, (log_variance / 2).exp()) for mean, log_variance in (posterior, prior))
    share = known.mean((1, 2, 3), keepdim=True)
    fixed = Normal(torch.zeros_like(posterior[0]), 1 / (1 + (8 * (share - 0.8)).exp()))
    assert float(found["kl_hole"]) == pytest.approx(float(kl_divergence(q, fixed).mean()), rel=1e-4)
    assert float(found["kl_visible"]) == pytest.approx(float(kl_divergence(q, p).mean()), rel=1e-3)


# --- the loss


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_term_by_term(weight: float) -> None:
    model = built(kl_weight=3.0, reconstruction_weight=5.0, adversarial_weight=weight, fill_with="mean")
    image, known = noise_with_holes(3)
    outputs = outputs_of(model, image, known)
    loss, figures = model.network_loss(outputs, image, known)
    truth = 2 * image - 1
    whole = (outputs["reconstructed"].detach() - truth).abs().mean()
    visible = (outputs["generated"].detach() - truth).abs()[known.expand_as(image) > 0].sum() / image.numel()
    expected = 3 * (outputs["kl_hole"] + outputs["kl_visible"]) + 5 * (whole + visible)
    assert float(figures["loss_reconstruction"]) == pytest.approx(float(whole), rel=1e-5)
    assert float(figures["loss_visible"]) == pytest.approx(float(visible), rel=1e-5)
    assert ("loss_adversarial" in figures) == (weight > 0)
    if weight:
        generated, reconstructed = model.networks["discriminator"], model.networks["reconstruction_discriminator"]
        adversarial = ((generated(outputs["generated"]) - 1) ** 2).mean()
        adversarial = adversarial + ((reconstructed(outputs["reconstructed"]) - reconstructed(truth)) ** 2).mean()
        assert float(figures["loss_adversarial"]) == pytest.approx(float(adversarial.detach()), rel=1e-4)
        expected = expected + weight * adversarial
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_the_generative_paths_hole_is_free_of_the_reconstruction_loss() -> None:
    model = built(adversarial_weight=0.0, fill_with="mean")
    image, known = noise_with_holes(3)
    outputs = outputs_of(model, image, known)
    hole = known.expand_as(image) == 0
    loss = model.network_loss(outputs, image, known)[0]
    free = model.network_loss(outputs | {"generated": torch.where(hole, 0.3, outputs["generated"])}, image, known)[0]
    bound = model.network_loss(outputs | {"reconstructed": torch.where(hole, 0.3, outputs["reconstructed"])}, image, known)[0]
    assert float(free.detach()) == float(loss.detach())
    assert float(bound.detach()) != float(loss.detach())


def test_what_each_terms_gradient_reaches() -> None:
    """The posterior learns from the reconstructive path, the prior from the generative one; q stands still in KL(q || p)."""
    model = built()
    image, known = noise_with_holes(3)
    outputs = outputs_of(model, image, known)
    parts = {"posterior": model.network.posterior, "prior": model.network.prior, "generator": model.network.generator}
    reaches = {
        "reconstructed": {"posterior", "generator"},
        "generated": {"prior", "generator"},
        "kl_hole": {"posterior"},
        "kl_visible": {"prior"},
    }
    for term, expected in reaches.items():
        assert {name for name, part in parts.items() if reached(outputs[term].mean(), part)} == expected, term
        assert reached(outputs[term].mean(), model.network.encoder), term
    loss = model.network_loss(outputs, image, known)[0]
    assert not any(reached(loss, model.networks[name]) for name in JUDGES)


def test_each_discriminator_judges_its_own_path_and_whole_outputs() -> None:
    model = built(learning_rate=STILL, discriminator_learning_rate=STILL)
    image, known = noise_with_holes(3)
    seen: dict[str, list[Tensor]] = {name: [] for name in JUDGES}
    for name in JUDGES:
        model.networks[name].register_forward_pre_hook(lambda module, inputs, name=name: seen[name].append(inputs[0].detach()))
    torch.manual_seed(4)
    model.train_unit([Batch(image, known, 0.0)])
    outputs, truth = outputs_of(model, image, known), 2 * image - 1
    for name, shown in (("discriminator", "generated"), ("reconstruction_discriminator", "reconstructed")):
        torch.testing.assert_close(seen[name][0], truth)
        torch.testing.assert_close(seen[name][1], outputs[shown].detach())


@pytest.mark.parametrize("moving", ["network", "discriminators"])
def test_a_rate_moves_its_own_side_alone(moving: str) -> None:
    rates = {"learning_rate": STILL, "discriminator_learning_rate": STILL}
    rates["learning_rate" if moving == "network" else "discriminator_learning_rate"] = 1e-2
    model = built(**rates)
    before = {name: [weight.detach().clone() for weight in network.parameters()] for name, network in model.networks.items()}
    model.train_unit([Batch(*noise_with_holes(4), 0.0)] * 2)
    for name, network in model.networks.items():
        same = [bool(((new - old).abs() < 1e-20).all()) for old, new in zip(before[name], network.parameters(), strict=True)]
        assert not any(same) if (name == "network") == (moving == "network") else all(same), name


def test_weight_zero_leaves_both_discriminators_out() -> None:
    model = built(adversarial_weight=0.0, fill_with="mean", kl_weight=1.0, reconstruction_weight=1.0)
    assert set(model.networks) == {"network"}
    result = model.train_unit([Batch(*noise_with_holes(2), 0.0)])
    parts = ("loss_reconstruction", "loss_visible", "kl_hole", "kl_visible")
    assert result["loss"] == pytest.approx(sum(result[name] for name in parts), rel=1e-5)
    assert result["loss_discriminator"] == result["loss_adversarial"] == result["collapsed"] == 0


def test_it_learns(data_dir: str) -> None:
    model = built(learning_rate=5e-3, kl_weight=1.0, adversarial_weight=0.1)
    losses = losses_on(model, photos_with_holes(data_dir), 40, "loss_reconstruction")
    assert losses[-1] < 0.6 * losses[0]


# --- fills


def test_draws_differ_in_the_hole_and_nowhere_else() -> None:
    model = built()
    image, known = noise_with_holes(3)
    draws = model.draws(image, known, range(3))
    assert draws.shape == (3, 3, 3, 32, 32)
    hole = known.expand_as(image) == 0
    for index, one in enumerate(draws):
        assert torch.equal(one[~hole], image[~hole])
        for other in draws[index + 1 :]:
            assert float((one - other)[hole].ne(0).float().mean()) > 0.9
    assert 0 <= float(draws.min()) <= float(draws.max()) <= 1


def test_draws_follow_from_the_images_place_alone() -> None:
    model = built()
    image, known = noise_with_holes(3)
    together = model.draws(image, known, [5, 6, 7])
    torch.manual_seed(99)
    torch.testing.assert_close(model.draws(image[1:], known[1:], [6, 7]), together[:, 1:])
    elsewhere = model.draws(image, known, [6, 7, 8])
    assert not torch.allclose(elsewhere, together)
    assert torch.equal(model.draws(torch.where(known > 0, image, 0.9), known, [5, 6, 7])[:, :, :, 0], together[:, :, :, 0])


def test_noise_has_unit_variance_and_is_each_places_own() -> None:
    noise = noise_of(range(40), 5, (6, 4, 4))
    assert noise.shape == (5, 40, 6, 4, 4)
    assert float(noise.mean()) == pytest.approx(0, abs=5 / math.sqrt(noise.numel()))
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    assert float(torch.corrcoef(noise.transpose(0, 1).flatten(1)).fill_diagonal_(0).abs().max()) < 0.25
    assert torch.equal(noise_of([7, 7], 5, (6, 4, 4)), noise[:, [7, 7]])


def test_the_mean_fill_is_the_generators_image_of_the_priors_mean() -> None:
    model = built(fill_with="mean")
    image, known = noise_with_holes(3)
    with torch.no_grad():
        features = model.network.features(torch.cat([(2 * image - 1) * known, known], 1))
        expected = (model.network.generator(model.network.prior(features[-1])[0], features, known) + 1) / 2
        torch.testing.assert_close(model.predict(image * known, known), expected)
    assert torch.equal(model.fill(image, known), model.fill(image, known))


def test_the_best_fill_is_the_draw_with_the_greatest_score() -> None:
    model = built(samples=4)
    image, known = noise_with_holes(3)
    draws = model.draws(image * known, known, [0, 0, 0])
    with torch.no_grad():
        scores = torch.stack([model.networks["discriminator"](2 * one - 1).mean((1, 2, 3)) for one in draws])
        found = model.predict(image * known, known)
    for index in range(3):
        assert torch.equal(found[index], draws[int(scores[:, index].argmax()), index])
    alone = model.predict(image[2:] * known[2:], known[2:])
    torch.testing.assert_close(alone, found[2:])


def test_fills_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    image, known = noise_with_holes(5)
    whole = {fill_with: built(fill_with=fill_with).fill(image, known) for fill_with in ("mean", "best")}
    measured = built().measure_fills(image, known, 3)
    monkeypatch.setattr("trainables.pluralistic.FILLED_TOGETHER", 2)
    for fill_with, expected in whole.items():
        torch.testing.assert_close(built(fill_with=fill_with).fill(image, known), expected)
    for name, value in built().measure_fills(image, known, 3).items():
        torch.testing.assert_close(value, measured[name], rtol=1e-4, atol=1e-5)


def test_what_is_measured_of_the_draws() -> None:
    model = built()
    image, known = noise_with_holes(3)
    found = model.measure_fills(image, known, 10)
    draws = model.draws(image, known, [10, 11, 12])
    psnr = torch.stack([measure(one, image, known)["psnr_hole"] for one in draws])
    torch.testing.assert_close(found["psnr_hole_best"], psnr.max(0).values)
    torch.testing.assert_close(found["psnr_hole_mean"], psnr.mean(0))
    for index in range(3):
        hole = known[index].expand(3, -1, -1) == 0
        inside = [one[index][hole] for one in draws]
        pairs = [(inside[one] - inside[other]).abs().mean() for one, other in ((0, 1), (0, 2), (1, 2))]
        assert float(found["diversity_hole"][index]) == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-4)


def test_one_draw_has_no_diversity() -> None:
    found = built(samples=1).measure_fills(*noise_with_holes(2), 0)
    assert torch.equal(found["psnr_hole_best"], found["psnr_hole_mean"])
    assert found["diversity_hole"].tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["centre", "random_square", "random_rectangle", "strokes", "irregular"])
def test_every_kind_of_hole_is_filled_and_the_rest_is_kept(kind: Any) -> None:
    mask = Mask(kind, 12)
    model = built(mask=mask)
    image, known = noise_with_holes(3, mask=mask)
    filled = model.fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert torch.equal(filled, model.fill(torch.where(visible, image, 0.7), known))
    assert math.isfinite(model.train_unit([Batch(image, known, 0.0)])["loss"])


# --- runs


def test_evaluations_repeat_and_a_restored_run_continues_exactly(data_dir: str, tmp_path: Path) -> None:
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
    knobs = TINY | {"mirror": True, "decay_factor": 0.5, "decay_epochs": 1.0, "precision": "bfloat16"}
    straight, stopped, resumed = (Session.open("pluralistic", knobs, source, HOLE, step_images=8) for _ in range(3))
    expected = [straight.step() for _ in range(3)]
    assert straight.evaluate("validation") == straight.evaluate("validation")
    assert {"psnr_hole_best", "psnr_hole_mean", "diversity_hole"} <= set(expected[0])
    assert expected[0]["psnr_hole_best"] >= expected[0]["psnr_hole_mean"]
    assert [stopped.step() for _ in range(2)] == expected[:2]
    stopped.save(tmp_path)
    resumed.load(tmp_path)
    assert resumed.step() == expected[2]


def test_the_sessions_figures_are_means_over_the_split(data_dir: str) -> None:
    session = Session.open("pluralistic", TINY, ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir), Mask("centre", 12))
    image = torch.from_numpy(np.array(session.images.validation)).permute(0, 3, 1, 2).float() / 255
    known = session.model.mask.sample(8, 32, np.random.default_rng(0))
    assert isinstance(session.model, Pluralistic)
    found = session.evaluate("validation")
    for name, values in session.model.measure_fills(image, known, 0).items():
        assert found[name] == pytest.approx(float(values.mean()), rel=1e-4)


def test_the_layer_table_counts_every_weight_but_the_draws() -> None:
    with torch.device("meta"):
        model = built()
    rows = layer_table(model)
    assert sum(row.parameters for row in rows) == model.parameters
    assert {row.network for row in rows} == {"network", *JUDGES}


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"base_filters": 0}, "base_filters must be at least 1, but got 0"),
        ({"latent": 0}, "latent must be at least 1, but got 0"),
        ({"samples": 0}, "samples must be at least 1, but got 0"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0, but got -1.0"),
        ({"reconstruction_weight": -1.0}, "reconstruction_weight must be at least 0, but got -1.0"),
        ({"fill_with": "worst"}, "fill_with must be mean or best, but got 'worst'"),
        ({"adversarial_weight": 0.0}, 'fill_with must be "mean" without discriminators, but got "best"'),
    ],
)
def test_values_that_cannot_be_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PluralisticConfig(**knobs)


@pytest.mark.parametrize("image_px", [8, 36, 40 * 2 + 2])
def test_a_size_that_cannot_be_halved_to_4_to_7_px_is_refused(image_px: int) -> None:
    with pytest.raises(ConfigError, match=f"the image size must be 4, 5, 6 or 7 px doubled at least twice, but got {image_px}"):
        built(image_px, Mask("centre", 4))
