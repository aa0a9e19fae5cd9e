"""Which knobs each model has, with the paper's values. Nothing heavy is imported and nothing runs here."""

from search_spaces import cnn_autoencoder, dcgan, wgan
from search_spaces.knob import Choice, Interval, Knob, Space, Value

SPACES: dict[str, Space] = {
    "cnn_autoencoder": cnn_autoencoder.SPACE,
    "dcgan": dcgan.SPACE,
    "wgan": wgan.SPACE,
}

__all__ = ["SPACES", "Choice", "Interval", "Knob", "Space", "Value"]
