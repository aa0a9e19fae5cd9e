from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.lsgan_autoencoder import SPACE
from trainables.data import Batch, ImageSource, Mask
from trainables.errors import CheckpointError, ConfigError
from trainables.lsgan import SEARCH_KNOBS, Lsgan, LsganConfig
from trainables.lsgan_autoencoder import LsganAutoencoder, LsganAutoencoderConfig
from trainables.session import Session

GAN: dict[str, Any] = {"base_filters": 8, "latent": 8, "batch_images": 8, "search_steps": 3}
TINY: dict[str, Any] = GAN | {"autoencoder_filters": 4, "gan_epochs": 1.0, "refine_images": 12}
MASK = Mask("centre", 8)


def built(**knobs: Any) -> LsganAutoencoder:
    torch.manual_seed(0)
    return LsganAutoencoder(LsganAutoencoderConfig(**(TINY | knobs)), 32, MASK)


def batch_of(epoch: float, seed: int = 1, count: int = 8) -> Batch:
    """Images of whole 8-bit values, as those of a data set."""
    image = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed)).float() / 255
    return Batch(image, MASK.sample(count, 32, np.random.default_rng(0)), epoch)


def weights_of(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def changed(model: LsganAutoencoder, batches: list[Batch]) -> set[str]:
    """The networks whose weights training moves."""
    before = {name: weights_of(network) for name, network in model.networks.items()}
    model.train_unit(batches)
    moved = set()
    for name, network in model.networks.items():
        if not all(torch.equal(one, other) for one, other in zip(before[name], weights_of(network), strict=True)):
            moved.add(name)
    return moved


def searches(model: LsganAutoencoder) -> list[int]:
    """A list that grows with the number of latent values at each call of the generator in evaluation mode."""
    seen: list[int] = []

    def note(module: nn.Module, inputs: Any) -> None:
        if not module.training:
            seen.append(len(inputs[0]))

    model.networks["generator"].register_forward_pre_hook(note)
    return seen


# --- two stages


def test_the_place_in_the_training_decides_which_networks_learn() -> None:
    model = built()
    assert changed(model, [batch_of(0.0), batch_of(0.99)]) == {"generator", "discriminator"}
    assert changed(model, [batch_of(1.0), batch_of(1.5)]) == {"autoencoder"}
    assert changed(built(gan_epochs=0.5), [batch_of(0.0), batch_of(0.5)]) == {"generator", "discriminator", "autoencoder"}


def test_each_stage_reports_its_own_figures() -> None:
    model = built()
    first, second = model.train_unit([batch_of(0.0)]), model.train_unit([batch_of(1.0)])
    assert "loss_refinement" not in first
    assert set(first) == set(Lsgan.extra_metrics) - {"reused"} | {"loss"}
    assert set(second) == {"loss", "loss_refinement", "gradient_norm_autoencoder", "collapsed"}
    assert second["loss"] == second["loss_refinement"]
    both = built(gan_epochs=0.5).train_unit([batch_of(0.0), batch_of(0.5)])
    assert set(both) == set(LsganAutoencoder.extra_metrics) - {"reused"} | {"loss"}
    assert both["loss"] == both["loss_refinement"] != both["loss_adversarial"]


def test_as_many_completions_as_wanted_are_kept_and_never_made_again() -> None:
    model = built()
    model.train_unit([batch_of(0.0)])
    seen = searches(model)
    model.train_unit([batch_of(1.0, seed=2), batch_of(1.1, seed=3)])
    assert [len(images) for images in model.pairs.values()] == [12, 12]
    assert seen == [8] * 5 + [4] * 5  # the start and three moves, then what was found; the second batch gives four images
    model.train_unit([batch_of(1.2, seed=4), batch_of(2.0, seed=5)])
    assert len(seen) == 10
    truth = torch.cat([batch_of(1.0, seed=2).image, batch_of(1.1, seed=3).image[:4]])
    assert torch.equal(model.pairs["truth"], (truth * 255).round().byte())


def test_a_kept_completion_is_the_image_with_the_generated_hole() -> None:
    """As `lsgan` with the same weights fills it, in 8 bits."""
    model, batch = built(), batch_of(1.0, seed=2)
    model.train_unit([batch_of(0.0)])
    plain = Lsgan(LsganConfig(**GAN), 32, MASK)
    plain.load_state_dict(model.state_dict())
    filled = plain.fill(batch.image, batch.known)
    model.train_unit([batch])
    completed = model.pairs["completed"].float() / 255
    visible = batch.known.expand_as(batch.image) > 0
    assert torch.equal(completed[visible], batch.image[visible])
    torch.testing.assert_close(completed, filled, atol=0.5 / 255 + 1e-5, rtol=0)


def test_the_autoencoder_learns_to_turn_completions_into_originals() -> None:
    model = built(gan_epochs=0.0, refine_images=8, refine_learning_rate=5e-3)
    levels = torch.linspace(0, 1, 24).reshape(8, 3, 1, 1).expand(8, 3, 32, 32)
    plain = Batch(levels, MASK.sample(8, 32, np.random.default_rng(0)), 0.0)
    losses = [model.train_unit([plain])["loss"] for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]
    truth, completed = (model.pairs[name].float() / 127.5 - 1 for name in ("truth", "completed"))
    expected = ((model.networks["autoencoder"](completed) - truth) ** 2).mean()  # still in training mode, all eight in one batch
    assert model.train_unit([plain])["loss"] == pytest.approx(float(expected.detach()), abs=1e-4)


# --- filling


def test_a_hole_is_filled_as_in_lsgan_until_the_autoencoder_has_learned() -> None:
    model, batch = built(), batch_of(0.0, seed=5, count=3)
    model.train_unit([batch_of(0.0)])
    plain = Lsgan(LsganConfig(**GAN), 32, MASK)
    plain.load_state_dict(model.state_dict())
    completed = plain.fill(batch.image, batch.known)
    torch.testing.assert_close(model.fill(batch.image, batch.known), completed)
    model.train_unit([batch_of(1.0)])
    model.set_training(False)
    refined = (model.networks["autoencoder"](2 * completed - 1).detach() + 1) / 2
    expected = batch.known * batch.image + (1 - batch.known) * refined  # equation 2.7
    torch.testing.assert_close(model.fill(batch.image, batch.known), expected, atol=1e-5, rtol=0)


def test_weights_alone_tell_that_the_autoencoder_has_learned() -> None:
    """As when the best step's weights are put back into a fresh model."""
    model, batch = built(), batch_of(0.0, seed=5, count=3)
    model.train_unit([batch_of(0.0), batch_of(1.0)])
    other = built()
    other.load_state_dict({"networks": model.state_dict()["networks"]}, weights_only=True)
    torch.testing.assert_close(other.fill(batch.image, batch.known), model.fill(batch.image, batch.known))
    assert int(other.autoencoder.trained_steps) == 1


def test_completions_are_remembered_while_the_generator_stands_still() -> None:
    model, batch, other = built(), batch_of(0.0, seed=5, count=3), batch_of(0.0, seed=6, count=3)
    model.train_unit([batch_of(0.0), batch_of(1.0, seed=2), batch_of(1.1, seed=3)])
    seen = searches(model)
    first = model.fill(batch.image, batch.known)
    once = len(seen)
    assert once > 0
    assert torch.equal(model.fill(batch.image, batch.known), first)
    model.train_unit([batch_of(1.5)])
    refined = model.fill(batch.image, batch.known)
    assert len(seen) == once
    assert not torch.equal(refined, first)
    model.fill(other.image, other.known)
    assert len(seen) == 2 * once
    model.train_unit([batch_of(0.5)])
    model.fill(batch.image, batch.known)
    assert len(seen) == 3 * once
    model.load_state_dict(model.state_dict())
    model.fill(batch.image, batch.known)
    assert len(seen) == 4 * once


# --- runs


@pytest.fixture(scope="module")
def source(data_dir: str) -> ImageSource:
    return ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)


