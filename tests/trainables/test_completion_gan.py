import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.reconstruction_reference import HOLE, layer_outputs, losses_on, noise_with_holes, photos_with_holes
from trainables.completion_gan import CompletionGan, CompletionGanConfig, HoleDiscriminator, signed
from trainables.data import Batch, ImageSource
from trainables.errors import ConfigError
from trainables.session import Session

TINY: dict[str, Any] = {"filters": 4, "autoencoder_filters": 2, "batch_images": 8, "discriminator_dropout": 0.0}
STILL = 1e-30  # a rate that moves no float32 weight


def built(image_px: int = 32, **knobs: Any) -> CompletionGan:
    torch.manual_seed(0)
    return CompletionGan(CompletionGanConfig(**(TINY | knobs)), image_px, HOLE)


def softplus(scores: Tensor) -> Tensor:
    return torch.log1p(scores.exp())


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor]:
    """Of every weight; None where the loss does not reach it."""
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in found)
    return list(found)


def assert_equal_lists(first: list[Tensor], second: list[Tensor]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def weights_of(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def scores_of(model: CompletionGan, name: str, seen: Tensor) -> Tensor:
    """Logits from the sigmoid's probability."""
    probability = model.networks[name](seen).flatten().double()
    return torch.log(probability / (1 - probability)).float()


def judged_by(model: CompletionGan, name: str = "discriminator") -> list[Tensor]:
    """A list that fills with what a discriminator is given."""
    seen: list[Tensor] = []
    trunk = model.networks[name].trunk
    trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))  # type: ignore[union-attr]
    return seen


# --- layers


def test_table_3_7_row_by_row() -> None:
    model = CompletionGan(CompletionGanConfig(), 32, HOLE)
    image, known = noise_with_holes(1)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (32, 32, 64)), ("ReLU", (32, 32, 64))] * 6,
        *[("Conv2d", (32, 32, 3)), ("Tanh", (32, 32, 3))],
    ]
    assert {module.kernel_size for module in model.network.modules() if isinstance(module, nn.Conv2d)} == {(5, 5)}


def test_table_3_8_row_by_row() -> None:
    network = HoleDiscriminator(32, 0.5)
    assert layer_outputs(network, lambda: network(torch.zeros(1, 3, 32, 32))) == [
        *[("Conv2d", (30, 30, 64)), ("ReLU", (30, 30, 64))],
        *[("Conv2d", (15, 15, 64)), ("ReLU", (15, 15, 64))],
        *[("Conv2d", (8, 8, 64)), ("ReLU", (8, 8, 64))],
        *[("Conv2d", (4, 4, 64)), ("ReLU", (4, 4, 64))],
        *[("Conv2d", (2, 2, 64)), ("ReLU", (2, 2, 64))],
        *[("Flatten", (256,)), ("Dropout", (256,))],
        *[("Linear", (1,)), ("Sigmoid", (1,))],
    ]


def test_the_autoencoder_generator_row_by_row() -> None:
    """Section 3.4.1: 4 + 4 layers of stride 2 and 5x5 filters, ReLU, a convolution with tanh."""
    model = CompletionGan(CompletionGanConfig(generator="autoencoder"), 32, HOLE)
    image, known = noise_with_holes(1)
    assert layer_outputs(model.network, lambda: model.output(image, known)) == [
        *[("Conv2d", (16, 16, 32)), ("ReLU", (16, 16, 32)), ("Conv2d", (8, 8, 64)), ("ReLU", (8, 8, 64))],
        *[("Conv2d", (4, 4, 128)), ("ReLU", (4, 4, 128)), ("Conv2d", (2, 2, 256)), ("ReLU", (2, 2, 256))],
        *[("ConvTranspose2d", (4, 4, 256)), ("ReLU", (4, 4, 256)), ("ConvTranspose2d", (8, 8, 128)), ("ReLU", (8, 8, 128))],
        *[("ConvTranspose2d", (16, 16, 64)), ("ReLU", (16, 16, 64)), ("ConvTranspose2d", (32, 32, 32)), ("ReLU", (32, 32, 32))],
        *[("Conv2d", (32, 32, 3)), ("Tanh", (32, 32, 3))],
    ]
    down = (5 * 5 * 4 * 32 + 32) + (5 * 5 * 32 * 64 + 64) + (5 * 5 * 64 * 128 + 128) + (5 * 5 * 128 * 256 + 256)
    up = (5 * 5 * 256 * 256 + 256) + (5 * 5 * 256 * 128 + 128) + (5 * 5 * 128 * 64 + 64) + (5 * 5 * 64 * 32 + 32)
    assert sum(weight.numel() for weight in model.network.parameters()) == down + up + 5 * 5 * 32 * 3 + 3


