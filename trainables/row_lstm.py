"""`row_lstm`: masked convolutions along each row feed LSTMs that run from row to row.

Source: van den Oord et al. 2016, Pixel Recurrent Neural Networks, sections 3.1 (Row LSTM), 3.3 (residual connections), 3.4 (masked
convolutions), 3.6 and Table 1 (architecture), 5.1 and 5.3 (training, CIFAR-10); cited by `beyond_cnns`, section Pixel-CNN, which
reports no figure for it.

Implemented: a 7x7 convolution with mask A; layers of 2h channels, in each of which a 1x3 convolution with mask B gives the input to
state, an unmasked 1x3 convolution over the row above the state to state, an LSTM with h units a pixel the new state, and a 1x1
convolution with mask B brings it to 2h channels, added to the layer's input; two 1x1 convolutions with mask B after ReLU; a 256-way
softmax a colour. Filling extends the last row's state.

Deviations:
  - h need not be a multiple of three: the colours' groups differ by one channel at most.
  - The source sets its learning rates by hand and gives none; the gradient's norm is limited here.
  - "adam" can take the place of the source's RMSProp.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.data import Mask
from trainables.density import COLOURS, LEVELS, DensityModel, DensityNetwork, Rule, centred
from trainables.errors import ConfigError
from trainables.masked_conv import MaskedConv2d, colour_groups
from trainables.row_reader import RowReader

GATES = 4
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class RowLstmConfig:
    """Knobs of `row_lstm`; the values are those of van den Oord et al. 2016 for CIFAR-10.

    Attributes:
        hidden: units of each LSTM, h; section 5.3, 128. Features have twice as many channels.
        layers: number of LSTM layers; section 5.3, 12.
        first_kernel_px: side of the first convolution; Table 1, 7.
        kernel_px: columns of the input-to-state and state-to-state convolutions; Table 1, 3.
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
    kernel_px: int = 3
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
    """One LSTM step; gates in the order output, forget, input, content along dimension 1.

    Args:
        gates: (B, 4h, ...) before the non-linearities.
        cell: (B, h, ...) of the step before.

    Returns:
        New hidden state and new cell, each (B, h, ...).
    """
    output, forget, entry, content = gates.chunk(GATES, 1)
    cell = forget.sigmoid() * cell + entry.sigmoid() * content.tanh()
    return output.sigmoid() * cell.tanh(), cell


