"""Decoding of networks whose state is one row: rows above are summed up, the current row is extended column by column.

Shared by `row_lstm` and `diagonal_bilstm`. Rows above the first hole go through the network in parallel, once. In a row with a hole,
runs of known pixels go through together; at a hole's pixel the column is computed once a colour, because the features of green depend
on the red just chosen, and those of blue on both. A row is finished, its pixels right of the hole included, before the next begins.

Source: a consequence of the factorisation; the documents do not describe how they decode.
Deviations: none.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from trainables.density import COLOURS


class RowReader(ABC):
    """A `RasterReader`; see the module's docstring.

    Attributes:
        values: (B, 3, H, W) int64, read at and before the place asked for.
        row: the row that is being extended; -1 before the first.
        column: columns of that row, from the left, that are part of the state for good.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.row = -1
        self.column = 0

    def __call__(self, row: int, column: int, colour: int, images: Tensor) -> Tensor:
        self._go_to(row, column)
        features = self.extend(column, column + 1, keep=colour == COLOURS - 1)
        if colour == COLOURS - 1:
            self.column = column + 1
        return self.logits(features[images], colour)

    @abstractmethod
    def begin(self, row: int) -> None:
        """Takes in all rows above `row`, in parallel; the state is then ready to extend `row`."""

    @abstractmethod
    def extend(self, start: int, stop: int, *, keep: bool) -> Tensor:
        """Computes columns `start` to `stop` (excluded) of `self.row`, whose columns before `start` are kept already.

        Args:
            start: first column.
            stop: the one after the last.
            keep: make them part of the state; False where the last column's own values are not all chosen.

        Returns:
            Features of the last column, (B, C).
        """

    @abstractmethod
    def finish_row(self) -> None:
        """Turns a row whose columns are all kept into the state of the rows above."""

    @abstractmethod
    def logits(self, features: Tensor, colour: int) -> Tensor:
        """(N, C) -> (N, L)."""

    def _go_to(self, row: int, column: int) -> None:
        """Keeps everything before a place."""
        if self.row < 0:
            self.begin(row)
            self.row = row
        while self.row < row:
            self._keep_until(self.values.shape[3])
            self.finish_row()
            self.row += 1
            self.column = 0
        self._keep_until(column)

    def _keep_until(self, column: int) -> None:
        if self.column < column:
            self.extend(self.column, column, keep=True)
            self.column = column
