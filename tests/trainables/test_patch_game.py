import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.reconstruction_reference import losses_on, noise_with_holes
from trainables.data import Batch, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.patch_game import PatchGame, PatchGameConfig, label_readings, patch_discriminator, signed

HOLE = Mask("random_square", 12)
STILL = 1e-30  # a rate that moves no float32 weight
TINY: dict[str, Any] = {"discriminator_filters": 4, "batch_images": 8, "momentum": 0.0}


class Plain(PatchGame):
    """One convolution whose whole output is judged by one discriminator, and composited by another class."""

    Config = PatchGameConfig
    judges = {"discriminator": "made"}  # noqa: RUF012 - the base class declares it a ClassVar
    sees_composites = False

    def __init__(self, config: PatchGameConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.adopt(nn.Conv2d(4, 3, 3, padding=1))

    def outputs(self, image: Tensor, known: Tensor) -> dict[str, Tensor]:
        return {"made": self.output(image, known)}

    def network_loss(self, outputs: Mapping[str, Tensor], image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        distance = self.weighted_distance(outputs["made"], image, known)
        if not self.discriminators:
            return distance, {"loss_reconstruction": distance.detach()}
        adversarial = ((self.frozen_scores("discriminator", outputs["made"]) - 1) ** 2).mean()
        loss = distance + self.config.adversarial_weight * adversarial
        return loss, {"loss_reconstruction": distance.detach(), "loss_adversarial": adversarial.detach()}


class Composited(Plain):
    sees_composites = True


def built(kind: type[PatchGame] = Plain, image_px: int = 32, **knobs: Any) -> PatchGame:
    torch.manual_seed(0)
    return kind(PatchGameConfig(**(TINY | knobs)), image_px, HOLE)


def copies(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def test_the_discriminators_layers_worked_out_by_hand() -> None:
    network = patch_discriminator(8)
    assert network(torch.zeros(2, 3, 32, 48)).shape == (2, 1, 4, 6)
    expected = (4 * 4 * 3 * 8 + 8) + (4 * 4 * 8 * 16 + 16) + (4 * 4 * 16 * 32 + 32) + (3 * 3 * 32 + 1)
    assert sum(weight.numel() for weight in network.parameters()) == expected


def test_a_score_depends_on_a_patch_of_38_px() -> None:
    image = torch.zeros(1, 3, 128, 128, requires_grad=True)
    patch_discriminator(4)(image)[0, 0, 8, 8].backward()
    assert image.grad is not None
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
    assert int(rows.max() - rows.min()) + 1 == 38


def test_equation_2_1_by_hand() -> None:
    """Scores 2 for true and 0.5 for made images give (1 + 0.25) / 2."""
    model = built()
    constants = iter([torch.full((3, 1, 4, 4), 2.0), torch.full((3, 1, 4, 4), 0.5)])
    model.scores = lambda name, shown: next(constants)  # type: ignore[method-assign]
    image, known = noise_with_holes(3)
    loss, real, fake = model.discriminator_loss("discriminator", image, image, known)
    assert float(loss) == pytest.approx(0.625)
    assert (real.tolist(), fake.tolist()) == ([2.0] * 3, [0.5] * 3)


def test_patches_of_composites_count_by_their_share_of_the_hole() -> None:
    """32 px in 4x4 patches of 8 px; a hole of rows 8-15 and columns 4-15 covers one patch wholly and its neighbour by half."""
    known = torch.ones(1, 1, 32, 32)
    known[:, :, 8:16, 4:16] = 0
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert built(Composited).patch_mean(values, known).tolist() == pytest.approx([(0.5 * 4 + 1 * 5) / 1.5])
    assert built().patch_mean(values, known).tolist() == pytest.approx([7.5])


def test_readings_by_hand() -> None:
    found = label_readings(torch.tensor([0.9, 0.4, 1.8]), torch.tensor([0.6, -1.0, 0.2]))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"accuracy_real": 2 / 3, "accuracy_fake": 2 / 3, "gap_probability": (0.9 + 0.4 + 1.0) / 3 - (0.6 + 0.0 + 0.2) / 3}
    )


def test_the_distance_is_the_weighted_mean_of_absolute_errors() -> None:
    model = built(hole_weight=3.0)
    image, known = noise_with_holes(2)
    output = 2 * noise_with_holes(2, seed=5)[0] - 1
    visible = known.expand_as(image) > 0
    errors = (output - (2 * image - 1)).abs()
    expected = (errors[visible].sum() + 3 * errors[~visible].sum()) / (visible.sum() + 3 * (~visible).sum())
    torch.testing.assert_close(model.weighted_distance(output, image, known), expected)


def test_the_network_sees_grey_in_the_hole_unless_a_first_stage_fills_it() -> None:
    image, known = noise_with_holes(2)
    visible = known.expand_as(image) > 0
    for stage in ("none", "ring_mean"):
        seen = built(first_stage=stage).visible(image, known)
        assert torch.equal(seen[:, :3][visible], (2 * image - 1)[visible])
        assert torch.equal(seen[:, 3:], known)
        assert bool((seen[:, :3][~visible] == 0).all()) == (stage == "none")


@pytest.mark.parametrize("moving", ["network", "discriminator"])
def test_a_rate_moves_its_own_network_alone(moving: str) -> None:
    rates = {"learning_rate": STILL, "discriminator_learning_rate": STILL}
    rates["learning_rate" if moving == "network" else "discriminator_learning_rate"] = 1e-2
    model = built(**rates)
    before = {name: copies(network) for name, network in model.networks.items()}
    model.train_unit([Batch(*noise_with_holes(4), 0.0)])
    for name, network in model.networks.items():
        same = [torch.equal(old, new) for old, new in zip(before[name], copies(network), strict=True)]
        assert not any(same) if name == moving else all(same)


def test_each_step_has_the_gradient_of_its_own_loss_alone() -> None:
    model = built(learning_rate=STILL, discriminator_learning_rate=STILL, adversarial_weight=0.7)
    image, known = noise_with_holes(4)
    expected = list(torch.autograd.grad(model.loss(image, known)[0], list(model.network.parameters())))
    loss, _, _ = model.discriminator_loss("discriminator", signed(image), model.output(image, known).detach(), known)
    expected += torch.autograd.grad(loss, list(model.networks["discriminator"].parameters()))
    model.train_unit([Batch(image, known, 0.0)])
    found = [weight.grad for network in model.networks.values() for weight in network.parameters()]
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_weight_zero_leaves_the_discriminators_out_and_the_games_figures_at_zero() -> None:
    model = built(adversarial_weight=0.0)
    assert set(model.networks) == set(model.optimizers) == {"network"}
    result = model.train_unit([Batch(*noise_with_holes(2), 0.0)])
    assert set(result) == set(model.extra_metrics) | {"loss"}
    assert result["loss"] == result["loss_reconstruction"] > 0
    assert result["gradient_norm_generator"] > 0
    zero = set(result) - {"loss", "loss_reconstruction", "gradient_norm_generator"}
    assert {result[name] for name in zero} == {0.0}


def test_both_rates_decay_and_both_sides_have_the_momentum() -> None:
    model = built(learning_rate=0.01, discriminator_learning_rate=0.004, decay_factor=0.5, decay_epochs=2.0, momentum=0.3)
    model.train_unit([Batch(*noise_with_holes(2), 4.0)])
    groups = {name: optimizer.param_groups[0] for name, optimizer in model.optimizers.items()}
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx({"network": 0.0025, "discriminator": 0.001})
    assert all(group["betas"] == (0.3, 0.999) for group in groups.values())


def test_the_network_wins_where_all_scores_are_equal_and_the_game_collapses() -> None:
    model = built(discriminator_learning_rate=STILL, collapse_evaluations=3)
    nn.init.zeros_(model.networks["discriminator"][-1].weight)  # type: ignore[index, arg-type]
    batch = Batch(*noise_with_holes(2), 0.0)
    assert losses_on(model, batch, 4, "collapsed") == [0.0, 0.0, 1.0, 1.0]
    assert model.collapse_reason == "the generator won 3 evaluations in a row"


def test_a_discriminator_that_is_always_right_has_not_won() -> None:
    """True images are white, made ones black; the score is half the mean of an 8 px patch plus one half, so 1 and 0."""
    model = built(learning_rate=STILL, discriminator_learning_rate=STILL, collapse_evaluations=1)
    for weight, value in zip(model.network.parameters(), (0.0, -1.0), strict=True):
        nn.init.constant_(weight, value)
    judge = nn.Conv2d(3, 1, 8, 8)
    for weight, value in zip(judge.parameters(), (1 / (2 * 3 * 64), 0.5), strict=True):
        nn.init.constant_(weight, value)
    model.networks["discriminator"] = judge
    result = model.train_unit([Batch(torch.ones(4, 3, 32, 32), noise_with_holes(4)[1], 0.0)])
    assert result["accuracy_real"] == result["accuracy_fake"] == 1
    assert result["gap_probability"] == pytest.approx(1, abs=1e-4)
    assert result["loss_discriminator"] == pytest.approx(0, abs=1e-6)
    assert (result["collapsed"], model.collapse_reason) == (0.0, "")


def test_a_figure_that_is_not_finite_ends_the_game() -> None:
    model = built()
    nn.init.constant_(model.networks["discriminator"][-1].weight, math.inf)  # type: ignore[index, arg-type]
    assert model.train_unit([Batch(*noise_with_holes(2), 0.0)])["collapsed"] == 1
    assert "not finite" in model.collapse_reason


def test_a_restored_game_goes_on_counting() -> None:
    first, second = built(), built()
    first.game.judge({}, "the generator")
    second.load_state_dict(first.state_dict())
    assert (second.game.winner, second.game.won_evaluations) == ("the generator", 1)
    with pytest.raises(CheckpointError, match="must hold the state of the game"):
        second.load_state_dict({name: entry for name, entry in first.state_dict().items() if name != "game"})


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"adversarial_weight": -0.1}, "adversarial_weight must be at least 0, but got -0.1"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), but got 1.0"),
        ({"discriminator_learning_rate": 0.0}, "discriminator_learning_rate must be greater than 0, but got 0.0"),
        ({"discriminator_filters": 0}, "discriminator_filters must be at least 1, but got 0"),
        ({"collapse_evaluations": 0}, "collapse_evaluations must be at least 1, but got 0"),
        ({"precision": "half"}, "precision must be float32 or bfloat16, but got 'half'"),
    ],
)
def test_values_that_cannot_be_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PatchGameConfig(**knobs)


def test_a_size_without_whole_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match="the image size must be a multiple of 8, but got 36"):
        built(image_px=36)
