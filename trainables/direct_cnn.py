"""`direct_cnn`: convolutions alone, at the image's full size.

Source: `thesis`, section 3.1, Table 3.1: four 5x5 convolutions of 64 filters with ReLU, a fifth to the colours with a sigmoid; mean squared
error between the output and the whole image; input of the holed image and its location map.

Deviations: those of `trainables.reconstruction`.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.reconstruction import INPUT_CHANNELS, ReconstructionConfig, Reconstructor, check_filter, convolution

HIDDEN_LAYERS = 4


@dataclass(frozen=True)
class DirectCnnConfig(ReconstructionConfig):
    """Knobs of `direct_cnn`; the values are the document's (Table 3.1).

    Attributes:
        filters: of every hidden layer.
        filter_px: side of every filter; odd. "5x5 could be a good filter size".
    """

    filters: int = 64
    filter_px: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filter("filter_px", self.filter_px)
        if self.filters < 1:
            raise ConfigError(f"filters must be at least 1, but got {self.filters}; use 1 or more")


class DirectCnn(Reconstructor):
    """Trains the five convolutions on the squared error of the whole image."""

    Config = DirectCnnConfig

    def __init__(self, config: DirectCnnConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.adopt(direct_network(config.filters, config.filter_px, HIDDEN_LAYERS, nn.Sigmoid()))

    def loss(self, image: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weighted_error(self.output(image, known), image, known), {}


def direct_network(filters: int, filter_px: int, hidden_layers: int, last: nn.Module) -> nn.Sequential:
    """So many convolutions with ReLU and one to the colours: (B, 4, H, W) -> (B, 3, H, W).

    Args:
        filters: of each hidden layer.
        filter_px: side of the filters.
        hidden_layers: how many convolutions before the last.
        last: the activation of the colours.
    """
    layers: list[nn.Module] = []
    channels = INPUT_CHANNELS
    for _ in range(hidden_layers):
        layers += [convolution(channels, filters, filter_px), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, convolution(channels, 3, filter_px), last)
