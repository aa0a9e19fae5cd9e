"""`pixel_regression`: linear regression of a pixel from its eight neighbours.

Source: `animal_faces`, section 7.1. A photograph is separated into 3x3 windows; for each colour the middle is predicted from the other
eight values. "All 3 channels are distributed the same", so one set of weights serves all. Gradient descent with rate 0.00001, training
loss 1.9817; the figures show the weights converge "to the mean".

Implemented: the same with y = sum_k w_k x_k over levels of 0 to 255, and beside gradient descent the exact solution. Both work on the
moments of the windows, G = mean(x x^T) and c = mean(x y) in float64, which say all that the windows say to a linear regression:

    least squares:     G w = c, with the moments of all windows seen so far: from the first epoch on, those of the training images
    gradient descent:  w <- w - rate * (G w - c), the gradient of half the mean squared error, with the moments of each batch

Photographs make G ill-conditioned: one eigenvalue, of equal weights, is hundreds of times the others. From small weights descent first
reaches equal weights, the mean of the neighbours, and leaves it slowly for the exact solution, whose corners are negative.

Deviations:
  - The document gives neither the scale of its values nor the form of its loss. On levels of 0 to 255 the rate 0.00001 is 1.2 times the
    inverse of the greatest eigenvalue for photographs of animals, and would diverge without the half.
  - Steps longer than the inverse of the batch's greatest eigenvalue are shortened to it (`stable_step`): a bright batch does no harm.
  - All windows inside an image are used, overlapping, of many photographs; the document has one photograph.
  - Whether there is a bias is not said. Here there is none, unless `bias` is on.
  - Filling holes: see `trainables.peel`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.metrics import Metric
from trainables.peel import LEVELS, MIDDLE_ERRORS, NeighbourModel, images_together, windows

WINDOW_PX = 3
PLACES = ("north_west", "north", "north_east", "west", "east", "south_west", "south", "south_east")  # as `trainables.peel.offsets`
LEAST_EIGENVALUE = 1e-12  # of the greatest; smaller ones are taken as 0, which gives the shortest of several solutions

Solver = Literal["least_squares", "gradient_descent"]

# Weights have no better direction; "one" keeps them from being objectives.
WEIGHTS: dict[str, Metric] = {
    f"weight_{place}": Metric("1", "one", f"weight of the neighbour in the {place.replace('_', ' ')}") for place in PLACES
} | {"weight_spread": Metric("1", "min", "greatest of the eight weights minus the least; 0 = the plain mean of the neighbours")}


@dataclass(frozen=True)
class PixelRegressionConfig:
    """Knobs of `pixel_regression`; the values are the document's.

    Attributes:
        solver: "gradient_descent", section 7.1, or "least_squares", the exact solution.
        learning_rate: of gradient descent, on levels of 0 to 255; section 7.1.
        descent_steps: gradient steps on each batch; not given in the source.
        stable_step: shortens steps that would overshoot; not in the source.
        initial_deviation: standard deviation of the initial weights around 0; not given in the source.
        bias: adds a constant, in levels; not said in the source.
        batch_images: images a gradient step; not given in the source. Least squares does not depend on it.
    """

    solver: Solver = "gradient_descent"
    learning_rate: float = 1e-5
    descent_steps: int = 1
    stable_step: bool = True
    initial_deviation: float = 0.1
    bias: bool = False
    batch_images: int = 32

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise ConfigError(f"solver must be one of {', '.join(get_args(Solver))}, but got {self.solver!r}; name one of these")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be above 0, but got {self.learning_rate}; use 1e-5 for example")
        if not self.initial_deviation >= 0:
            raise ConfigError(f"initial_deviation must be at least 0, but got {self.initial_deviation}; 0 starts from no weights")
        for name in ("descent_steps", "batch_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(self, name)}; use 1 or more")


class LinearRegression(nn.Linear):
    """Eight weights, and a bias where wanted, in float64, since a gradient step is small beside them.

    Attributes:
        moments: sum over batches of `PixelRegression.moments`; least squares alone.
        batches: how many batches that are.
    """

    moments: Tensor
    batches: Tensor

    def __init__(self, config: PixelRegressionConfig) -> None:
        super().__init__(len(PLACES), 1, bias=config.bias, dtype=torch.float64)
        nn.init.normal_(self.weight, std=config.initial_deviation)
        if config.bias:
            nn.init.zeros_(self.bias)
        size = len(PLACES) + int(config.bias) + 1
        self.register_buffer("moments", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.float64))


class PixelRegression(NeighbourModel):
    """Solves or descends for the weights of `LinearRegression`."""

    Config = PixelRegressionConfig
    extra_metrics = MIDDLE_ERRORS | WEIGHTS

    def __init__(self, config: PixelRegressionConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask, WINDOW_PX)
        self.config: PixelRegressionConfig = config
        self.network = LinearRegression(config)
        self.networks = {"network": self.network}

    @torch.no_grad()
    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Solves for the weights, or descends.

        Returns:
            "loss": mean squared error in squared levels, of the exact weights on the windows that they come from, or before each gradient
            step on its batch, mean over steps. The eight weights and their spread.
        """
        loss = self._solve(batches) if self.config.solver == "least_squares" else self._descend(batches)
        weights = self.network.weight[0]
        named = {f"weight_{place}": weight for place, weight in zip(PLACES, weights.tolist(), strict=True)}
        return {"loss": float(loss), "weight_spread": float(weights.max() - weights.min())} | named

    @torch.no_grad()
    def estimate(self, neighbours: Tensor) -> Tensor:
        levels: Tensor = self.network(neighbours.double().T * LEVELS)
        return (levels[:, 0] / LEVELS).float()

    def _solve(self, batches: Iterable[Batch]) -> Tensor:
        """Sets the weights to the exact solution over all batches so far, which are of equal size; gives its error."""
        network = self.network
        for batch in batches:
            network.moments += self.moments(batch.image)
            network.batches += 1
        moments = network.moments / network.batches
        gram, cross = moments[:-1, :-1], moments[:-1, -1]
        coefficients = torch.linalg.pinv(gram, rtol=LEAST_EIGENVALUE, hermitian=True) @ cross
        self._keep(coefficients)
        return mean_squared_error(coefficients, moments)

    def _descend(self, batches: Iterable[Batch]) -> Tensor:
        """Takes gradient steps; gives the mean of the errors before each."""
        coefficients = torch.cat([weight.flatten() for weight in self.network.parameters()])
        losses = []
        for batch in batches:
            moments = self.moments(batch.image)
            gram, cross = moments[:-1, :-1], moments[:-1, -1]
            rate = torch.full_like(cross[0], self.config.learning_rate)
            if self.config.stable_step:
                rate = torch.minimum(rate, 1 / torch.linalg.eigvalsh(gram)[-1].clamp(min=0))
            for _ in range(self.config.descent_steps):
                losses.append(mean_squared_error(coefficients, moments))
                coefficients = coefficients - rate * (gram @ coefficients - cross)
        self._keep(coefficients)
        return torch.stack(losses).mean()

    def moments(self, image: Tensor) -> Tensor:
        """Mean products of all pairs among the eight neighbours, 1 where there is a bias, and the middle, over all windows.

        Args:
            image: (B, 3, H, W) float32 in [0, 1].

        Returns:
            (F + 1, F + 1) float64 in squared levels, F = 8, or 9 with a bias.
        """
        total, count = torch.zeros((), dtype=torch.float64, device=image.device), 0
        for part in torch.split(image, images_together(self.image_px)):
            neighbours, middles = windows(part.double() * LEVELS, WINDOW_PX)
            ones = torch.ones_like(neighbours[: int(self.config.bias)])
            values = torch.cat([neighbours, ones, middles.reshape(1, -1)])  # (F + 1, N)
            total = total + values @ values.T
            count += middles.numel()
        return total / count

    def _keep(self, coefficients: Tensor) -> None:
        self.network.weight.copy_(coefficients[None, : len(PLACES)])
        if self.config.bias:
            self.network.bias.copy_(coefficients[len(PLACES) :])


def mean_squared_error(coefficients: Tensor, moments: Tensor) -> Tensor:
    """Of a linear regression, from the moments alone: r^T M r with r = (-coefficients, 1); scalar."""
    residual = torch.cat([-coefficients, torch.ones_like(coefficients[:1])])
    return (residual @ moments @ residual).clamp(min=0)
