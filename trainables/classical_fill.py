"""`classical_fill`: fills that learn nothing, as a model of their own, so that they stand in every table under the same conditions.

Source: `thesis`, chapter 4, for the idea; the methods' sources stand in `trainables.classical`.

Deviations: none; OpenCV's and scikit-image's implementations are used.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from trainables.classical import Method, check_method, classical_fill
from trainables.data import Batch, Mask
from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.running_means import Means


@dataclass(frozen=True)
class ClassicalFillConfig:
    """Knobs of `classical_fill`.

    Attributes:
        method: which fill; chapter 4 names none.
        batch_images: images a step; the error of one batch is the training loss.
    """

    method: Method = "telea"
    batch_images: int = 32

    def __post_init__(self) -> None:
        check_method("method", self.method)
        if self.batch_images < 1:
            raise ConfigError(f"batch_images must be at least 1, but got {self.batch_images}; use 1 or more")


class ClassicalFill(InpaintingModel):
    """Has no weights; a training step only measures the error of the holes that it is given."""

    Config = ClassicalFillConfig

    def __init__(self, config: ClassicalFillConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.config: ClassicalFillConfig = config

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Gives the mean squared error over the holes."""
        losses = Means()
        for batch in batches:
            hole = 1 - batch.known
            error = (hole * (self.predict(batch.image * batch.known, batch.known) - batch.image) ** 2).sum()
            losses.add({"loss": error / (hole.sum().clamp(min=1) * batch.image.shape[1])})
        return losses.result()

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return classical_fill(self.config.method, image, known)
