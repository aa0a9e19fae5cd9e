import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.reconstruction_reference import HOLE, losses_on, noise_with_holes, photos_with_holes
from trainables.data import Batch, ImageSource, Mask
from trainables.errors import ConfigError
from trainables.layers import layer_table
from trainables.progressive import Progressive, ProgressiveConfig, ProgressiveNetwork
from trainables.session import Session

TINY: dict[str, Any] = {"coarse_filters": 4, "refinement_filters": 4, "discriminator_filters": 4, "batch_images": 8}
STILL = 1e-30  # a rate that moves no float32 weight


def built(image_px: int = 32, mask: Mask = HOLE, **knobs: Any) -> Progressive:
    torch.manual_seed(0)
    return Progressive(ProgressiveConfig(**(TINY | knobs)), image_px, mask)


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, retain_graph=True))


def stage_weights(base: int, depth: int) -> int:
    """All 3x3: in, down, two dilated, up with the skipped map, out."""
    widths = [base * 2**level for level in range(depth + 1)]
    pairs = [(4, base), *pairwise(widths), *[(widths[-1], widths[-1])] * 2]
    pairs += [(widths[level + 1] + widths[level], widths[level]) for level in range(depth)] + [(base, 3)]
    return sum(9 * one * other + other for one, other in pairs)


@pytest.mark.parametrize(("coarse", "refinement", "depth"), [(4, 8, 3), (6, 4, 2)])
def test_parameters_worked_out_by_hand(coarse: int, refinement: int, depth: int) -> None:
    network = ProgressiveNetwork(ProgressiveConfig(coarse_filters=coarse, refinement_filters=refinement, depth=depth))
    found = sum(weight.numel() for weight in network.parameters())
    assert found == stage_weights(coarse, depth) + stage_weights(refinement, depth)


@pytest.mark.parametrize(("image_px", "depth"), [(32, 3), (48, 4), (64, 1)])
def test_shapes_at_other_sizes(image_px: int, depth: int) -> None:
    model = built(image_px, depth=depth)
    image, known = noise_with_holes(2, image_px)
    coarse, refined = model.stages(image, known)
    assert coarse.shape == refined.shape == image.shape
    assert float(torch.cat([coarse, refined]).detach().abs().max()) <= 1
    assert model.fill(image, known).shape == image.shape


def test_the_whole_of_a_32_px_hole_sees_known_pixels_in_both_stages() -> None:
    """The middle of the coarse output depends on pixels more than 16 px away, outside a 32 px hole."""
    model = built(64)
    seen = torch.zeros(1, 4, 64, 64, requires_grad=True)
    model.network.coarse(seen)[:, :, 32, 32].sum().backward()  # type: ignore[operator]
    assert seen.grad is not None
    rows = seen.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
    assert int(rows.min()) < 16
    assert int(rows.max()) >= 48


