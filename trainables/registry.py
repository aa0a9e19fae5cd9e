"""Every model by its name. A user's own model comes in as "module:Class" and needs no entry here."""

import importlib

from trainables.errors import ConfigError
from trainables.model import InpaintingModel

MODELS: dict[str, str] = {
    "cnn_autoencoder": "trainables.cnn_autoencoder:CnnAutoencoder",
    "dcgan": "trainables.dcgan:Dcgan",
    "wgan": "trainables.wgan:Wgan",
    "pixel_cnn": "trainables.pixel_cnn:PixelCnn",
    "flat_row_lstm": "trainables.flat_row_lstm:FlatRowLstm",
    "row_lstm": "trainables.row_lstm:RowLstm",
    "diagonal_bilstm": "trainables.diagonal_bilstm:DiagonalBilstm",
    "direct_cnn": "trainables.direct_cnn:DirectCnn",
    "image_autoencoder": "trainables.image_autoencoder:ImageAutoencoder",
    "patch_autoencoder": "trainables.patch_autoencoder:PatchAutoencoder",
    "cvae": "trainables.cvae:Cvae",
    "completion_gan": "trainables.completion_gan:CompletionGan",
    "classical_fill": "trainables.classical_fill:ClassicalFill",
    "pixel_regression": "trainables.pixel_regression:PixelRegression",
    "neighbour_network": "trainables.neighbour_network:NeighbourNetwork",
    "context_encoder": "trainables.context_encoder:ContextEncoder",
    "pconv_unet": "trainables.pconv_unet:PconvUnet",
    "lsgan": "trainables.lsgan:Lsgan",
    "lsgan_autoencoder": "trainables.lsgan_autoencoder:LsganAutoencoder",
    "pluralistic": "trainables.pluralistic:Pluralistic",
    "progressive": "trainables.progressive:Progressive",
    "animal_autoencoder": "trainables.animal_autoencoder:AnimalAutoencoder",
}


def load_model(name: str) -> type[InpaintingModel]:
    """Finds a model's class.

    Args:
        name: a key of `MODELS`, or "module:Class".

    Raises:
        ConfigError: neither of these, or a class that is no `InpaintingModel`.
    """
    path = MODELS.get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        raise ConfigError(f"model must be one of {', '.join(MODELS)}, or module:Class, but got {name!r}; name one of these")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} must be importable, but it is not ({error}); check the module's name and that it is installed"
        ) from error
    if not (isinstance(found, type) and issubclass(found, InpaintingModel)):
        raise ConfigError(
            f"model {name!r} must be a subclass of trainables.InpaintingModel, but it is {found!r}; derive it from that class"
        )
    return found
