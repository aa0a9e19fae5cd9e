"""`diagonal_bilstm`: two LSTMs that sweep the image along its diagonals, from the left and from the right.

Source: van den Oord et al. 2016, Pixel Recurrent Neural Networks, sections 3.2 (Diagonal BiLSTM), 3.3 (residual connections), 3.4
(masked convolutions), 3.6 and Table 1 (architecture), 5.1 and 5.3 (training, CIFAR-10); cited by `beyond_cnns`, section Pixel-CNN,
which reports no figure for it.

Implemented: a 7x7 convolution with mask A; layers of 2h channels, in each of which, for both directions, a 1x1 convolution with mask B
gives the input to state and a column-wise convolution of size 2 over the diagonal before the state to state: an LSTM with h units whose
cell takes in the pixel beside it and the pixel above it. The map of the LSTM from the right is shifted down by a row and added to that
of the LSTM from the left; a 1x1 convolution with mask B brings the sum to 2h channels, added to the layer's input; two 1x1 convolutions
with mask B after ReLU; a 256-way softmax a colour.

Notation:
    D: directions, 0 from the left, 1 from the right (its maps mirrored, so that both run alike); h: units.

Deviations:
  - h need not be a multiple of three: the colours' groups differ by one channel at most.
  - The source sets its learning rates by hand and gives none; the gradient's norm is limited here.
  - "adam" can take the place of the source's RMSProp.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask
from trainables.density import COLOURS, LEVELS, DensityModel, DensityNetwork, Rule, centred
from trainables.errors import ConfigError
from trainables.masked_conv import MaskedConv2d, colour_groups
from trainables.row_reader import RowReader

GATES = 4
DIRECTIONS = 2
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class DiagonalBilstmConfig:
    """Knobs of `diagonal_bilstm`; the values are those of van den Oord et al. 2016 for CIFAR-10.

    Attributes:
        hidden: units of each LSTM, h; section 5.3, 128. Features have twice as many channels.
        layers: number of BiLSTM layers; section 5.3, 12.
        first_kernel_px: side of the first convolution; Table 1, 7.
        output_features: channels of the 1x1 convolution before the last; section 3.6, 1024.
        optimizer: section 5.1, RMSProp.
        learning_rate: "manually set", no value given.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        clip_norm: greatest norm of the gradient; not given in the source.
        batch_images: images a step; section 5.1, 16.
        decoding: how a level is chosen; `beyond_cnns`, section Density Based Models, the most probable one.
        temperature: of the rule "sample"; not given in the source.
        decoding_seed: of the rule "sample".
        mirror: random left-right flips.
        precision: "bfloat16" trains in mixed precision; filling is float32 always.
    """

    hidden: int = 128
    layers: int = 12
    first_kernel_px: int = 7
    output_features: int = 1024
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    learning_rate: float = 1e-3
    decay_factor: float = 0.5
    decay_epochs: float = 3.0
    clip_norm: float = 1.0
    batch_images: int = 16
    decoding: Rule = "argmax"
    temperature: float = 1.0
    decoding_seed: int = 0
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM step; gates in the order output, forget, input, content along the last dimension.

    Args:
        gates: (..., 4h) before the non-linearities.
        cell: (..., h) of the step before.

    Returns:
        New hidden state and new cell, each (..., h).
    """
    output, forget, entry, content = gates.chunk(GATES, -1)
    cell = forget.sigmoid() * cell + entry.sigmoid() * content.tanh()
    return output.sigmoid() * cell.tanh(), cell


def skew(maps: Tensor) -> Tensor:
    """Shifts row i by i columns: (..., H, W, C) -> (..., H, W + H - 1, C), zeros elsewhere; a diagonal becomes a column."""
    *outer, height, width, channels = maps.shape
    padded = functional.pad(maps, (0, 0, 0, height))  # (..., H, W + H, C); row i begins i * (W + H) further on
    rows = padded.flatten(-3, -2)[..., : height * (width + height - 1), :]
    return rows.reshape(*outer, height, width + height - 1, channels)


def unskew(maps: Tensor) -> Tensor:
    """Undoes `skew`: (..., H, W + H - 1, C) -> (..., H, W, C)."""
    *outer, height, columns, channels = maps.shape
    padded = functional.pad(maps.flatten(-3, -2), (0, 0, 0, height))
    return padded.reshape(*outer, height, columns + 1, channels)[..., : columns - height + 1, :]


