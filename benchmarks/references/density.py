"""The four density models in plain PyTorch; source: `beyond_cnns`, section Density Based Models, and van den Oord et al. 2016."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.references.plain import Reference, update
from trainables.model import InpaintingModel

LEVELS = 256


def levels_of(image: Tensor) -> Tensor:
    """(B, 3, H, W) int64 from 0 to 255."""
    return (image * (LEVELS - 1)).round().long()


def intensities(values: Tensor) -> Tensor:
    """Levels in [-1, 1]."""
    return values.float() * (2 / (LEVELS - 1)) - 1


class PixelCnn(Reference):
    """Sections of 5x5 pixels at random places, whose last pixel is predicted, red before green before blue."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        layers: list[nn.Module] = []
        width = 4 * (config.patch_px**2 - 1)
        for _ in range(config.depth):
            layers += [nn.Linear(width, config.filters), nn.LeakyReLU(), nn.Dropout(config.dropout)]
            width = config.filters
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList()
        for colour in range(3):
            hidden = [nn.Linear(width + colour, config.hidden), nn.LeakyReLU(), nn.Dropout(config.dropout)]
            self.heads.append(nn.Sequential(*hidden, nn.Linear(config.hidden, LEVELS)))
        self.networks = [self.trunk, self.heads]
        self.optimizer = torch.optim.Adam([*self.trunk.parameters(), *self.heads.parameters()], lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        values, size = levels_of(image), self.config.patch_px
        batch, _, height, width = values.shape
        images = torch.arange(batch).repeat_interleave(self.config.positions)
        rows, columns = torch.randint(height, images.shape), torch.randint(width, images.shape)
        colours = intensities(values)
        planes = functional.pad(torch.cat([colours, torch.ones_like(colours[:, :1])], 1), (size - 1, 0, size - 1, 0))
        sections = functional.unfold(planes, size)  # (B, 4 * size^2, H * W)
        chosen = sections[images, :, rows * width + columns].reshape(len(images), 4, -1)[..., :-1].flatten(1)
        features, pixels = self.trunk(chosen), values[images, :, rows, columns]
        losses = []
        for colour, head in enumerate(self.heads):
            seen = torch.cat([features, intensities(pixels[:, :colour])], 1)
            losses.append(functional.cross_entropy(head(seen), pixels[:, colour]))
        loss = sum(losses) / 3
        update(self.optimizer, loss)
        return {"loss": loss.item()}


class FlatRowLstm(Reference):
    """One-hot values of the flattened image through an LSTM; gradients go through a few rows."""

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        self.lstm = nn.LSTM(LEVELS, config.hidden, config.layers)
        self.softmax = nn.Linear(config.hidden, LEVELS)
        self.networks = [_OneHot(), self.lstm, self.softmax]
        self.weights = [*self.lstm.parameters(), *self.softmax.parameters()]
        self.optimizer = torch.optim.Adam(self.weights, lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        tokens = levels_of(image).permute(2, 3, 1, 0).flatten(0, 2)  # (H * W * 3, B)
        length = self.config.backprop_rows * image.shape[3] * 3
        state: tuple[Tensor, Tensor] | None = None
        losses = []
        for piece in tokens.split(length):
            hidden, after = self.lstm(functional.one_hot(piece, LEVELS).float(), state)
            earlier = torch.zeros_like(hidden[:1]) if state is None else state[0][-1:]
            logits = self.softmax(torch.cat([earlier, hidden[:-1]]))
            loss = functional.cross_entropy(logits.flatten(0, 1), piece.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.weights, self.config.clip_norm)
            self.optimizer.step()
            state = after[0].detach(), after[1].detach()
            losses.append(loss.item())
        return {"loss": sum(losses) / len(losses)}


class _OneHot(nn.Module):
    """The rows that stand for one-hot vectors in the model; no part of this training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.eye(LEVELS))


class MaskedConv(nn.Conv2d):
    """Convolution over what comes before a pixel, with masks A and B over the colours."""

    def __init__(self, channels: int, filters: int, kernel: tuple[int, int], kind: str, blocks: int = 1) -> None:
        rows, columns = kernel
        super().__init__(channels, filters * blocks, (2 * rows - 1, columns), padding=(rows - 1, columns // 2))
        self.weight = nn.Parameter(torch.empty(filters * blocks, channels, rows, columns))
        enters, leaves = torch.arange(channels) * 3 // channels, (torch.arange(filters) * 3 // filters).repeat(blocks)
        mask = torch.zeros(filters * blocks, channels, 2 * rows - 1, columns)
        mask[:, :, : rows - 1] = 1
        mask[:, :, rows - 1, : columns // 2] = 1
        sees = enters < leaves[:, None] if kind == "A" else enters <= leaves[:, None]
        mask[:, :, rows - 1, columns // 2] = sees.float()
        self.register_buffer("mask", mask[:, :, :rows], persistent=False)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        rows, columns = self.weight.shape[2:]
        padded = functional.pad(features, (columns // 2, columns // 2, rows - 1, 0))
        return functional.conv2d(padded, self.weight * self.mask, self.bias)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden state and cell from gates (B, 4h, W) in the order output, forget, input, content."""
    output, forget, entry, content = gates.chunk(4, 1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(content)
    return torch.sigmoid(output) * torch.tanh(cell), cell


class RowLayer(nn.Module):
    """Section 3.1: an LSTM whose state is a row."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_to_state = MaskedConv(2 * hidden, hidden, (1, 3), "B", blocks=4)
        self.state_to_state = nn.Conv1d(hidden, 4 * hidden, 3, padding=1, bias=False)
        self.widen = MaskedConv(hidden, 2 * hidden, (1, 1), "B")

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2h, H, W) -> the same."""
        entering = self.input_to_state(features)
        hidden = cell = features.new_zeros(len(features), self.hidden, features.shape[3])
        rows = []
        for row in range(features.shape[2]):
            hidden, cell = lstm_cell(entering[:, :, row] + self.state_to_state(hidden), cell)
            rows.append(hidden)
        return features + self.widen(torch.stack(rows, 2))


class DiagonalLayer(nn.Module):
    """Section 3.2: two LSTMs along the diagonals, one after the other."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_beside = nn.Parameter(torch.empty(2, hidden, 4 * hidden))
        self.from_above = nn.Parameter(torch.empty(2, hidden, 4 * hidden))
        self.input_to_state = MaskedConv(2 * hidden, hidden, (1, 1), "B", blocks=8)
        self.widen = MaskedConv(hidden, 2 * hidden, (1, 1), "B")

    def forward(self, features: Tensor) -> Tensor:
        """(B, 2h, H, W) -> the same."""
        left, right = self.input_to_state(features).chunk(2, 1)
        from_left = self.sweep(left, 0)
        from_right = self.sweep(right.flip(3), 1).flip(3)
        return features + self.widen(from_left + functional.pad(from_right, (0, 0, 1, 0))[:, :, :-1])

    def sweep(self, gates: Tensor, direction: int) -> Tensor:
        """(B, 4h, H, W) -> hidden states (B, h, H, W), diagonal by diagonal of a skewed map."""
        batch, _, height, width = gates.shape
        skewed = gates.new_zeros(batch, gates.shape[1], height, width + height - 1)
        inside = gates.new_zeros(height, width + height - 1)
        for row in range(height):
            skewed[:, :, row, row : row + width] = gates[:, :, row]
            inside[row, row : row + width] = 1
        kernel = torch.stack([self.from_above[direction].T, self.from_beside[direction].T], 2)  # (4h, h, 2): the row above, and the row
        hidden = cell = gates.new_zeros(batch, self.hidden, height)
        columns = []
        for column in range(width + height - 1):
            state = functional.conv1d(functional.pad(hidden, (1, 0)), kernel)
            hidden, cell = lstm_cell(skewed[..., column] + state, cell)
            hidden, cell = hidden * inside[:, column], cell * inside[:, column]
            columns.append(hidden)
        swept = torch.stack(columns, 3)
        return torch.stack([swept[:, :, row, row : row + width] for row in range(height)], 2)


class PixelRnn(Reference):
    """Table 1: a 7x7 convolution, layers, two 1x1 convolutions, a softmax of 256 a colour."""

    layer: type[nn.Module]

    def __init__(self, model: InpaintingModel) -> None:
        self.config = config = model.config
        features, between = 2 * config.hidden, config.output_features
        self.network = nn.Sequential(
            MaskedConv(3, features, (4, 7), "A"),
            *(self.layer(config.hidden) for _ in range(config.layers)),
            *(nn.ReLU(), MaskedConv(features, between, (1, 1), "B")),
            *(nn.ReLU(), MaskedConv(between, 3 * LEVELS, (1, 1), "B")),
        )
        self.networks = [self.network]
        self.optimizer = torch.optim.RMSprop(self.network.parameters(), lr=config.learning_rate)

    def step(self, image: Tensor, known: Tensor) -> dict[str, float]:
        values = levels_of(image)
        logits = self.network(intensities(values)).unflatten(1, (3, LEVELS)).transpose(1, 2)  # (B, L, 3, H, W)
        loss = functional.cross_entropy(logits, values)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return {"loss": loss.item()}


class RowLstm(PixelRnn):
    """With the layers of section 3.1."""

    layer = RowLayer


class DiagonalBilstm(PixelRnn):
    """With the layers of section 3.2."""

    layer = DiagonalLayer