@pytest.mark.parametrize("known_discriminator", [False, True])
def test_parameters_worked_out_by_hand(known_discriminator: bool) -> None:
    generator = (5 * 5 * 4 * 64 + 64) + 5 * (5 * 5 * 64 * 64 + 64) + (5 * 5 * 64 * 3 + 3)
    discriminator = (3 * 3 * 3 * 64 + 64) + 4 * (3 * 3 * 64 * 64 + 64) + (2 * 2 * 64 + 1)
    model = CompletionGan(CompletionGanConfig(known_discriminator=known_discriminator), 32, HOLE)
    assert set(model.networks) == {"network", "discriminator"} | ({"known_discriminator"} if known_discriminator else set())
    assert set(model.optimizers) == set(model.networks)
    assert model.parameters == generator + (1 + known_discriminator) * discriminator


@pytest.mark.parametrize("image_px", [32, 48, 64])
def test_discriminators_of_other_sizes(image_px: int) -> None:
    network = HoleDiscriminator(image_px, 0.0)
    probability = network(torch.rand(5, 3, image_px, image_px))
    assert probability.shape == (5, 1)
    assert bool(((probability > 0) & (probability < 1)).all())
    assert [layer.p for layer in HoleDiscriminator(32, 0.3).modules() if isinstance(layer, nn.Dropout)] == [0.3]


# --- range


@pytest.mark.parametrize("generator", ["direct", "autoencoder"])
def test_outputs_lie_in_minus_one_to_one_and_predictions_in_zero_to_one(generator: str) -> None:
    model = built(generator=generator)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(8)  # so that the tanh saturates on both sides
    image, known = noise_with_holes(2)
    output, predicted = model.output(image, known).detach(), model.predict(image, known).detach()
    assert output.shape == image.shape
    assert -1 <= float(output.min()) < -0.5
    assert 0.5 < float(output.max()) <= 1
    torch.testing.assert_close(predicted, 0.5 + output / 2)
    assert float(predicted.min()) >= 0
    assert float(predicted.max()) <= 1