class DiagonalBilstmLayer(nn.Module):
    """One pair of LSTMs with the residual connection."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        features, gates, units = colour_groups(2 * hidden), colour_groups(hidden, DIRECTIONS * GATES), colour_groups(hidden)
        self.input_to_state = MaskedConv2d(features, gates, (1, 1), "B")
        bound = (2 * hidden) ** -0.5
        self.from_beside = nn.Parameter(torch.empty(DIRECTIONS, hidden, GATES * hidden).uniform_(-bound, bound))
        self.from_above = nn.Parameter(torch.empty(DIRECTIONS, hidden, GATES * hidden).uniform_(-bound, bound))
        self.widen = MaskedConv2d(units, features, (1, 1), "B")

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """All rows of an image.

        Args:
            features: (B, 2h, H, W).

        Returns:
            The layer's output (B, 2h, H, W), and the last row's hidden states (D, B, W, h), both in the image's own order.
        """
        left, right = self.gates(features)
        states = self.sweep(torch.stack([left, right.flip(2)]))  # (D, B, H, W, h)
        left, right = states[0], states[1].flip(2)
        below = functional.pad(right, (0, 0, 0, 0, 1, 0))[:, :-1]  # row i holds what the right one knew a row higher
        return features + self.widen((left + below).permute(0, 3, 1, 2)), torch.stack([left[:, -1], right[:, -1]])

    def gates(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the input adds to the gates: (B, 2h, H, W) -> from the left and from the right, (B, H, W, 4h) each."""
        left, right = self.input_to_state(features).permute(0, 2, 3, 1).chunk(DIRECTIONS, -1)
        return left, right

    def sweep(self, gates: Tensor) -> Tensor:
        """Runs both LSTMs over the diagonals; (D, B, H, W, 4h) -> hidden states (D, B, H, W, h)."""
        directions, batch, height, width, _ = gates.shape
        inside = skew(gates.new_ones(height, width, 1))  # (H, W + H - 1, 1)
        hidden = gates.new_zeros(directions, batch, height, self.hidden)
        cell = hidden
        weight = torch.cat([self.from_beside, self.from_above], 1)  # (D, 2h, 4h)
        columns = []
        for column, here in zip(skew(gates).unbind(3), inside.unbind(1), strict=True):
            above = functional.pad(hidden, (0, 0, 1, 0))[:, :, :-1]
            both = torch.cat([hidden, above], -1).flatten(1, 2)  # (D, B * H, 2h)
            hidden, cell = lstm_cell(column + torch.bmm(both, weight).reshape(column.shape), cell)
            hidden, cell = hidden * here, cell * here
            columns.append(hidden)
        return unskew(torch.stack(columns, 3))


