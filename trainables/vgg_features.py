"""Feature maps of VGG-16 after its first three pooling layers: what the perceptual and style losses compare.

Source: `maggiordomo`, section 3.2.2 ("feature maps are extracted from the first three pooling layers" of "a VGG-16 network pre-trained on
the ImageNet dataset"); the layers are configuration D of Simonyan and Zisserman 2015.

Deviations: `features="random"` takes the same layers with fixed random weights, for machines that cannot have the trained ones. Random
features compare colours and edges at three scales; they know nothing of objects.
"""

import zipfile
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trainables.errors import ConfigError

FeatureKind = Literal["imagenet", "random"]
FEATURE_KINDS: tuple[str, ...] = get_args(FeatureKind)
STAGES = ((64, 64), (128, 128), (256, 256, 256))  # filters of each convolution before a pooling layer
LEAST_PX = 2 ** len(STAGES)
RANDOM_SEED = 0
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue, as torchvision gives them


class VggFeatures(nn.Module):
    """The first three stages of VGG-16, frozen. Building it draws nothing from torch's default generator."""

    def __init__(self, kind: FeatureKind) -> None:
        """Loads the weights, from torch's hub cache where they lie there, else by a download of 528 MiB.

        Args:
            kind: "imagenet", or "random" for He-normal weights from a fixed seed.

        Raises:
            ConfigError: an unknown kind, or trained weights that cannot be had.
        """
        super().__init__()
        if kind not in FEATURE_KINDS:
            raise ConfigError(f"perceptual_features must be one of {', '.join(FEATURE_KINDS)}, but got {kind!r}; name one of these")
        with torch.device("meta"):  # no weight is drawn that is then replaced
            self.features = _layers()
        self.features.load_state_dict(_random_weights(self.features) if kind == "random" else _imagenet_weights(self.features), assign=True)
        self.register_buffer("mean", torch.tensor(_MEAN)[None, :, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[None, :, None, None], persistent=False)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The rectified features of each stage, pooled.

        Args:
            image: (B, 3, H, W) float32 in [0, 1], H and W at least 8.

        Returns:
            (B, 64, H / 2, W / 2), (B, 128, H / 4, W / 4) and (B, 256, H / 8, W / 8), sizes rounded down.
        """
        value = (image - self.get_buffer("mean")) / self.get_buffer("deviation")
        maps = []
        for layer in self.features:
            value = layer(value)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(value)
        return maps


def _layers() -> nn.Sequential:
    """The layers in torchvision's order, so that the names of its weights fit."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in STAGES:
        for filters in stage:
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _random_weights(layers: nn.Module) -> dict[str, Tensor]:
    """He-normal weights and biases of 0."""
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    weights = {}
    for name, weight in layers.state_dict().items():
        if name.endswith("weight"):
            weights[name] = torch.randn(weight.shape, generator=generator, device="cpu") * (2 / weight[0].numel()) ** 0.5
        else:
            weights[name] = torch.zeros(weight.shape, device="cpu")
    return weights


def weights_source() -> tuple[str, Path]:
    """Where the trained weights are downloaded from, and their file, whose name ends with the first digits of its hash."""
    from torchvision.models import VGG16_Weights

    url = VGG16_Weights.IMAGENET1K_V1.url
    return url, Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _imagenet_weights(layers: nn.Module) -> dict[str, Tensor]:
    """The trained weights of these layers alone."""
    url, path = weights_source()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {name: stored[f"features.{name}"].clone() for name in layers.state_dict()}
    except Exception as error:  # a download fails in many ways, and torch names no common root for a damaged file
        raise ConfigError(
            f"perceptual_features 'imagenet' needs VGG-16's weights in {path}, but they cannot be had ({error}); download {url} to that "
            "folder, name another cache with TORCH_HOME, or set perceptual_features: random"
        ) from error
