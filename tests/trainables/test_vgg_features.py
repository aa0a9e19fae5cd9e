import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from trainables.errors import ConfigError
from trainables.vgg_features import VggFeatures

FILE = "vgg16-397923af.pth"


def images(count: int = 2, px: int = 32) -> Tensor:
    return torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache without weights, and where they would lie."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / FILE


@pytest.fixture(scope="session")
def real_weights() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.exists():
        pytest.skip(f"VGG-16's weights are not in {path}")
    return path


def by_torchvision(features: VggFeatures, image: Tensor) -> list[Tensor]:
    """The maps after the first three pooling layers of torchvision's VGG-16 with the same weights and torchvision's normalisation."""
    layers = make_layers(cfgs["D"])[:17]
    layers.load_state_dict(features.features.state_dict())
    normal = VGG16_Weights.IMAGENET1K_V1.transforms(crop_size=image.shape[-1], resize_size=image.shape[-1])(image)
    return [layers[:end](normal) for end in (5, 10, 17)]


def test_the_maps_are_those_of_torchvisions_network() -> None:
    features = VggFeatures("random")
    maps = features(images())
    assert [tuple(level.shape) for level in maps] == [(2, 64, 16, 16), (2, 128, 8, 8), (2, 256, 4, 4)]
    for level, expected in zip(maps, by_torchvision(features, images()), strict=True):
        torch.testing.assert_close(level, expected, atol=1e-4, rtol=1e-4)


def test_nothing_of_it_is_trained_and_gradients_reach_the_image() -> None:
    features = VggFeatures("random")
    assert not any(weight.requires_grad for weight in features.parameters())
    assert not features.training
    image = images().requires_grad_()
    torch.stack([level.sum() for level in features(image)]).sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().min(1).values.max()) > 0


def test_random_weights_are_the_same_each_time_and_draw_nothing() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = VggFeatures("random").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = VggFeatures("random").state_dict()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_random_weights_keep_the_features_scale() -> None:
    """He et al. 2015: the mean square of what is rectified stays near that of the input, whatever the depth."""
    noise = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = VggFeatures("random")
    value = noise
    for layer in features.features:
        if not isinstance(layer, torch.nn.MaxPool2d):
            value = layer(value)
    assert 0.3 < float(value.square().mean()) < 3


def test_weights_that_cannot_be_had_are_answered_with_what_to_do(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    with pytest.raises(ConfigError, match=r"no network.*download .*/vgg16-397923af\.pth to that.*perceptual_features: random") as raised:
        VggFeatures("imagenet")
    assert str(empty_cache) in str(raised.value)


def test_a_damaged_file_is_told_too(empty_cache: Path) -> None:
    empty_cache.parent.mkdir(parents=True)
    empty_cache.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="cannot be had"):
        VggFeatures("imagenet")


def test_a_download_lands_in_the_cache_with_its_hash_checked(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[str, str]] = []
    weights = {f"features.{name}": torch.full_like(value, 0.01) for name, value in VggFeatures("random").features.state_dict().items()}

    def downloaded(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        wanted.append((url, hash_prefix))
        torch.save(weights, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", downloaded)
    for _ in range(2):  # the second time it lies there
        features = VggFeatures("imagenet")
        assert all(torch.equal(weight, torch.full_like(weight, 0.01)) for weight in features.parameters())
    assert wanted == [(VGG16_Weights.IMAGENET1K_V1.url, "397923af")]


def test_an_unknown_kind_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="perceptual_features must be one of imagenet, random, but got 'places'"):
        VggFeatures("places")  # type: ignore[arg-type]


@pytest.mark.real_data
def test_the_real_weights_are_loaded_as_they_are(real_weights: Path) -> None:
    features = VggFeatures("imagenet")
    stored = torch.load(real_weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(real_weights))
    for name, weight in features.features.state_dict().items():
        assert torch.equal(weight, stored[f"features.{name}"])


@pytest.mark.real_data
def test_real_features_of_a_blurred_photograph_are_nearer_than_those_of_another(real_weights: Path) -> None:
    from skimage.data import astronaut, chelsea

    def cut(photograph: np.ndarray) -> Tensor:
        return torch.from_numpy(photograph[50:178, 150:278].copy()).permute(2, 0, 1)[None].float() / 255

    person, cat = cut(astronaut()), cut(chelsea())
    blurred = torch.nn.functional.avg_pool2d(person, 3, 1, 1, count_include_pad=False)
    features = VggFeatures("imagenet")
    for true, near, far in zip(features(person), features(blurred), features(cat), strict=True):
        assert float((near - true).abs().mean()) < 0.8 * float((far - true).abs().mean())