def test_signed_runs_from_minus_one_to_one() -> None:
    assert signed(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist() == [-1.0, -0.5, 0.0, 1.0]


def test_the_hole_is_mid_grey_for_the_generator() -> None:
    model = built()
    image, known = noise_with_holes(2)
    seen = model.visible(image, known)
    hole = known.expand_as(image) == 0
    assert bool((seen[:, :3][hole] == 0).all())
    assert torch.equal(seen[:, :3][~hole], (2 * image - 1)[~hole])
    assert torch.equal(seen[:, 3:], known)


# --- the squared error


@pytest.mark.parametrize(("hole_weight", "counted"), [(0.0, "known"), (1.0, "image")])
def test_which_pixels_the_squared_error_counts(hole_weight: float, counted: str) -> None:
    """By default the known ones alone, a mean over them; with weight 1 all of them."""
    model = built(hole_weight=hole_weight)
    image, known = noise_with_holes(3)
    output = model.output(image, known).detach()
    visible = known.expand_as(image) > 0
    squared = (output - (2 * image - 1)) ** 2
    expected = squared[visible].mean() if counted == "known" else squared.mean()
    first = model.generator_loss(output, image, known)[1]["loss_reconstruction"]
    torch.testing.assert_close(first, expected)
    other = model.generator_loss(torch.where(visible, output, -output), image, known)[1]["loss_reconstruction"]
    assert torch.equal(first, other) == (counted == "known")
    other = model.generator_loss(torch.where(visible, -output, output), image, known)[1]["loss_reconstruction"]
    assert not torch.equal(first, other)


def test_the_default_counts_known_pixels_alone() -> None:
    assert CompletionGanConfig().hole_weight == 0


# --- alpha


@pytest.mark.parametrize("alpha", [0.1, 0.7])
@pytest.mark.parametrize("known_discriminator", [False, True])
def test_the_generators_loss_term_by_term(alpha: float, known_discriminator: bool) -> None:
    model = built(alpha=alpha, known_discriminator=known_discriminator)
    image, known = noise_with_holes(3)
    output = model.output(image, known)
    loss, terms = model.generator_loss(output, image, known)
    visible = known.expand_as(image) > 0
    squared = ((output - signed(image))[visible] ** 2).mean()
    adversarial = softplus(-scores_of(model, "discriminator", output * (1 - known))).mean()
    if known_discriminator:
        adversarial = (adversarial + softplus(-scores_of(model, "known_discriminator", output * known)).mean()) / 2
    torch.testing.assert_close(terms["loss_reconstruction"], squared.detach())
    torch.testing.assert_close(terms["loss_adversarial"], adversarial.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, alpha * adversarial + (1 - alpha) * squared, rtol=1e-4, atol=1e-5)


def test_alpha_zero_leaves_the_squared_error_alone() -> None:
    model = built(alpha=0.0)
    image, known = noise_with_holes(3)
    output = model.output(image, known)
    expected = gradients(model.weighted_error(output, signed(image), known), model.network)
    assert_equal_lists(gradients(model.loss(image, known)[0], model.network), expected)


def test_alpha_one_leaves_the_adversarial_loss_alone() -> None:
    """The gradient is that of the cross-entropy, and truths that differ in the known pixels change nothing."""
    model = built(alpha=1.0)
    image, known = noise_with_holes(3)
    output = model.output(image, known)
    scores = model.score("discriminator", output * (1 - known))
    expected = gradients(nn.functional.binary_cross_entropy_with_logits(scores, torch.ones(3)), model.network)
    assert_equal_lists(gradients(model.loss(image, known)[0], model.network), expected)
    output = model.output(image, known)
    assert_equal_lists(gradients(model.generator_loss(output, 1 - image, known)[0], model.network), expected)


def test_at_alpha_zero_a_broken_discriminator_does_not_reach_the_generator() -> None:
    model, sound = built(alpha=0.0), built(alpha=0.0)
    with torch.no_grad():
        for weight in model.networks["discriminator"].parameters():
            weight.fill_(math.nan)
    batch = Batch(*noise_with_holes(3), 0.0)
    result = model.train_unit([batch])
    assert math.isfinite(result["loss"])
    assert math.isnan(result["loss_adversarial"])
    sound.train_unit([batch])
    assert_equal_lists(weights_of(model.network), weights_of(sound.network))


def test_at_alpha_one_an_infinite_squared_error_does_not_reach_the_generator() -> None:
    model = built(alpha=1.0)
    image, known = noise_with_holes(2)
    image[:, :, 0, 0] = 1e30
    known[:, :, 0, 0] = 1
    output = torch.zeros(2, 3, 32, 32, requires_grad=True)
    loss, terms = model.generator_loss(output, image, known)
    (gradient,) = torch.autograd.grad(loss, output)
    assert not math.isfinite(float(terms["loss_reconstruction"]))
    assert bool(torch.isfinite(gradient).all())


# --- what discriminators see


def test_what_each_discriminator_sees_pixel_by_pixel() -> None:
    image, known = noise_with_holes(2)
    output = 2 * noise_with_holes(2, seed=5)[0] - 1
    seen = {
        "hole": built(discriminator_sees="hole").judged("discriminator", output, image, known),
        "image": built(discriminator_sees="image").judged("discriminator", output, image, known),
        "known": built(known_discriminator=True).judged("known_discriminator", output, image, known),
    }
    for index in range(2):
        for row in range(32):
            for column in range(32):
                place = (index, slice(None), row, column)
                made, true = output[place], 2 * image[place] - 1
                if known[index, 0, row, column] > 0:
                    expected = {"hole": torch.zeros(3), "image": true, "known": made}
                else:
                    expected = {"hole": made, "image": made, "known": torch.zeros(3)}
                for name, colours in expected.items():
                    assert seen[name][place].tolist() == colours.tolist()


@pytest.mark.parametrize("sees", ["hole", "image"])
def test_training_shows_the_truth_the_filled_and_the_filled_again(sees: str) -> None:
    """The discriminator's step sees true and filled images, the generator's the filled ones; all of the same output."""
    model = built(discriminator_sees=sees, known_discriminator=True)
    image, known = noise_with_holes(3)
    main, second = judged_by(model), judged_by(model, "known_discriminator")
    output = model.output(image, known).detach()
    model.train_unit([Batch(image, known, 0.0)])
    truth, hole = 2 * image - 1, 1 - known
    around = truth * known if sees == "image" else torch.zeros_like(truth)
    for seen, expected in (
        (main, [truth * hole + around, output * hole + around, output * hole + around]),
        (second, [truth * known, output * known, output * known]),
    ):
        assert len(seen) == 3
        for one, other in zip(seen, expected, strict=True):
            torch.testing.assert_close(one, other)


# --- steps


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_discriminators_loss_with_smoothed_labels(smoothing: float) -> None:
    """Cross-entropy of label y at score s: softplus(s) - y s. Means over both kinds of image, then their sum."""
    model = built(label_smoothing=smoothing)
    image, known = noise_with_holes(4)
    hole = 1 - known
    with torch.no_grad():
        real = scores_of(model, "discriminator", signed(image) * hole)
        fake = scores_of(model, "discriminator", model.output(image, known) * hole)
    expected = (softplus(real) - (1 - smoothing) * real).mean() + softplus(fake).mean()
    result = model.train_unit([Batch(image, known, 0.0)])
    assert result["loss_discriminator"] == pytest.approx(float(expected), rel=1e-5)
    assert result["gap_probability"] == pytest.approx(float(real.sigmoid().mean() - fake.sigmoid().mean()), abs=1e-5)
    assert result["accuracy_real"] == pytest.approx(float((real > 0).float().mean()))
    assert result["accuracy_fake"] == pytest.approx(float((fake < 0).float().mean()))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_each_step_moves_its_own_networks_alone(alpha: float) -> None:
    """After a whole iteration the gradients are those of each network's own loss, though both went through the other network too."""
    model = built(alpha=alpha, known_discriminator=True, learning_rate=STILL, discriminator_learning_rate=STILL)
    image, known = noise_with_holes(4)
    expected = gradients(model.loss(image, known)[0], model.network)
    fake = model.output(image, known).detach()
    for name in model.discriminators:
        share = known if name == "known_discriminator" else 1 - known
        real_scores, fake_scores = model.score(name, signed(image) * share), model.score(name, fake * share)
        loss = softplus(-real_scores).mean() + softplus(fake_scores).mean()
        expected += gradients(loss, model.networks[name])
    model.train_unit([Batch(image, known, 0.0)])
    found = [weight.grad for network in model.networks.values() for weight in network.parameters()]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("moving", ["network", "discriminator"])
def test_a_rate_moves_its_own_network_alone(moving: str) -> None:
    rates: dict[str, Any] = {"learning_rate": STILL, "discriminator_learning_rate": STILL}
    rates["learning_rate" if moving == "network" else "discriminator_learning_rate"] = 1e-2
    model = built(alpha=0.5, **rates)
    before = {name: weights_of(network) for name, network in model.networks.items()}
    model.train_unit([Batch(*noise_with_holes(4), 0.0)])
    for name, network in model.networks.items():
        same = [torch.equal(old, new) for old, new in zip(before[name], weights_of(network), strict=True)]
        assert not any(same) if name == moving else all(same)


def test_the_generator_is_judged_by_the_discriminator_that_has_just_moved() -> None:
    model = built(alpha=1.0, discriminator_learning_rate=1e-2, learning_rate=STILL)
    image, known = noise_with_holes(4)
    first = model.train_unit([Batch(image, known, 0.0)])["loss_adversarial"]
    assert float(model.loss(image, known)[0].detach()) == pytest.approx(first, rel=1e-5)
    assert float(built(alpha=1.0).loss(image, known)[0].detach()) != pytest.approx(first, rel=1e-5)


def test_the_discriminators_take_so_many_steps_for_one_of_the_generator() -> None:
    model = built(discriminator_steps=3, known_discriminator=True)
    model.train_unit([Batch(*noise_with_holes(2, seed=seed), 0.0) for seed in range(2)])
    steps = {
        name: {int(state["step"]) for state in optimizer.state_dict()["state"].values()} for name, optimizer in model.optimizers.items()
    }
    assert steps == {"network": {2}, "discriminator": {6}, "known_discriminator": {6}}


@pytest.mark.parametrize(("epoch", "factor"), [(1.9, 1.0), (4.0, 0.25)])
def test_both_rates_decay(epoch: float, factor: float) -> None:
    model = built(learning_rate=0.01, discriminator_learning_rate=0.004, decay_factor=0.5, decay_epochs=2.0, known_discriminator=True)
    model.train_unit([Batch(*noise_with_holes(2), epoch)])
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in model.optimizers.items()}
    assert rates == pytest.approx({"network": 0.01 * factor, "discriminator": 0.004 * factor, "known_discriminator": 0.004 * factor})


