"""Which knobs each model has, with the paper's values. Nothing heavy is imported and nothing runs here."""

from search_spaces import cnn_autoencoder, dcgan, diagonal_bilstm, flat_row_lstm, pixel_cnn, row_lstm, wgan
from search_spaces.knob import Choice, Interval, Knob, Space, Value

SPACES: dict[str, Space] = {
    "cnn_autoencoder": cnn_autoencoder.SPACE,
    "dcgan": dcgan.SPACE,
    "wgan": wgan.SPACE,
    "pixel_cnn": pixel_cnn.SPACE,
    "flat_row_lstm": flat_row_lstm.SPACE,
    "row_lstm": row_lstm.SPACE,
    "diagonal_bilstm": diagonal_bilstm.SPACE,
}

__all__ = ["SPACES", "Choice", "Interval", "Knob", "Space", "Value"]
