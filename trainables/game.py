"""The game of a generator and a discriminator: what is measured of it, and when it is lost.

Every adversarial model reports `HEALTH` and asks a `Game` after each training step whether one side has won for good. When a side has won
a single step is the model's own rule, since it depends on what the discriminator's scores mean.

Source: `beyond_cnns`, sections Deep Convolutional GANs to WGANs, which describe how a game is lost (a discriminator that is always right,
or one that gives "identical probabilistic values").
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.errors import CheckpointError
from trainables.metrics import Metric

HEALTH: dict[str, Metric] = {
    "loss_reconstruction": Metric("1", "min", "L_rec over the training step"),
    "loss_adversarial": Metric("1", "min", "L_disc, the generator's adversarial loss before its weight"),
    "loss_discriminator": Metric("1", "min", "what the discriminator minimises"),
    "loss_ratio": Metric("ratio", "one", "size of loss_discriminator divided by the size of loss_adversarial"),
    "accuracy_real": Metric("share", "max", "true images that the discriminator takes for true"),
    "accuracy_fake": Metric("share", "max", "filled images that the discriminator takes for filled"),
    "gradient_norm_generator": Metric("1", "min", "Euclidean norm of the generator's gradient, mean over its steps"),
    "gradient_norm_discriminator": Metric("1", "min", "Euclidean norm of the discriminator's gradient, mean over the iterations"),
    "collapsed": Metric("1", "min", "1 where the game is lost for good"),
}
GAP = {"gap_probability": Metric("probability", "max", "mean D of true images minus mean D of filled ones")}
WON_ACCURACY = 0.99
WON_GAP = 0.02


class Game:
    """Counts the evaluations that one side has won in a row.

    Attributes:
        patience: how many of them make a collapse.
        collapse_reason: why the game is over, in words; "" while it is not. A collapse stays one.
        winner: who won the last evaluation; "" for neither.
        won_evaluations: how many in a row.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.collapse_reason = ""
        self.winner, self.won_evaluations = "", 0

    def judge(self, health: Mapping[str, float], winner: str) -> str:
        """Takes in one training step.

        Args:
            health: its figures; one that is not finite ends the game at once.
            winner: "the discriminator", "the generator", or "" for neither.

        Returns:
            `collapse_reason`.
        """
        self.won_evaluations = self.won_evaluations + 1 if winner and winner == self.winner else int(bool(winner))
        self.winner = winner
        not_finite = [name for name, value in health.items() if not math.isfinite(value)]
        if not self.collapse_reason:
            if not_finite:
                self.collapse_reason = f"{', '.join(not_finite)} not finite"
            elif self.won_evaluations >= self.patience:
                count = "an evaluation" if self.won_evaluations == 1 else f"{self.won_evaluations} evaluations in a row"
                self.collapse_reason = f"{winner} won {count}"
        return self.collapse_reason

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"collapse_reason": self.collapse_reason, "winner": self.winner, "won_evaluations": self.won_evaluations}

    def load_state_dict(self, state: Mapping[str, Any]) -> str:
        """Continues from a model's whole state, which holds this one's under "game".

        Returns:
            `collapse_reason`.

        Raises:
            CheckpointError: a state without a game.
        """
        if "game" not in state:
            raise CheckpointError("the checkpoint must hold the state of the game, but has none; use the one of the same trial")
        game = state["game"]
        self.collapse_reason, self.winner, self.won_evaluations = game["collapse_reason"], game["winner"], game["won_evaluations"]
        return self.collapse_reason


def loss_ratio(health: Mapping[str, float]) -> float:
    """`loss_ratio` of `HEALTH` from the two losses."""
    return abs(health["loss_discriminator"]) / max(abs(health["loss_adversarial"]), 1e-12)


def probability_readings(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    """Accuracies and `GAP` of a discriminator whose scores are logits, (B,) each; scalars."""
    return {
        "accuracy_real": (real_scores > 0).float().mean(),
        "accuracy_fake": (fake_scores < 0).float().mean(),
        "gap_probability": real_scores.sigmoid().mean() - fake_scores.sigmoid().mean(),
    }


def winner_by_probability(health: Mapping[str, float]) -> str:
    """Who has won where scores are logits: "the discriminator", "the generator", or "" for neither.

    The discriminator has won where it tells at least 99 % of both kinds apart; the generator where the gap is below 0.02, so that the
    discriminator gives both "identical probabilistic values" and teaches it nothing.
    """
    if min(health["accuracy_real"], health["accuracy_fake"]) >= WON_ACCURACY:
        return "the discriminator"
    return "the generator" if health["gap_probability"] < WON_GAP else ""


def gradient_norm(network: nn.Module) -> Tensor:
    """Euclidean norm of a network's gradient, all weights taken together; scalar."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def noise_at(epoch: float) -> torch.Generator:
    """The discriminator's own random numbers for a position in the training.

    They follow from the seed that torch's default generator was given and from the position; nothing is drawn from that generator.
    """
    seed = np.random.SeedSequence((torch.initial_seed(), round(epoch * 2**32))).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed >> 1))
