import math

import pytest
import torch
from torch import nn

from trainables.errors import CheckpointError
from trainables.game import Game, gradient_norm, loss_ratio, noise_at

D, G = "the discriminator", "the generator"


def test_a_side_must_win_in_a_row() -> None:
    game = Game(patience=2)
    reasons = []
    for winner in (D, "", D, G, G, "", D):
        game.judge({"loss": 1.0}, winner)
        reasons.append(game.collapse_reason)
    assert reasons == ["", "", "", ""] + ["the generator won 2 evaluations in a row"] * 3


def test_a_figure_that_is_not_finite_ends_the_game() -> None:
    game = Game(patience=5)
    game.judge({"loss": 1.0, "accuracy_real": math.nan, "gradient_norm_generator": math.inf}, "")
    assert game.collapse_reason == "accuracy_real, gradient_norm_generator not finite"


def test_a_restored_game_goes_on_counting() -> None:
    first, second = Game(patience=3), Game(patience=3)
    for _ in range(2):
        first.judge({}, D)
    second.load_state_dict({"game": first.state_dict()})
    second.judge({}, D)
    assert second.collapse_reason == "the discriminator won 3 evaluations in a row"


def test_a_state_without_a_game_is_refused() -> None:
    with pytest.raises(CheckpointError, match="must hold the state of the game, but has none"):
        Game(patience=1).load_state_dict({"networks": {}})


def test_the_ratio_of_losses_has_no_sign_and_no_division_by_zero() -> None:
    assert loss_ratio({"loss_discriminator": -3.0, "loss_adversarial": 2.0}) == 1.5
    assert loss_ratio({"loss_discriminator": 1.0, "loss_adversarial": 0.0}) == 1e12


def test_gradient_norm_of_known_gradients() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])
    assert float(gradient_norm(layer)) == 7


def test_the_noise_follows_from_seed_and_position_and_disturbs_nothing() -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    draws = [torch.rand(3, generator=noise_at(epoch)).tolist() for epoch in (0.0, 0.25, 0.0)]
    assert torch.equal(state, torch.get_rng_state())
    assert draws[0] == draws[2] != draws[1]
    torch.manual_seed(12)
    assert torch.rand(3, generator=noise_at(0.0)).tolist() != draws[0]