def opened(source: ImageSource, model: str = "lsgan_autoencoder", **knobs: Any) -> Session:
    knobs = (TINY if model == "lsgan_autoencoder" else GAN) | knobs
    return Session.open(model, knobs, source, MASK, seed=91, step_images=8, share_stages=True)


def test_a_run_resumed_in_the_middle_of_collecting_goes_on_exactly(source: ImageSource, tmp_path: Path) -> None:
    """Two steps of the first stage, then 8 of 12 completions; the checkpoint is taken there."""
    straight = Session.open("lsgan_autoencoder", TINY, source, MASK, seed=5, step_images=8)
    expected = [straight.step() for _ in range(5)]
    stopped = Session.open("lsgan_autoencoder", TINY, source, MASK, seed=5, step_images=8)
    for _ in range(3):
        stopped.step()
    stopped.save(tmp_path)
    resumed = Session.open("lsgan_autoencoder", TINY, source, MASK, seed=5, step_images=8)
    resumed.load(tmp_path)
    assert [len(images) for images in resumed.model.pairs.values()] == [8, 8]  # type: ignore[attr-defined]
    assert [resumed.step() for _ in range(2)] == expected[3:]


def test_the_first_stage_is_shared_with_lsgan_and_by_knobs_of_the_second(source: ImageSource) -> None:
    """Two steps of 8 images are the first epoch."""

    def reused(model: str, steps: int, **knobs: Any) -> list[float]:
        session = opened(source, model, **knobs)
        return [session.step()["reused"] for _ in range(steps)]

    assert reused("lsgan", 2) == [0, 0]
    assert reused("lsgan_autoencoder", 4) == [1, 1, 0, 0]
    assert reused("lsgan_autoencoder", 4) == [1, 1, 1, 1]
    assert reused("lsgan_autoencoder", 3, autoencoder_filters=8) == [1, 1, 0]
    assert reused("lsgan_autoencoder", 3, perceptual_weight=5.0) == [1, 1, 0]
    assert reused("lsgan_autoencoder", 2, gan_epochs=2.0) == [1, 1]
    assert reused("lsgan_autoencoder", 1, learning_rate=1e-3) == [0]


def test_knobs_that_training_depends_on() -> None:
    model = built()
    gan = {name for name in LsganConfig.__dataclass_fields__ if name not in SEARCH_KNOBS}
    assert set(model.training_knobs(0.99)) == gan
    assert set(model.training_knobs(1.0)) == set(SPACE)
    assert (model.trained_networks(0.99), model.trained_networks(1.0)) == (("generator", "discriminator"), tuple(model.networks))
    assert (model.trained_as(0.99), model.trained_as(1.0)) == (Lsgan, LsganAutoencoder)


def test_a_checkpoint_without_completions_is_refused() -> None:
    model = built()
    state = {key: value for key, value in model.state_dict().items() if key != "pairs"}
    with pytest.raises(CheckpointError, match="must hold the completed images, but has none"):
        built().load_state_dict(state)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"gan_epochs": -1.0}, "gan_epochs must be at least 0, but got -1.0"),
        ({"refine_images": 0}, "refine_images must be at least 1, but got 0"),
        ({"autoencoder_filters": 0}, "autoencoder_filters must be at least 1, but got 0"),
        ({"refine_learning_rate": 0.0}, "refine_learning_rate must be greater than 0, but got 0.0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), but got 1.0"),
    ],
)
def test_a_bad_knob_is_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built(**knobs)
