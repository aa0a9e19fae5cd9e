import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.knob import Choice
from search_spaces.lsgan import SPACE
from trainables.data import Augmentation, Batch, ImageSource, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.gan_losses import LeastSquares, NonSaturating, Wasserstein
from trainables.lsgan import SEARCH_KNOBS, SEARCHED_AT_ONCE, Lsgan, LsganConfig, loss_of
from trainables.running_means import means
from trainables.session import Session

TINY: dict[str, Any] = {"base_filters": 8, "latent": 8, "batch_images": 8, "search_steps": 4}
STILL = 1e-30  # a rate that moves no float32 weight


def built(image_px: int = 32, **knobs: Any) -> Lsgan:
    torch.manual_seed(0)
    return Lsgan(LsganConfig(**(TINY | knobs)), image_px, Mask("centre", 8))


def images_of(count: int = 8, image_px: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, image_px, image_px, generator=torch.Generator().manual_seed(seed))


def batch_of(count: int = 8, seed: int = 1) -> Batch:
    return Batch(images_of(count, seed=seed), Mask("centre", 8).sample(count, 32, np.random.default_rng(0)), 0.0)


def weights_of(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Up to what `STILL` moves."""
    return all(torch.allclose(one, other, rtol=0, atol=1e-20) for one, other in zip(first, second, strict=True))


def lively(model: Lsgan) -> Lsgan:
    """Larger weights: freshly built networks give nearly the same image, and the same score, for all latent values."""
    with torch.no_grad():
        for network in model.networks.values():
            for weight in network.parameters():
                weight.mul_(5 if weight.dim() > 1 else 1)
    return model


def trained(**knobs: Any) -> Lsgan:
    """Two iterations, then evaluation mode: running statistics are not the initial ones."""
    model = built(**knobs)
    model.train_unit([batch_of(seed=1), batch_of(seed=2)])
    model.set_training(False)
    return model


# --- the game


@pytest.mark.parametrize(("moving", "still"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_each_network_is_moved_by_its_own_rate(moving: str, still: str) -> None:
    rates = {"generator": "learning_rate", "discriminator": "discriminator_learning_rate"}
    model = built(**{rates[still]: STILL, rates[moving]: 1e-2})
    before = {name: weights_of(network) for name, network in model.networks.items()}
    model.train_unit([batch_of()])
    assert equal(before[still], weights_of(model.networks[still]))
    assert not equal(before[moving], weights_of(model.networks[moving]))


@pytest.mark.parametrize("loss", ["least_squares", "non_saturating", "wasserstein"])
def test_losses_of_one_iteration_from_the_networks_themselves(loss: str) -> None:
    """Both networks stand still, so the scores can be had again from the same latent values."""
    model = built(loss=loss, dropout=0.0, learning_rate=STILL, discriminator_learning_rate=STILL, clip_bound=1.0)
    other = copy.deepcopy(model)
    torch.manual_seed(4)
    figures = model.train_unit([batch_of()])
    torch.manual_seed(4)
    fake = other.networks["generator"](torch.rand(8, 8) * 2 - 1)
    scores, true = other.networks["discriminator"](fake).detach(), other.networks["discriminator"](images_of() * 2 - 1).detach()
    objective = loss_of(model.config)
    assert figures["loss"] == figures["loss_adversarial"] == pytest.approx(float(objective.generator(scores)), abs=1e-5)
    assert figures["loss_discriminator"] == pytest.approx(float(objective.discriminator(true, scores)), abs=1e-5)
    assert figures["score_gap"] == pytest.approx(float(objective.readings(true, scores)["score_gap"]), abs=1e-5)


def test_the_knob_names_the_loss_and_its_labels() -> None:
    assert loss_of(LsganConfig()) == LeastSquares(0.0, 1.0, 1.0)
    assert loss_of(LsganConfig(fake_label=-1.0, real_label=0.9, target_label=0.0)) == LeastSquares(-1.0, 0.9, 0.0)
    assert isinstance(loss_of(LsganConfig(loss="non_saturating")), NonSaturating)
    assert isinstance(loss_of(LsganConfig(loss="wasserstein")), Wasserstein)


def test_wasserstein_weights_lie_within_the_bound_and_norms_have_none() -> None:
    model = built(loss="wasserstein", clip_bound=0.02, discriminator_learning_rate=1e-2)
    model.train_unit([batch_of()])
    judge = model.networks["discriminator"]
    assert max(float(weight.detach().abs().max()) for weight in judge.parameters()) == pytest.approx(0.02)
    assert not any(list(m.parameters()) for m in judge.modules() if isinstance(m, nn.BatchNorm2d))
    free = built(discriminator_learning_rate=1e-2)
    free.train_unit([batch_of()])
    assert max(float(weight.detach().abs().max()) for weight in free.networks["discriminator"].parameters()) > 0.03


def test_discriminator_steps_are_counted() -> None:
    model, steps = built(discriminator_steps=3), {"generator": 0, "discriminator": 0}
    for name, optimizer in model.optimizers.items():
        optimizer.register_step_post_hook(lambda *_, name=name: steps.update({name: steps[name] + 1}))
    model.train_unit([batch_of(), batch_of(seed=2)])
    assert steps == {"generator": 2, "discriminator": 6}


def test_training_does_not_look_at_the_holes() -> None:
    first, second = built(), built()
    for model, hole_px in ((first, 8), (second, 20)):
        torch.manual_seed(1)
        known = Mask("centre", hole_px).sample(8, 32, np.random.default_rng(0))
        model.train_unit([Batch(images_of(), known, 0.0)])
    assert equal(weights_of(first.networks["generator"]), weights_of(second.networks["generator"]))


@pytest.mark.parametrize(("moving", "name"), [("generator", "loss_adversarial"), ("discriminator", "loss_discriminator")])
def test_each_network_gets_better_where_the_other_stands_still(moving: str, name: str) -> None:
    rates = {"generator": "learning_rate", "discriminator": "discriminator_learning_rate"}
    knobs: dict[str, Any] = dict.fromkeys(rates.values(), STILL) | {rates[moving]: 2e-3, "dropout": 0.0}
    model = lively(built(**knobs))
    torch.manual_seed(0)
    losses = [model.train_unit([batch_of()])[name] for _ in range(25)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_a_won_game_is_told_and_survives_a_checkpoint() -> None:
    model = built(collapse_evaluations=2)
    names = ("loss", "loss_adversarial", "loss_discriminator", "gradient_norm_generator", "gradient_norm_discriminator")
    figures = dict.fromkeys(names, torch.tensor(1.0)) | dict.fromkeys(("accuracy_real", "accuracy_fake", "score_gap"), torch.tensor(0.99))
    won = figures | {"loss_discriminator": torch.tensor(0.001)}
    told = [model.game_health(means([each]), model.objective.winner)["collapsed"] for each in (won, figures, won, won)]
    assert told == [0, 0, 0, 1]
    assert model.collapse_reason == "the discriminator won 2 evaluations in a row"
    other = built()
    other.load_state_dict(model.state_dict())
    assert other.collapse_reason == model.collapse_reason
    with pytest.raises(CheckpointError, match="must hold the state of the game"):
        other.load_state_dict({key: value for key, value in model.state_dict().items() if key != "game"})


# --- filling


def test_more_steps_and_more_starts_explain_the_known_pixels_better() -> None:
    model, image = lively(trained(perceptual_weight=0.0)), images_of(4)
    known = model.mask.sample(4, 32, np.random.default_rng(0))

    def error(**knobs: Any) -> Tensor:
        searching = built(perceptual_weight=0.0, **knobs)
        searching.load_state_dict(model.state_dict())
        searching.set_training(False)
        with torch.no_grad():
            generated = searching.generate(searching.search(image, known))
        return ((generated - (2 * image - 1)).abs() * known).sum((1, 2, 3))

    few, many, restarts = error(search_steps=1), error(search_steps=30), error(search_steps=30, search_restarts=3)
    assert bool((many < few).all())
    assert bool((restarts <= many + 1e-3).all())


def test_lambda_weighs_how_real_the_image_looks() -> None:
    """With a large one the discriminator's verdict on what is found is better than with none, and the known pixels fit worse."""
    verdicts, misfits = [], []
    for weight in (0.0, 1e6):
        model = lively(trained(perceptual_weight=weight, search_steps=40, search_step=1e-3 if weight == 0 else 1e-6))
        image, known = images_of(4), model.mask.sample(4, 32, np.random.default_rng(0))
        with torch.no_grad():
            generated = model.generate(model.search(image, known))
            verdict = model.objective.perceptual(model.score(generated))
        verdicts.append(float(verdict.mean()))
        misfits.append(float(((generated - (2 * image - 1)).abs() * known).sum()))
    assert verdicts[1] < verdicts[0]
    assert misfits[1] > misfits[0]


@pytest.mark.parametrize("knobs", [{}, {"loss": "non_saturating"}, {"importance_px": 5, "search_restarts": 2}, {"precision": "bfloat16"}])
def test_a_fill_is_the_same_in_any_batch(knobs: dict[str, Any]) -> None:
    model, image = trained(search_step=1e-4, **knobs), images_of(3)
    known = Mask("random_square", 10).sample(3, 32, np.random.default_rng(2))
    together = model.fill(image, known)
    tolerance = 0.02 if knobs.get("precision") else 1e-4
    for index in range(3):
        alone = model.fill(image[index : index + 1], known[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=tolerance, rtol=0)


def test_large_batches_are_searched_in_parts() -> None:
    model, seen = trained(search_steps=1), []
    model.networks["generator"].register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    count = SEARCHED_AT_ONCE + 2
    image = images_of(count)
    filled = model.fill(image, model.mask.sample(count, 32, np.random.default_rng(0)))
    assert filled.shape == image.shape
    assert seen == [SEARCHED_AT_ONCE] * 3 + [2] * 3  # start, moved, found


def test_filling_keeps_no_gradient_and_no_mode() -> None:
    model = built()
    model.set_training(True)
    model.fill(images_of(2), model.mask.sample(2, 32, np.random.default_rng(0)))
    for network in model.networks.values():
        assert network.training
        assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())


def test_the_latent_values_stay_in_their_bounds() -> None:
    model = trained(search_step=10.0, z_bound=0.5, search_steps=5)
    found = model.search(images_of(3), model.mask.sample(3, 32, np.random.default_rng(0)))
    assert found.shape == (3, 8)
    assert float(found.abs().max()) <= 0.5


# --- knobs and shared training


def test_training_depends_on_every_knob_but_those_of_the_search() -> None:
    model = built()
    assert set(model.training_knobs(0.0)) == set(SPACE) - set(SEARCH_KNOBS)
    assert set(SEARCH_KNOBS) < set(SPACE)
    first, second = built(), built(perceptual_weight=5.0, search_steps=9, search_restarts=2, z_bound=0.5, importance_px=7)
    for each in (first, second):
        torch.manual_seed(3)
        each.train_unit([batch_of()])
    for name, network in first.networks.items():
        assert equal(weights_of(network), weights_of(second.networks[name]))


def test_a_sweep_over_lambda_trains_once(data_dir: str, tmp_path: Path) -> None:
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
    results = {}
    for weight in (0.0, 10.0):
        knobs = TINY | {"perceptual_weight": weight}
        session = Session.open("lsgan", knobs, source, Mask("centre", 8), share_stages=True, seed=77)
        results[weight] = [session.step() for _ in range(2)]
    alone = Session.open("lsgan", TINY, source, Mask("centre", 8), seed=77)
    for step in range(2):
        shared, expected = results[10.0][step], alone.step()
        assert (results[0.0][step]["reused"], shared["reused"], expected["reused"]) == (0.0, 1.0, 0.0)
        assert shared == expected | {"reused": 1.0}


def test_mirroring_is_an_augmentation() -> None:
    assert built(mirror=True).augmentation == Augmentation(mirror=True)
    assert built().augmentation == Augmentation()


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"loss": "hinge"}, "loss must be one of least_squares, non_saturating, wasserstein, but got 'hinge'"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
        ({"fake_label": 1.0}, "fake_label and real_label must differ, but both are 1.0"),
        ({"base_filters": 7}, "base_filters must be even, but got 7"),
        ({"batch_images": 1}, "batch_images must be at least 2, but got 1"),
        ({"search_steps": 0}, "search_steps must be at least 1, but got 0"),
        ({"perceptual_weight": -1.0}, "perceptual_weight must be at least 0, but got -1.0"),
        ({"search_step": 0.0}, "search_step must be greater than 0, but got 0.0"),
        ({"search_momentum": 1.0}, r"search_momentum must lie in \[0, 1\), but got 1.0"),
        ({"dropout": float("nan")}, r"dropout must lie in \[0, 1\), but got nan"),
        ({"importance_px": 4}, "importance_px must be odd or 0, but got 4"),
    ],
)
def test_a_bad_knob_is_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built(**knobs)


def test_a_size_that_no_level_reaches_is_refused() -> None:
    with pytest.raises(ConfigError, match="the image size must be one of 32, 64, 128, but got 48"):
        built(48)


def test_every_loss_and_window_of_the_space_fills() -> None:
    for knob in ("loss", "importance_px"):
        described = SPACE[knob]
        assert isinstance(described, Choice)
        for value in described.values:
            model = trained(**{knob: value, "search_steps": 2})
            filled = model.fill(images_of(1), model.mask.sample(1, 32, np.random.default_rng(0)))
            assert bool(filled.isfinite().all()), (knob, value)
