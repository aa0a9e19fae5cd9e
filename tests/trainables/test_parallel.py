"""What a process takes of a batch, what it refuses, and what several do together; `test_team` trains in real processes."""

from collections.abc import Iterable

import pytest
import torch

from tests.trainables.fateful_processes import FatefulProcesses
from trainables.data import Batch, ImageSource, Mask
from trainables.errors import ConfigError
from trainables.model import InpaintingModel, build_config
from trainables.parallel import Parallel
from trainables.registry import load_model
from trainables.session import Session

SMALL = {"base_filters": 16, "bottleneck": 256}


def built(batch_images: int, kind: type[InpaintingModel] = FatefulProcesses) -> InpaintingModel:
    return kind(build_config(kind, SMALL | {"batch_images": batch_images}), 32, Mask("centre", 8))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_processes_share_each_batch_without_rest(world: int) -> None:
    image, known = torch.rand(6, 3, 4, 4), torch.rand(6, 1, 4, 4)
    parts = [Parallel(rank, world).part(Batch(image, known, 0.5)) for rank in range(world)]
    assert [len(part.image) for part in parts] == [6 // world] * world
    assert all(part.epoch == 0.5 for part in parts)
    for place in range(6):
        part = parts[place % world]
        assert torch.equal(part.image[place // world], image[place])
        assert torch.equal(part.known[place // world], known[place])


def test_a_batch_that_does_not_split_evenly_is_refused_with_both_numbers(data_dir: str) -> None:
    with pytest.raises(
        ConfigError, match=r"batch_images of FatefulProcesses must be divisible by processes = 4, but got 6; use a multiple"
    ):
        Parallel(0, 4).check(built(6))
    Parallel(0, 4).check(built(8))
    Parallel().check(built(7))
    source = ImageSource("photos", 32, 16, 8, 8, data_dir=data_dir)
    with pytest.raises(ConfigError, match="divisible by processes = 2, but got 5"):
        Session.open("cnn_autoencoder", SMALL | {"batch_images": 5}, source, Mask("centre", 8), parallel=Parallel(1, 2))


@pytest.mark.parametrize("name", ["lsgan_autoencoder", "pixel_regression", "classical_fill"])
def test_a_model_that_learns_by_more_than_gradients_is_refused(name: str) -> None:
    kind = load_model(name)
    model = kind(build_config(kind, {"batch_images": 8}), 32, Mask("centre", 8))
    with pytest.raises(ConfigError, match=rf"{kind.__name__} must be trained by one process, .* but got processes = 2; use one"):
        Parallel(0, 2).check(model)
    Parallel().check(model)


def test_one_process_alone_changes_nothing() -> None:
    model, other = built(8), built(8)
    alone = Parallel()
    alone.prepare(model)
    assert str(model.networks) == str(other.networks)
    assert alone.agreed({"loss": 1.5}) == {"loss": 1.5}
    with alone.together(model):
        assert all(not weight._post_accumulate_grad_hooks for weight in weights_of(model))


def weights_of(model: InpaintingModel) -> Iterable[torch.Tensor]:
    return [weight for network in model.networks.values() for weight in network.parameters()]