def test_figures_of_two_discriminators_are_means() -> None:
    """Equal discriminators of which one sees the hole and one the rest."""
    image, known = noise_with_holes(4)
    model = built(known_discriminator=True)
    model.networks["known_discriminator"].load_state_dict(model.networks["discriminator"].state_dict())
    with torch.no_grad():
        output = model.output(image, known)
        gaps = []
        for share in (1 - known, known):
            real, fake = (model.networks["discriminator"](picture * share).mean() for picture in (signed(image), output))
            gaps.append(float(real - fake))
    result = model.train_unit([Batch(image, known, 0.0)])
    assert result["gap_probability"] == pytest.approx(sum(gaps) / 2, abs=1e-5)


def test_the_discriminator_learns_an_easy_task(data_dir: str) -> None:
    """A generator that stands still: soon all true holes are told from all filled ones."""
    model = built(learning_rate=STILL, discriminator_learning_rate=2e-3, alpha=1.0)
    batch = photos_with_holes(data_dir)
    result = [model.train_unit([batch]) for _ in range(40)][-1]
    assert result["accuracy_real"] == result["accuracy_fake"] == 1
    assert result["gap_probability"] > 0.8


@pytest.mark.parametrize("generator", ["direct", "autoencoder"])
def test_the_generator_learns(generator: str, data_dir: str) -> None:
    model = built(generator=generator, learning_rate=5e-3, filters=8, autoencoder_filters=4)
    losses = losses_on(model, photos_with_holes(data_dir), 30, "loss_reconstruction")
    assert losses[-1] < 0.65 * losses[0]