class RowLstmLayer(nn.Module):
    """One LSTM layer with its residual connection."""

    def __init__(self, hidden: int, kernel_px: int) -> None:
        super().__init__()
        self.hidden = hidden
        features, gates, units = colour_groups(2 * hidden), colour_groups(hidden, GATES), colour_groups(hidden)
        self.input_to_state = MaskedConv2d(features, gates, (1, kernel_px), "B")
        self.state_to_state = nn.Conv1d(hidden, GATES * hidden, kernel_px, padding=kernel_px // 2, bias=False)
        self.widen = MaskedConv2d(units, features, (1, 1), "B")

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All rows of an image.

        Args:
            features: (B, 2h, H, W).

        Returns:
            The layer's output (B, 2h, H, W), and hidden state and cell of the last row, each (B, h, W).
        """
        from_input = self.input_to_state(features)
        hidden = features.new_zeros(len(features), self.hidden, features.shape[3])
        cell = hidden
        rows = []
        for row in from_input.unbind(2):
            hidden, cell = lstm_cell(row + self.state_to_state(hidden), cell)
            rows.append(hidden)
        return features + self.widen(torch.stack(rows, 2)), hidden, cell


class RowLstmNetwork(DensityNetwork):
    """The first convolution, the layers and the softmax."""

    def __init__(self, config: RowLstmConfig, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        features, between = colour_groups(2 * config.hidden), colour_groups(config.output_features)
        rows = config.first_kernel_px // 2 + 1
        self.first = MaskedConv2d(colour_groups(COLOURS), features, (rows, config.first_kernel_px), "A")
        self.layers = nn.ModuleList(RowLstmLayer(config.hidden, config.kernel_px) for _ in range(config.layers))
        self.narrow = MaskedConv2d(features, between, (1, 1), "B")
        self.softmax = MaskedConv2d(between, colour_groups(COLOURS * levels), (1, 1), "B")

    def forward(self, values: Tensor) -> Tensor:
        features = self.first(self.intensities(values))
        for layer in self.layers:
            features, _, _ = layer(features)
        return self.head(features)

    def intensities(self, values: Tensor) -> Tensor:
        """Values in [-1, 1], of the weights' type."""
        return centred(values, self.levels, self.first.weight.dtype)

    def head(self, features: Tensor) -> Tensor:
        """(B, 2h, H, W) -> (B, 3, H, W, L)."""
        logits: Tensor = self.softmax(self.narrow(features.relu()).relu())
        return logits.reshape(len(features), COLOURS, self.levels, *features.shape[2:]).permute(0, 1, 3, 4, 2)

    def reader(self, values: Tensor) -> "RowLstmReader":
        return RowLstmReader(self, values)


class RowLstmReader(RowReader):
    """Keeps, for each layer, what the row above adds to the gates, its cells, and the current row's inputs and states."""

    def __init__(self, network: RowLstmNetwork, values: Tensor) -> None:
        super().__init__(values)
        self.network = network
        self.layers: list[RowLstmLayer] = list(network.layers)  # type: ignore[arg-type]
        shape = (len(values), network.first.out_channels, 1, values.shape[3])
        self.inputs = [network.first.weight.new_zeros(shape) for _ in self.layers]  # (B, 2h, 1, W) each
        self.hidden = [row[:, ::2, 0].clone() for row in self.inputs]  # (B, h, W) each
        self.cells = [row.clone() for row in self.hidden]
        self.above = [row.clone() for row in self.hidden]  # cells of the row above
        self.from_above: list[Tensor] = []  # (B, 4h, W) each

    def begin(self, row: int) -> None:
        if row:
            features = self.network.first(self.network.intensities(self.values[:, :, :row]))
            for index, layer in enumerate(self.layers):
                features, self.hidden[index], self.cells[index] = layer(features)
        self.finish_row()

    def extend(self, start: int, stop: int, *, keep: bool) -> Tensor:
        reach = self.network.first.kernel_size[0] - 1
        top = max(self.row - reach, 0)
        window = self.network.intensities(self.values[:, :, top : self.row + 1, max(start - reach, 0) : stop + reach])
        offset = min(start, reach)
        features = self.network.first.at(window, self.row - top, offset, offset + stop - start)
        for index, layer in enumerate(self.layers):
            self.inputs[index][..., start:stop] = features
            gates = layer.input_to_state.at(self.inputs[index], 0, start, stop)[:, :, 0] + self.from_above[index][..., start:stop]
            hidden, cell = lstm_cell(gates, self.above[index][..., start:stop])
            if keep:
                self.hidden[index][..., start:stop] = hidden
                self.cells[index][..., start:stop] = cell
            features = features + layer.widen.at(hidden[:, :, None], 0, 0, stop - start)
        return features[:, :, 0, -1]

    def finish_row(self) -> None:
        self.from_above = [layer.state_to_state(hidden) for layer, hidden in zip(self.layers, self.hidden, strict=True)]
        self.above = [cell.clone() for cell in self.cells]

    def logits(self, features: Tensor, colour: int) -> Tensor:
        between = self.network.narrow.at_pixel(features.relu()).relu()
        return self.network.softmax.at_pixel(between).chunk(COLOURS, 1)[colour]


def check_sizes(config: RowLstmConfig) -> None:
    """Raises ConfigError for sizes that give no network."""
    for name, least in (("hidden", 2), ("layers", 1), ("output_features", COLOURS)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name} must be at least {least}, but got {getattr(config, name)}; use a greater number")
    for name in ("first_kernel_px", "kernel_px"):
        if getattr(config, name) % 2 == 0:
            raise ConfigError(f"{name} must be odd, but got {getattr(config, name)}; the kernel is centred on the pixel")


class RowLstm(DensityModel):
    """Trains `RowLstmNetwork` on the cross-entropy of every value."""

    Config = RowLstmConfig

    def __init__(self, config: RowLstmConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        check_sizes(config)
        self.config: RowLstmConfig = config
        self.network: RowLstmNetwork = RowLstmNetwork(config)
        self.networks = {"network": self.network}
        self.optimizers = {"network": OPTIMIZERS[config.optimizer](self.network.parameters(), lr=config.learning_rate)}  # type: ignore[call-arg]

    def before_step(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
