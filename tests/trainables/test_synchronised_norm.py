"""Batch norm over the parts of a batch, against torch's own over the whole batch in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.synchronised_norm import SynchronisedNorm, synchronise_norms

WORLD = 2
SHAPES = {1: (6, 5), 2: (6, 5, 4, 3)}
KINDS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def of_the_whole(norm: nn.Module, value: Tensor, slope: Tensor) -> dict[str, Tensor]:
    """Output, gradients and statistics after a backward pass from `slope`, the gradient of a mean over the processes."""
    value = value.clone().requires_grad_()
    output = norm(value)
    output.backward(slope)
    return {
        "output": output.detach(),
        "gradient": value.grad,
        **{f"gradient of {name}": weight.grad for name, weight in norm.named_parameters()},
        **{name: statistic.clone() for name, statistic in norm.named_buffers()},
    }  # type: ignore[dict-item]


def _part(rank: int, folder: str, kind: type[nn.Module], options: dict[str, Any], value: Tensor, slope: Tensor) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    norm = synchronise_norms(kind(value.shape[1], **options))
    assert isinstance(norm, SynchronisedNorm)
    torch.save(of_the_whole(norm, value[rank::WORLD], slope[rank::WORLD]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("dimensions", "options"), [(2, {}), (1, {"affine": False, "momentum": None})])
def test_parts_are_normed_as_the_whole(dimensions: int, options: dict[str, Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    value = torch.randn(SHAPES[dimensions], generator=generator) * 3 + 10
    slope = torch.randn(SHAPES[dimensions], generator=generator)
    kind = KINDS[dimensions]
    torch.multiprocessing.spawn(_part, (str(tmp_path), kind, options, value, slope), nprocs=WORLD)
    expected = of_the_whole(kind(value.shape[1], **options), value, slope)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(WORLD)]
    for name, whole in expected.items():
        if name in ("output", "gradient"):
            got = torch.empty_like(whole)
            for rank in range(WORLD):
                got[rank::WORLD] = parts[rank][name]
        elif name.startswith("gradient of"):
            got = sum(part[name] for part in parts)
        else:
            got = parts[1][name]
            assert torch.equal(got, parts[0][name])
        torch.testing.assert_close(got, whole, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_weights_statistics_names_and_mode_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Flatten(), nn.LazyLinear(2))
    network[1].eval()
    before, order = dict(network.state_dict(keep_vars=True)), list(network.state_dict())
    assert synchronise_norms(network) is network
    after = network.state_dict(keep_vars=True)
    assert list(after) == order
    assert all(after[name] is value for name, value in before.items())
    assert isinstance(network[1][0], SynchronisedNorm)
    assert not network[1][0].training
    assert network[0].training


def test_in_evaluation_it_needs_no_other_process() -> None:
    norm = nn.BatchNorm2d(4)
    norm(torch.randn(8, 4, 3, 3))
    norm.eval()
    value = torch.randn(2, 4, 3, 3)
    assert torch.equal(SynchronisedNorm.of(norm)(value), norm(value))
