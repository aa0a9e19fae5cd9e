"""`flat_row_lstm`: one LSTM along the flattened image, a softmax after each colour value.

Source: `beyond_cnns`, section Flattened Row LSTM, Figure 9, and section Results / Density Methods (7.63 on the test set). The image is
flattened from the top-left to the bottom-right corner, each pixel's values in the order red, green, blue; every value enters as a
256-dimensional one-hot vector; 64 hidden units; a fully connected softmax layer of 256; cross-entropy.

Implemented: the same, trained on every value of the image. The LSTM's state after a value gives the distribution of the next one, so
each pixel is informed by all rows above it.

Deviations:
  - `embedding` above 0 puts a learned linear map between the one-hot vector and the LSTM, a factorisation of its input weights that starts
    with neighbouring levels close to one another; 0 is the source's direct input. Either way the product with a one-hot vector is
    computed as the row that it selects.
  - `above` adds a second one-hot vector, of the value that stands above the one to come; the source leaves all memory to the state.
  - `target_blur` spreads the target over neighbouring levels. The source asks whether 117 for 118 is as wrong as 245, and keeps the
    exact level.
  - Back-propagation goes through `backprop_rows` rows; the state is carried on from there, and every such piece takes a step of Adam.
  - The document gives no optimiser's settings for this model, no batch size and no number of updates.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data import Mask
from trainables.density import COLOURS, LEVELS, DensityModel, DensityNetwork, Rule
from trainables.errors import ConfigError

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FlatRowLstmConfig:
    """Knobs of `flat_row_lstm`; the values are the paper's (section Flattened Row LSTM unless said otherwise).

    Attributes:
        hidden: units of the LSTM; 64, cross-validated in the source.
        layers: LSTMs on top of each other; "incorporating multiple LSTM networks" is proposed in the source.
        embedding: width of the learned input map; 0 = one-hot vectors enter directly.
        above: the value above the one to come enters too; off in the source.
        target_blur: standard deviation of the targets in levels; 0 = the exact level, as in the source.
        backprop_rows: rows of the image that gradients pass through; not given in the source. 0 = the whole image.
        learning_rate: Adam's; not given in the source.
        decay_factor: what the rate is multiplied by; not given in the source. 1 = no decay.
        decay_epochs: after how many epochs each time; not given in the source.
        clip_norm: greatest norm of the gradient; not given in the source.
        batch_images: images a step; not given in the source.
        decoding: how a level is chosen; section Density Based Models, the most probable one.
        temperature: of the rule "sample"; not given in the source.
        decoding_seed: of the rule "sample".
        mirror: random left-right flips.
        precision: "bfloat16" trains in mixed precision; filling is float32 always.
    """

    hidden: int = 64
    layers: int = 1
    embedding: int = 0
    above: bool = False
    target_blur: float = 0.0
    backprop_rows: int = 4
    learning_rate: float = 3e-3
    decay_factor: float = 0.5
    decay_epochs: float = 3.0
    clip_norm: float = 1.0
    batch_images: int = 32
    decoding: Rule = "argmax"
    temperature: float = 1.0
    decoding_seed: int = 0
    mirror: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"


class FlatRowLstmNetwork(DensityNetwork):
    """Values in raster order through an LSTM.

    Tokens are values flattened to (T, B) with T = H * W * 3; the state after token t gives the distribution of token t + 1. Where they are
    floats they are one-hot vectors, (T, B, L), and the products with them are carried out; that has a derivative.
    """

    def __init__(self, config: FlatRowLstmConfig, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels
        inputs = 2 if config.above else 1
        self.embedding = _input_map(levels, config.embedding, 0, inputs)
        self.above = _input_map(levels, config.embedding, 1, inputs) if config.above else None
        self.lstm = nn.LSTM(self.embedding.embedding_dim, config.hidden, config.layers)
        self.softmax = nn.Linear(config.hidden, levels)

    def forward(self, values: Tensor) -> Tensor:
        return self.logits(to_tokens(values), values.shape[2], values.shape[3])

    def logits(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """All tokens of an image -> (B, 3, H, W, L)."""
        hidden, _ = self.lstm(self.embed(tokens, 0, len(tokens), width))
        before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])  # the state that each token is predicted from
        flat: Tensor = self.softmax(before)  # (T, B, L)
        return flat.reshape(height, width, COLOURS, -1, self.levels).permute(3, 2, 0, 1, 4)

    def embed(self, tokens: Tensor, first: int, stop: int, width: int) -> Tensor:
        """What the LSTM takes in at tokens `first` to `stop` (excluded).

        Args:
            tokens: from any row's first token on; where `above` is set, from the row above that of `first` or further up.
            first: index into `tokens`.
            stop: likewise.
            width: W.

        Returns:
            (stop - first, B, E).
        """
        embedded = _selected(self.embedding, tokens[first:stop])
        if self.above is None:
            return embedded
        shift = COLOURS * width - 1  # from a token to the one above its successor
        missing = min(max(shift - first, 0), stop - first)  # tokens with no row above their successor
        higher = _selected(self.above, tokens[first + missing - shift : stop - shift]) if stop - first > missing else embedded[:0]
        return embedded + torch.cat([torch.zeros_like(embedded[:missing]), higher])

    def reader(self, values: Tensor) -> "FlatRowLstmReader":
        return FlatRowLstmReader(self, values)


def _input_map(levels: int, width: int, place: int, inputs: int) -> nn.Embedding:
    """What each level of one of several inputs becomes, one row a level; the inputs' rows are added up.

    Args:
        levels: L.
        width: of a learned map, which starts as a random walk over the levels with unit variance; 0 = fixed one-hot rows.
        place: which input this is; one-hot rows of different inputs share no column.
        inputs: how many there are.
    """
    rows = nn.Embedding(levels, width or inputs * levels)
    if width:
        walk = torch.randn(levels, width).cumsum(0)
        start = (walk - walk.mean(0)) / walk.std(0)
    else:
        start = torch.eye(inputs * levels)[place * levels : (place + 1) * levels]
    with torch.no_grad():
        rows.weight.copy_(start)
    return rows.requires_grad_(bool(width))


def _selected(rows: nn.Embedding, tokens: Tensor) -> Tensor:
    """Rows by level, or sums of rows weighted by one-hot vectors."""
    selected: Tensor = tokens @ rows.weight if tokens.is_floating_point() else rows(tokens)
    return selected


def blurred_targets(levels: int, blur: float) -> Tensor:
    """Each level's target distribution: a Gaussian around it with standard deviation `blur`, normalised; (L, L) float32."""
    level = torch.arange(levels, dtype=torch.float32)
    return (-((level[:, None] - level) ** 2) / (2 * blur**2)).softmax(1)


