"""Which knobs each model has, with the paper's values. Nothing heavy is imported and nothing runs here."""

from search_spaces import (
    animal_autoencoder,
    classical_fill,
    cnn_autoencoder,
    completion_gan,
    context_encoder,
    cvae,
    dcgan,
    diagonal_bilstm,
    direct_cnn,
    flat_row_lstm,
    image_autoencoder,
    lsgan,
    lsgan_autoencoder,
    neighbour_network,
    patch_autoencoder,
    pconv_unet,
    pixel_cnn,
    pixel_regression,
    pluralistic,
    progressive,
    row_lstm,
    wgan,
)
from search_spaces.knob import Choice, Interval, Knob, Space, Value

SPACES: dict[str, Space] = {
    "cnn_autoencoder": cnn_autoencoder.SPACE,
    "dcgan": dcgan.SPACE,
    "wgan": wgan.SPACE,
    "pixel_cnn": pixel_cnn.SPACE,
    "flat_row_lstm": flat_row_lstm.SPACE,
    "row_lstm": row_lstm.SPACE,
    "diagonal_bilstm": diagonal_bilstm.SPACE,
    "direct_cnn": direct_cnn.SPACE,
    "image_autoencoder": image_autoencoder.SPACE,
    "patch_autoencoder": patch_autoencoder.SPACE,
    "cvae": cvae.SPACE,
    "completion_gan": completion_gan.SPACE,
    "classical_fill": classical_fill.SPACE,
    "pixel_regression": pixel_regression.SPACE,
    "neighbour_network": neighbour_network.SPACE,
    "context_encoder": context_encoder.SPACE,
    "pconv_unet": pconv_unet.SPACE,
    "lsgan": lsgan.SPACE,
    "lsgan_autoencoder": lsgan_autoencoder.SPACE,
    "pluralistic": pluralistic.SPACE,
    "progressive": progressive.SPACE,
    "animal_autoencoder": animal_autoencoder.SPACE,
}

__all__ = ["SPACES", "Choice", "Interval", "Knob", "Space", "Value"]