def test_the_refinement_sees_the_known_pixels_and_the_coarse_networks_hole() -> None:
    model = built()
    seen: list[Tensor] = []
    model.network.refinement.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    image, known = noise_with_holes(2)
    coarse, _ = model.stages(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(seen[0][:, :3][visible], (2 * image - 1)[visible])
    assert torch.equal(seen[0][:, :3][~visible], coarse[~visible])
    assert torch.equal(seen[0][:, 3:], known)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_loss_term_by_term(weight: float) -> None:
    """Means of absolute errors; the adversarial squares of each image weighted by the hole's share of their patches."""
    model = built(coarse_weight=0.5, refined_weight=2.0, adversarial_weight=weight)
    image, known = noise_with_holes(3)
    outputs = model.outputs(image, known)
    loss, figures = model.network_loss(outputs, image, known)
    truth = 2 * image - 1
    coarse, refined = (outputs[name].detach() - truth for name in ("coarse", "refined"))
    expected = 0.5 * coarse.abs().mean() + 2 * refined.abs().mean()
    assert float(figures["loss_coarse"]) == pytest.approx(float(coarse.abs().mean()), rel=1e-5)
    assert float(figures["loss_reconstruction"]) == pytest.approx(float(refined.abs().mean()), rel=1e-5)
    assert ("loss_adversarial" in figures) == (weight > 0)
    if weight:
        scores = model.networks["discriminator"](torch.where(known > 0, truth, outputs["refined"]))  # (3, 1, 4, 4)
        means = []
        for index in range(3):
            shares = (1 - known[index, 0]).reshape(4, 8, 4, 8).mean((1, 3))
            means.append((shares * (scores[index, 0] - 1) ** 2).sum() / shares.sum())
        expected = expected + weight * torch.stack(means).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_where_each_terms_gradient_goes() -> None:
    """The coarse error trains the coarse network alone; the refined error and the adversarial loss train both, and never the judge."""
    model = built()
    image, known = noise_with_holes(3)
    outputs = model.outputs(image, known)
    coarse = (outputs["coarse"] - image).abs().mean()
    refined = ((outputs["refined"] - image).abs() * (1 - known)).mean()
    adversarial = model.frozen_scores("discriminator", outputs["composite"]).mean()
    for term, reaches_refinement in ((coarse, False), (refined, True), (adversarial, True)):
        assert all(gradient is not None and bool(gradient.any()) for gradient in gradients(term, model.network.coarse))  # type: ignore[arg-type]
        found = gradients(term, model.network.refinement)  # type: ignore[arg-type]
        assert all((gradient is not None) == reaches_refinement for gradient in found)
    assert all(gradient is None for gradient in gradients(model.loss(image, known)[0], model.networks["discriminator"]))


def test_the_discriminator_is_shown_the_true_known_pixels() -> None:
    model = built()
    image, known = noise_with_holes(2)
    composite = model.outputs(image, known)["composite"]
    visible = known.expand_as(image) > 0
    assert torch.equal(composite[visible], (2 * image - 1)[visible])
    assert torch.equal(composite[~visible], model.output(image, known)[~visible])


@pytest.mark.parametrize("moving", ["network", "discriminator"])
def test_a_rate_moves_its_own_network_alone(moving: str) -> None:
    rates = {"learning_rate": STILL, "discriminator_learning_rate": STILL}
    rates["learning_rate" if moving == "network" else "discriminator_learning_rate"] = 1e-2
    model = built(**rates)
    before = {name: [weight.detach().clone() for weight in network.parameters()] for name, network in model.networks.items()}
    model.train_unit([Batch(*noise_with_holes(4), 0.0)])
    for name, network in model.networks.items():
        same = [torch.equal(old, new) for old, new in zip(before[name], network.parameters(), strict=True)]
        assert not any(same) if name == moving else all(same)


def test_weight_zero_needs_no_discriminator_and_no_whole_patches() -> None:
    model = built(36, depth=2, adversarial_weight=0.0)
    assert set(model.networks) == {"network"}
    result = model.train_unit([Batch(*noise_with_holes(2, 36), 0.0)])
    assert set(result) == set(model.extra_metrics) | {"loss"}
    assert result["loss"] == pytest.approx(result["loss_coarse"] + result["loss_reconstruction"])


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


def test_it_learns(data_dir: str) -> None:
    model = built(learning_rate=5e-3)
    losses = losses_on(model, photos_with_holes(data_dir), 30, "loss_reconstruction")
    assert losses[-1] < 0.6 * losses[0]


def test_bfloat16_is_close_to_float32() -> None:
    image, known = noise_with_holes(3)
    exact, short = (built(precision=precision).loss(image, known)[0] for precision in ("float32", "bfloat16"))
    assert float(short.detach()) == pytest.approx(float(exact.detach()), rel=0.02)


@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_a_restored_run_continues_exactly(weight: float, data_dir: str, tmp_path: Any) -> None:
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
    knobs = TINY | {"adversarial_weight": weight, "mirror": True, "decay_factor": 0.5, "decay_epochs": 1.0, "precision": "bfloat16"}
    straight, stopped, resumed = (Session.open("progressive", knobs, source, HOLE, step_images=8) for _ in range(3))
    expected = [straight.step() for _ in range(3)]
    assert [stopped.step() for _ in range(2)] == expected[:2]
    stopped.save(tmp_path)
    resumed.load(tmp_path)
    assert resumed.step() == expected[2]


def test_the_layer_table_counts_every_weight() -> None:
    with torch.device("meta"):
        model = built()
    rows = layer_table(model)
    assert sum(row.parameters for row in rows) == model.parameters
    assert {row.output for row in rows if row.filter} >= {(32, 32, 4), (16, 16, 8), (4, 4, 32), (32, 32, 3), (4, 4, 1)}


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"coarse_filters": 0}, "coarse_filters must be at least 1, but got 0"),
        ({"refinement_filters": 0}, "refinement_filters must be at least 1, but got 0"),
        ({"depth": 0}, "depth must be at least 1, but got 0"),
        ({"coarse_weight": -1.0}, "coarse_weight must be at least 0, but got -1.0"),
        ({"refined_weight": 0.0}, "refined_weight must be greater than 0, but got 0.0"),
        ({"adversarial_weight": -1.0}, "adversarial_weight must be at least 0, but got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0, but got 0.0"),
    ],
)
def test_values_that_cannot_be_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ProgressiveConfig(**knobs)


def test_a_size_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(ConfigError, match="the image size must be a multiple of 16, but got 40"):
        built(40, depth=4)