# --- collapse


def undecided(patience: int = 3) -> CompletionGan:
    """A discriminator that gives every image the same score, so that the generator wins each evaluation."""
    model = built(collapse_evaluations=patience, discriminator_learning_rate=STILL)
    nn.init.zeros_(model.networks["discriminator"].trunk[-1].weight)  # type: ignore[index, union-attr]
    return model


def test_the_game_collapses_after_so_many_lost_evaluations() -> None:
    model, batch = undecided(), Batch(*noise_with_holes(2), 0.0)
    assert losses_on(model, batch, 4, "collapsed") == [0.0, 0.0, 1.0, 1.0]
    assert model.collapse_reason == "the generator won 3 evaluations in a row"


def test_a_discriminator_that_is_always_right_wins() -> None:
    """True images are white, the generator's are not; the dense layer's own training makes it sure of that."""
    model = built(learning_rate=STILL, discriminator_learning_rate=5e-3, collapse_evaluations=2)
    batch = Batch(torch.ones(4, 3, 32, 32), noise_with_holes(4)[1], 0.0)
    losses_on(model, batch, 40)
    assert model.game.winner == "the discriminator"
    assert "evaluations in a row" in model.collapse_reason


def test_a_restored_game_goes_on_counting() -> None:
    first, batch = undecided(), Batch(*noise_with_holes(2), 0.0)
    assert losses_on(first, batch, 2, "collapsed") == [0.0, 0.0]
    state = copy.deepcopy(first.state_dict())
    second = undecided()
    second.load_state_dict(state)
    assert second.collapse_reason == ""
    assert losses_on(second, batch, 1, "collapsed") == [1.0]
    third = undecided()
    third.load_state_dict(second.state_dict())
    assert third.collapse_reason == second.collapse_reason == "the generator won 3 evaluations in a row"


