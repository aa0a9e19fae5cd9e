from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.cnn_autoencoder import CnnAutoencoder, CnnAutoencoderConfig
from trainables.data import Augmentation, Batch, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.model import InpaintingModel, build_config

TINY = CnnAutoencoderConfig(base_filters=16, bottleneck=256, batch_images=32)


def tiny(mask: Mask | None = None, image_px: int = 32, config: CnnAutoencoderConfig = TINY) -> CnnAutoencoder:
    torch.manual_seed(0)
    return CnnAutoencoder(config, image_px, mask or Mask("centre", 8))


def random_images(count: int, px: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(seed))


def train(model: InpaintingModel, steps: int = 2) -> None:
    known = model.mask.sample(16, model.image_px, np.random.default_rng(0))
    model.train_unit(Batch(random_images(16, seed=step), known, 0.0) for step in range(steps))


@dataclass(frozen=True)
class PlainConfig:
    width: int = 4
    batch_images: int = 8


class Wild(InpaintingModel):
    """Predicts 7 for the first image and -7 for the others, whatever it sees, and keeps what it has seen."""

    Config = PlainConfig

    def __init__(self, config: PlainConfig, image_px: int, mask: Mask) -> None:
        super().__init__(config, image_px, mask)
        self.networks = {"one": nn.Dropout(0.5), "two": nn.Linear(3, config.width)}
        self.seen = torch.empty(0)
        self.modes: list[bool] = []

    def train_unit(self, batches: Iterable[Batch]) -> dict[str, float]:
        return {"loss": 0.0}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        self.seen = image
        self.modes = [network.training for network in self.networks.values()]
        filled = torch.full_like(image, -7)
        filled[0] = 7
        return filled


def test_fill_pastes_the_known_pixels_and_clips_the_hole() -> None:
    image = random_images(3, 16)
    known = Mask("random_square", 6).sample(3, 16, np.random.default_rng(0))
    filled = Wild(PlainConfig(), 16, Mask("random_square", 6)).fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(filled[visible], image[visible])
    assert set(filled[0][~visible[0]].tolist()) == {1.0}
    assert set(filled[1:][~visible[1:]].tolist()) == {0.0}


def test_fill_hides_the_hole_even_where_it_is_not_a_number() -> None:
    model = Wild(PlainConfig(), 16, Mask("centre", 6))
    known = model.mask.sample(2, 16, np.random.default_rng(0))
    image = torch.where(known > 0, random_images(2, 16), torch.nan)
    model.fill(image, known)
    visible = known.expand_as(image) > 0
    assert torch.equal(model.seen[visible], image[visible])
    assert set(model.seen[~visible].tolist()) == {0.0}


def test_fill_predicts_in_evaluation_mode_and_puts_each_mode_back() -> None:
    model = Wild(PlainConfig(), 16, Mask("centre", 6))
    model.networks["one"].eval()
    model.fill(random_images(2, 16), model.mask.sample(2, 16, np.random.default_rng(0)))
    assert model.modes == [False, False]
    assert [network.training for network in model.networks.values()] == [False, True]


@pytest.mark.parametrize("overlap_px", [0, 4])
def test_a_trained_network_neither_changes_known_pixels_nor_reads_the_hole(overlap_px: int) -> None:
    model = tiny(config=CnnAutoencoderConfig(base_filters=16, bottleneck=256, overlap_px=overlap_px))
    train(model)
    image = random_images(8, seed=5)
    known = model.mask.sample(8, 32, np.random.default_rng(0))
    visible = known.expand_as(image) > 0
    filled = model.fill(image, known)
    assert torch.equal(filled[visible], image[visible])
    assert not torch.equal(filled[~visible], image[~visible])
    for other in (1 - image, torch.zeros_like(image), torch.full_like(image, torch.nan)):
        assert torch.equal(model.fill(torch.where(visible, image, other), known), filled)


def test_fill_changes_nothing_in_the_model_and_its_input() -> None:
    model = tiny()
    train(model)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    image, known = random_images(8), model.mask.sample(8, 32, np.random.default_rng(0))
    copy = image.clone()
    first = model.fill(image, known)
    assert torch.equal(model.fill(image, known), first)
    assert torch.equal(image, copy)
    assert not first.requires_grad
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_image_is_filled_the_same_alone_and_in_a_batch() -> None:
    model = tiny()
    train(model)
    image, known = random_images(6), model.mask.sample(6, 32, np.random.default_rng(0))
    together = model.fill(image, known)
    for index in range(6):
        torch.testing.assert_close(model.fill(image[index : index + 1], known[:1]), together[index : index + 1])


def test_parameters_counts_what_is_trained() -> None:
    model = Wild(PlainConfig(width=4), 16, Mask("centre", 6))
    assert model.parameters == 3 * 4 + 4
    for weight in model.networks["two"].parameters():
        weight.requires_grad_(False)
    assert model.parameters == 0


def test_defaults_of_a_model() -> None:
    model = Wild(PlainConfig(batch_images=5), 16, Mask("centre", 6))
    assert model.batch_images == 5
    assert model.augmentation == Augmentation()


def test_a_mask_that_the_model_cannot_fill_is_answered_with_those_it_can() -> None:
    with pytest.raises(ConfigError, match=r"CnnAutoencoder fills holes of kind centre, but got mask.kind='strokes'; choose one of these"):
        tiny(Mask("strokes"))


def test_a_hole_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hole must be smaller than the image, but got hole_px=40 on 32x32 images"):
        tiny(Mask("centre", 40))


def test_state_is_plain_and_continues_exactly() -> None:
    model = tiny()
    train(model)
    state = model.state_dict()
    other = CnnAutoencoder(TINY, 32, Mask("centre", 8))
    other.load_state_dict(state)
    for each in (model, other):
        torch.manual_seed(3)
        train(each)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name])


def test_weights_only_leaves_the_optimiser() -> None:
    model = tiny()
    train(model)
    other = tiny()
    other.load_state_dict({"networks": model.state_dict()["networks"]}, weights_only=True)
    assert other.optimizers["network"].state_dict()["state"] == {}
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name])


@pytest.mark.parametrize("fault", ["other width", "no network", "no optimiser"])
def test_a_state_of_another_configuration_is_refused(fault: str) -> None:
    state = tiny().state_dict()
    if fault == "other width":
        state = tiny(config=CnnAutoencoderConfig(base_filters=16, bottleneck=512)).state_dict()
    else:
        state["networks" if fault == "no network" else "optimizers"] = {}
    with pytest.raises(CheckpointError, match="must belong to this model and configuration"):
        tiny().load_state_dict(state)


def test_build_config_sets_knobs_and_keeps_the_papers_values() -> None:
    assert build_config(Wild, {}) == PlainConfig()
    assert build_config(Wild, {"width": 9}) == PlainConfig(width=9)


def test_build_config_answers_an_unknown_knob_with_every_knob() -> None:
    with pytest.raises(ConfigError, match="knobs of Wild are width, batch_images, but got depth, widht; use these names"):
        build_config(Wild, {"widht": 3, "depth": 2, "width": 4})
