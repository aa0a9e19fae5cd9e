"""`pixel_cnn`: the conditional of a pixel from the square of pixels up and to the left of it.

Source: `beyond_cnns`, section Pixel-CNN, Figure 7, and section Results / Density Methods (6.98 on the test set). The 24 pixels of a 5x5
section, whose bottom-right corner is the pixel in question, go through convolutions with leaky ReLU and no pooling into three fully
connected layers with a 256-way softmax each; cross-entropy, Adam, dropout 0.5.

Implemented: the same. The first convolution covers the whole section, so that one position remains, and the further ones are 1x1; all
are computed as products with gathered sections, which is the same sum. Each head has a hidden layer and sees the colours of its own
pixel that come before its own, as the factorisation in section Density Based Models asks.

Deviations:
  - Number and width of the layers are not given in the source.
  - A fourth input plane is 1 inside the image and 0 outside, where sections reach over the top or left edge.
  - A training step looks at `positions` random pixels of each image, drawn again every time, instead of at all.
  - The learning rate was cross-validated in the source and is not given, nor is the batch size.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask
from trainables.density import COLOURS, LEVELS, DensityModel, DensityNetwork, Rule, centred
from trainables.dropout import Dropout
from trainables.errors import ConfigError


@dataclass(frozen=True)
class PixelCnnConfig:
    """Knobs of `pixel_cnn`; the values are the paper's (section Pixel-CNN unless said otherwise).

    Attributes:
        patch_px: side of the section; 5, and greater ones "may be necessary" on larger images.
        filters: of each convolution; not given in the source.
        depth: number of convolutions, "several" in the source.
        hidden: units of each head's hidden layer; not given in the source.
        own_colours: heads see the earlier colours of their own pixel; section Density Based Models.
        dropout: probability, after each convolution and hidden layer; section Results / Density Methods, 0.5.
        positions: pixels of each image that a step looks at; not given in the source.
        learning_rate: Adam's; "cross-validated", no value given.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        batch_images: images a step; not given in the source.
        decoding: how a level is chosen; section Density Based Models, the most probable one.
        temperature: of the rule "sample"; not given in the source.
        decoding_seed: of the rule "sample".
        mirror: random left-right flips.
        precision: "bfloat16" trains in mixed precision; filling is float32 always.
    """

    patch_px: int = 5
    filters: int = 128
    depth: int = 3
    hidden: int = 128
    own_colours: bool = True
    dropout: float = 0.5
    positions: int = 64
    learning_rate: float = 1e-3
    decay_factor: float = 0.5
    decay_epochs: float = 3.0
    batch_images: int = 64
    decoding: Rule = "argmax"
    temperature: float = 1.0
    decoding_seed: int = 0
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


class PixelCnnNetwork(DensityNetwork):
    """A section's pixels in, one head a colour; S = patch_px."""

    def __init__(self, config: PixelCnnConfig, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        self.patch_px = config.patch_px
        self.own_colours = config.own_colours
        layers: list[nn.Module] = []
        inputs = (COLOURS + 1) * (config.patch_px**2 - 1)
        for _ in range(config.depth):
            layers += [nn.Linear(inputs, config.filters), nn.LeakyReLU(), Dropout(config.dropout)]
            inputs = config.filters
        self.convolutions = nn.Sequential(*layers)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.filters + colour * config.own_colours, config.hidden),
                nn.LeakyReLU(),
                Dropout(config.dropout),
                nn.Linear(config.hidden, levels),
            )
            for colour in range(COLOURS)
        )

    def forward(self, values: Tensor) -> Tensor:
        batch, _, height, width = values.shape
        sections = self.planes(values).unfold(2, self.patch_px, 1).unfold(3, self.patch_px, 1)  # (B, 4, H, W, S, S)
        sections = sections.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)  # (B * H * W, 4, S, S)
        pixels = values.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, 3)
        features = self.features(sections)
        logits = torch.stack([self.head(features, pixels, colour) for colour in range(COLOURS)])  # (3, B * H * W, L)
        return logits.reshape(COLOURS, batch, height, width, self.levels).transpose(0, 1)

    def planes(self, values: Tensor) -> Tensor:
        """Intensities and the inside plane, widened by S - 1 at the top and left: (B, 4, H + S - 1, W + S - 1)."""
        colours = centred(values, self.levels, self.dtype)
        inside = torch.ones_like(colours[:, :1])
        return functional.pad(torch.cat([colours, inside], 1), (self.patch_px - 1, 0, self.patch_px - 1, 0))

    def features(self, sections: Tensor) -> Tensor:
        """(N, 4, S, S) -> (N, filters); the bottom-right pixel is left out."""
        features: Tensor = self.convolutions(sections.flatten(2)[..., :-1].flatten(1))
        return features

    def head(self, features: Tensor, pixels: Tensor, colour: int) -> Tensor:
        """Logits of one colour.

        Args:
            features: (N, filters).
            pixels: (N, 3) int64, the pixels' own values; those of `colour` and later ones are not read.
            colour: 0, 1 or 2.

        Returns:
            (N, L).
        """
        if self.own_colours and colour:
            features = torch.cat([features, centred(pixels[:, :colour], self.levels, features.dtype)], 1)
        logits: Tensor = self.heads[colour](features)
        return logits

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def reader(self, values: Tensor) -> "PixelCnnReader":
        return PixelCnnReader(self, values)