def test_the_best_weights_come_back_without_the_game() -> None:
    collapsed, model = undecided(patience=1), undecided(patience=1)
    losses_on(collapsed, Batch(*noise_with_holes(2), 0.0), 1)
    model.load_state_dict({"networks": collapsed.state_dict()["networks"]}, weights_only=True)
    assert model.collapse_reason == ""
    assert_equal_lists(weights_of(model.network), weights_of(collapsed.network))


def test_a_figure_that_is_not_finite_ends_the_game() -> None:
    model = built()
    with torch.no_grad():
        next(model.networks["discriminator"].parameters()).fill_(math.nan)
    result = model.train_unit([Batch(*noise_with_holes(2), 0.0)])
    assert result["collapsed"] == 1
    assert "loss_discriminator" in model.collapse_reason
    assert "not finite" in model.collapse_reason


def test_a_collapsed_session_is_restored_as_one(data_dir: str, tmp_path: Path) -> None:
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
    knobs = TINY | {"collapse_evaluations": 1, "discriminator_learning_rate": STILL, "label_smoothing": 0.5}
    first, second = (Session.open("completion_gan", knobs, source, HOLE) for _ in range(2))
    nn.init.zeros_(first.model.networks["discriminator"].trunk[-1].weight)  # type: ignore[index, union-attr]
    assert first.step()["collapsed"] == 1
    first.save(tmp_path)
    assert second.collapse_reason == ""
    second.load(tmp_path)
    assert second.collapse_reason == first.collapse_reason == "the generator won an evaluation"


# --- bad input


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"alpha": -0.1}, r"alpha must lie in \[0, 1\], but got -0.1; choose a value in that range"),
        ({"alpha": 1.1}, r"alpha must lie in \[0, 1\], but got 1.1"),
        ({"alpha": math.nan}, r"alpha must lie in \[0, 1\], but got nan"),
        ({"discriminator_dropout": 1.5}, r"discriminator_dropout must lie in \[0, 0.9\], but got 1.5"),
        ({"label_smoothing": 0.6}, r"label_smoothing must lie in \[0, 0.5\], but got 0.6"),
        ({"discriminator_learning_rate": 0.0}, "discriminator_learning_rate must be greater than 0, but got 0.0; use a positive value"),
        ({"discriminator_learning_rate": math.nan}, "discriminator_learning_rate must be greater than 0, but got nan"),
        ({"filters": 0}, "filters must be at least 1, but got 0; use 1 or more"),
        ({"autoencoder_filters": 0}, "autoencoder_filters must be at least 1, but got 0"),
        ({"discriminator_steps": 0}, "discriminator_steps must be at least 1, but got 0"),
        ({"collapse_evaluations": 0}, "collapse_evaluations must be at least 1, but got 0"),
        ({"generator": "unet"}, "generator must be one of direct, autoencoder, but got 'unet'; name one of these"),
        ({"discriminator_sees": "all"}, "discriminator_sees must be one of hole, image, but got 'all'; name one of these"),
        ({"filter_px": 4}, "filter_px must be odd and at least 1, but got 4"),
    ],
)
def test_knobs_that_cannot_work_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CompletionGanConfig(**knobs)


def test_an_image_that_the_strides_do_not_divide_is_refused_for_the_autoencoder_alone() -> None:
    with pytest.raises(ConfigError, match="image size must be a multiple of 16, but got 40"):
        built(40, generator="autoencoder")
    image, known = noise_with_holes(2, 40)
    assert built(40).fill(image, known).shape == image.shape