def to_tokens(values: Tensor) -> Tensor:
    """(B, 3, H, W) -> (H * W * 3, B), pixels in raster order, red, green, blue."""
    return values.permute(2, 3, 1, 0).flatten(0, 2)


class FlatRowLstmReader:
    """Carries the LSTM's state; between two places the known values pass through it in one call."""

    def __init__(self, network: FlatRowLstmNetwork, values: Tensor) -> None:
        self.network = network
        self.values = values
        shape = (network.lstm.num_layers, len(values), network.lstm.hidden_size)
        self.state: State = (network.softmax.weight.new_zeros(shape), network.softmax.weight.new_zeros(shape))
        self.taken_in = 0

    def __call__(self, row: int, column: int, colour: int, images: Tensor) -> Tensor:
        position = (row * self.values.shape[3] + column) * COLOURS + colour
        if position > self.taken_in:
            self._take_in(position)
        logits: Tensor = self.network.softmax(self.state[0][-1, images])
        return logits

    def _take_in(self, position: int) -> None:
        """Passes the tokens before `position` through the LSTM."""
        width = self.values.shape[3]
        top = max(self.taken_in // COLOURS // width - 1, 0)
        bottom = (position - 1) // COLOURS // width
        tokens = to_tokens(self.values[:, :, top : bottom + 1])
        origin = top * width * COLOURS
        embedded = self.network.embed(tokens, self.taken_in - origin, position - origin, width)
        _, self.state = self.network.lstm(embedded, self.state)
        self.taken_in = position


class FlatRowLstm(DensityModel):
    """Trains `FlatRowLstmNetwork` on the cross-entropy of every value."""

    Config = FlatRowLstmConfig

    def __init__(self, config: FlatRowLstmConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        for name in ("hidden", "layers"):
            if getattr(config, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but got {getattr(config, name)}; use a positive number")
        self.config: FlatRowLstmConfig = config
        self.network: FlatRowLstmNetwork = FlatRowLstmNetwork(config)
        self.networks = {"network": self.network}
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizers = {"network": torch.optim.Adam(trained, lr=config.learning_rate, fused=True)}
        self.targets = blurred_targets(LEVELS, config.target_blur) if config.target_blur else None

    def losses(self, values: Tensor) -> Iterable[Tensor]:
        network, width = self.network, values.shape[3]
        tokens = to_tokens(values)
        length = self.config.backprop_rows * width * COLOURS or len(tokens)
        state: State | None = None
        for first in range(0, len(tokens), length):
            piece = tokens[first : first + length]
            hidden, after = network.lstm(network.embed(tokens, first, first + len(piece), width), state)
            earlier = torch.zeros_like(hidden[:1]) if state is None else state[0][-1:].to(hidden.dtype)
            logits = network.softmax(torch.cat([earlier, hidden[:-1]])).flatten(0, 1)
            target = piece.flatten()
            yield functional.cross_entropy(logits, target if self.targets is None else self.targets.to(target.device)[target])
            state = (after[0].detach(), after[1].detach())

    def before_step(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