class DiagonalBilstmNetwork(DensityNetwork):
    """The first convolution, the layers and the softmax."""

    def __init__(self, config: DiagonalBilstmConfig, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        features, between = colour_groups(2 * config.hidden), colour_groups(config.output_features)
        rows = config.first_kernel_px // 2 + 1
        self.first = MaskedConv2d(colour_groups(COLOURS), features, (rows, config.first_kernel_px), "A")
        self.layers = nn.ModuleList(DiagonalBilstmLayer(config.hidden) for _ in range(config.layers))
        self.narrow = MaskedConv2d(features, between, (1, 1), "B")
        self.softmax = MaskedConv2d(between, colour_groups(COLOURS * levels), (1, 1), "B")

    def forward(self, values: Tensor) -> Tensor:
        features = self.first(self.intensities(values))
        for layer in self.layers:
            features, _ = layer(features)
        return self.head(features)

    def intensities(self, values: Tensor) -> Tensor:
        """Values in [-1, 1], of the weights' type."""
        return centred(values, self.levels, self.first.weight.dtype)

    def head(self, features: Tensor) -> Tensor:
        """(B, 2h, H, W) -> (B, 3, H, W, L)."""
        logits: Tensor = self.softmax(self.narrow(features.relu()).relu())
        return logits.reshape(len(features), COLOURS, self.levels, *features.shape[2:]).permute(0, 1, 3, 4, 2)

    def reader(self, values: Tensor) -> "DiagonalBilstmReader":
        return DiagonalBilstmReader(self, values)


class DiagonalBilstmReader(RowReader):
    """Keeps, for each layer, the row above's hidden states of both directions, and the current row's inputs and states."""

    def __init__(self, network: DiagonalBilstmNetwork, values: Tensor) -> None:
        super().__init__(values)
        self.network = network
        self.layers: list[DiagonalBilstmLayer] = list(network.layers)  # type: ignore[arg-type]
        weight, (batch, _, _, width) = network.first.weight, values.shape
        hidden, count = len(weight) // 2, len(self.layers)
        self.above = weight.new_zeros(count, DIRECTIONS, batch, width, hidden)
        self.current = weight.new_zeros(count, batch, width, hidden)  # from the left, this row
        self.from_right = weight.new_zeros(count, batch, width, GATES * hidden)  # what this row's input adds to the right one's gates
        self.cells = weight.new_zeros(count, batch, hidden)  # from the left, last kept column

    def begin(self, row: int) -> None:
        if row:
            features = self.network.first(self.network.intensities(self.values[:, :, :row]))
            for index, layer in enumerate(self.layers):
                features, self.above[index] = layer(features)

    def extend(self, start: int, stop: int, *, keep: bool) -> Tensor:
        reach = self.network.first.kernel_size[0] - 1
        top = max(self.row - reach, 0)
        window = self.network.intensities(self.values[:, :, top : self.row + 1, max(start - reach, 0) : stop + reach])
        offset = min(start, reach)
        features = self.network.first.at(window, self.row - top, offset, offset + stop - start)  # (B, 2h, 1, n)
        for index, layer in enumerate(self.layers):
            from_input = layer.input_to_state.at(features, 0, 0, stop - start)[:, :, 0].transpose(1, 2)
            left, right = from_input.chunk(DIRECTIONS, -1)  # (B, n, 4h) each
            above = self.above[index, :, :, start:stop]  # (D, B, n, h)
            hidden, cell = self._run(layer, left + above[0] @ layer.from_above[0], index, start)
            if keep:
                self.current[index, :, start:stop] = hidden
                self.cells[index] = cell
                self.from_right[index, :, start:stop] = right
            features = features + layer.widen.at((hidden + above[1]).transpose(1, 2)[:, :, None], 0, 0, stop - start)
        return features[:, :, 0, -1]

    def _run(self, layer: DiagonalBilstmLayer, gates: Tensor, index: int, start: int) -> tuple[Tensor, Tensor]:
        """The LSTM from the left over columns from `start` on: gates (B, n, 4h) -> hidden states (B, n, h) and the last cell (B, h)."""
        cell = self.cells[index] if start else torch.zeros_like(self.cells[index])
        hidden = self.current[index, :, start - 1] if start else torch.zeros_like(cell)
        states = []
        for column in gates.unbind(1):
            hidden, cell = lstm_cell(column + hidden @ layer.from_beside[0], cell)
            states.append(hidden)
        return torch.stack(states, 1), cell

    def finish_row(self) -> None:
        """Runs the LSTMs from the right over the finished row, those of all layers together."""
        beside = torch.stack([layer.from_beside[1] for layer in self.layers])  # (layers, h, 4h)
        above = torch.stack([layer.from_above[1] for layer in self.layers])
        gates = self.from_right + torch.matmul(self.above[:, 1], above[:, None])  # (layers, B, W, 4h)
        hidden = torch.zeros_like(self.cells)
        cell = hidden
        for column in reversed(range(gates.shape[2])):
            hidden, cell = lstm_cell(gates[:, :, column] + torch.bmm(hidden, beside), cell)
            self.above[:, 1, :, column] = hidden
        self.above[:, 0] = self.current

    def logits(self, features: Tensor, colour: int) -> Tensor:
        between = self.network.narrow.at_pixel(features.relu()).relu()
        return self.network.softmax.at_pixel(between).chunk(COLOURS, 1)[colour]


def check_sizes(config: DiagonalBilstmConfig) -> None:
    """Raises ConfigError for sizes that give no network."""
    for name, least in (("hidden", 2), ("layers", 1), ("output_features", COLOURS)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name} must be at least {least}, but got {getattr(config, name)}; use a greater number")
    if config.first_kernel_px % 2 == 0:
        raise ConfigError(f"first_kernel_px must be odd, but got {config.first_kernel_px}; the kernel is centred on the pixel")


class DiagonalBilstm(DensityModel):
    """Trains `DiagonalBilstmNetwork` on the cross-entropy of every value."""

    Config = DiagonalBilstmConfig

    def __init__(self, config: DiagonalBilstmConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        check_sizes(config)
        self.config: DiagonalBilstmConfig = config
        self.network: DiagonalBilstmNetwork = DiagonalBilstmNetwork(config)
        self.networks = {"network": self.network}
        self.optimizers = {"network": OPTIMIZERS[config.optimizer](self.network.parameters(), lr=config.learning_rate)}  # type: ignore[call-arg]

    def before_step(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