class PixelCnnReader:
    """Looks at the section of the pixel at hand alone; keeps its features for the three colours."""

    def __init__(self, network: PixelCnnNetwork, values: Tensor) -> None:
        self.network = network
        self.values = values
        self.features = torch.empty(0)

    def __call__(self, row: int, column: int, colour: int, images: Tensor) -> Tensor:
        if colour == 0:
            reach = self.network.patch_px - 1
            top, left = max(row - reach, 0), max(column - reach, 0)
            planes = self.network.planes(self.values[images, :, top : row + 1, left : column + 1])
            self.features = self.network.features(planes[:, :, -reach - 1 :, -reach - 1 :])
        return self.network.head(self.features, self.values[images, :, row, column], colour)


class PixelCnn(DensityModel):
    """Trains `PixelCnnNetwork` on the cross-entropy of random pixels."""

    Config = PixelCnnConfig

    def __init__(self, config: PixelCnnConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        for name, least in (("patch_px", 2), ("filters", 1), ("depth", 1), ("hidden", 1), ("positions", 1)):
            if getattr(config, name) < least:
                raise ConfigError(f"{name} must be at least {least}, but got {getattr(config, name)}; use a greater number")
        self.config: PixelCnnConfig = config
        self.network: PixelCnnNetwork = PixelCnnNetwork(config)
        self.networks = {"network": self.network}
        self.optimizers = {"network": torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)}

    def losses(self, values: Tensor) -> Iterable[Tensor]:
        network, size = self.network, self.config.patch_px
        batch, _, height, width = values.shape
        images = torch.arange(batch).repeat_interleave(self.config.positions)
        rows = torch.randint(height, images.shape)
        columns = torch.randint(width, images.shape)
        images, rows, columns = (index.to(values.device) for index in (images, rows, columns))
        reach = torch.arange(size, device=values.device)
        planes = network.planes(values).permute(0, 2, 3, 1)  # (B, H + S - 1, W + S - 1, 4)
        index = images[:, None, None], (rows[:, None] + reach)[:, :, None], (columns[:, None] + reach)[:, None]
        features = network.features(planes[index].permute(0, 3, 1, 2))
        pixels = values[images, :, rows, columns]
        yield torch.stack(
            [functional.cross_entropy(network.head(features, pixels, colour), pixels[:, colour]) for colour in range(COLOURS)]
        ).mean()
