from pathlib import Path

import pytest

from trainables.data import ImageSource, Mask
from trainables.errors import ConfigError
from trainables.model import InpaintingModel
from trainables.registry import MODELS, load_model
from trainables.session import Session

OWN_MODEL = '''
from dataclasses import dataclass
import torch
from trainables import InpaintingModel


@dataclass(frozen=True)
class OneColourConfig:
    learning_rate: float = 0.1
    batch_images: int = 8


class Colour(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.colour = torch.nn.Parameter(torch.zeros(1, 3, 1, 1))


class OneColour(InpaintingModel):
    """Fills every hole with one learned colour."""

    Config = OneColourConfig

    def __init__(self, config, image_px, mask):
        super().__init__(config, image_px, mask)
        self.networks = {"colour": Colour()}
        self.optimizers = {"colour": torch.optim.SGD(self.networks["colour"].parameters(), lr=config.learning_rate)}

    def train_unit(self, batches):
        losses = []
        for batch in batches:
            loss = ((self.networks["colour"].colour - batch.image) ** 2).mean()
            self.optimizers["colour"].zero_grad()
            loss.backward()
            self.optimizers["colour"].step()
            losses.append(loss.item())
        return {"loss": sum(losses) / len(losses)}

    def predict(self, image, known):
        return self.networks["colour"].colour.expand_as(image)


class NoModel:
    pass


nothing = 3
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an importable module with a user's own model."""
    (tmp_path / "my_inpainting_models.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_inpainting_models"


@pytest.mark.parametrize("name", MODELS)
def test_every_registered_model_loads(name: str) -> None:
    assert issubclass(load_model(name), InpaintingModel)


def test_an_unknown_model_is_answered_with_every_name() -> None:
    with pytest.raises(ConfigError, match=r"or module:Class, but got 'cnn_autoencodr'") as caught:
        load_model("cnn_autoencodr")
    for name in MODELS:
        assert name in str(caught.value)


def test_a_users_own_model_is_found_and_trains(own_module: str, data_dir: str) -> None:
    source = ImageSource("photos", 32, 128, 32, 32, data_dir=data_dir)
    session = Session.open(f"{own_module}:OneColour", {"batch_images": 16}, source, Mask("centre", 8))
    first, *_, last = [session.step() for _ in range(5)]
    assert last["loss"] < first["loss"]
    assert last["l2_hole"] < first["l2_hole"]


def test_the_full_path_of_a_registered_model_works() -> None:
    assert load_model("trainables.cnn_autoencoder:CnnAutoencoder") is load_model("cnn_autoencoder")


@pytest.mark.parametrize("name", ["NoModel", "nothing"])
def test_what_is_no_inpainting_model_is_refused(name: str, own_module: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a subclass of trainables.InpaintingModel, but it is"):
        load_model(f"{own_module}:{name}")


@pytest.mark.parametrize(
    "name",
    ["no_such_module_anywhere:Model", "trainables.cnn_autoencoder:NoSuchClass", ":Model", "trainables.cnn_autoencoder:", ".model:Model"],
)
def test_what_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="must be importable, but it is not") as caught:
        load_model(name)
    assert repr(name) in str(caught.value)
