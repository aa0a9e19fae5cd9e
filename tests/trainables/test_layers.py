"""The layer table: rules on small networks worked out by hand, and what holds for every registered model."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.test_contract import IMAGE_PX, knobs_of, mask_of
from trainables.cnn_autoencoder import CnnAutoencoderConfig
from trainables.data import Mask
from trainables.errors import ConfigError
from trainables.layers import Layer, layer_table
from trainables.model import InpaintingModel, build_config
from trainables.registry import MODELS, load_model

every_model = pytest.mark.parametrize("name", MODELS)


class Holder(InpaintingModel):
    """A model around any networks; nothing of it is trained."""

    Config = CnnAutoencoderConfig

    def __init__(self, image_px: int = 8, **networks: nn.Module) -> None:
        super().__init__(CnnAutoencoderConfig(), image_px, Mask("centre", 4))
        self.networks = networks

    def train_unit(self, batches: Any) -> dict[str, float]:
        return {}

    def predict(self, image: Tensor, known: Tensor) -> Tensor:
        return image


def table(*layers: nn.Module, image_px: int = 8) -> list[Layer]:
    return layer_table(Holder(image_px, network=nn.Sequential(*layers)))


def registered(name: str, device: str, knobs: dict[str, Any]) -> InpaintingModel:
    kind = load_model(name)
    with torch.device(device):
        return kind(build_config(kind, knobs), IMAGE_PX.get(name, 32), mask_of(name))


# --- every registered model -------------------------------------------------------------------------------------------------------


@every_model
def test_inputs_are_given_for_every_network_where_its_weights_are(name: str) -> None:
    for device in ("cpu", "meta"):
        model = registered(name, device, knobs_of(name))
        inputs = model.network_inputs()
        assert set(inputs) == set(model.networks)
        for network, tensors in inputs.items():
            assert {tensor.device.type for tensor in tensors} == {device}, network
            assert {len(tensor) for tensor in tensors} == {1}, network


@every_model
def test_the_rows_hold_every_weight_once(name: str) -> None:
    model = registered(name, "meta", {})
    frozen = sum(weight.numel() for network in model.networks.values() for weight in network.parameters() if not weight.requires_grad)
    rows = layer_table(model)
    assert sum(row.parameters for row in rows) == model.parameters + frozen
    assert list(dict.fromkeys(row.network for row in rows)) == list(model.networks)
    assert len({(row.network, row.name) for row in rows}) == len(rows)


@every_model
def test_the_table_of_the_meta_device_is_that_of_the_cpu_and_changes_nothing(name: str) -> None:
    model = registered(name, "cpu", knobs_of(name))
    before = {key: value.clone() for network in model.networks.values() for key, value in network.state_dict().items()}
    modes = [module.training for network in model.networks.values() for module in network.modules()]
    seen = torch.get_rng_state()
    rows = layer_table(model)
    assert rows == layer_table(registered(name, "meta", knobs_of(name)))
    assert torch.equal(torch.get_rng_state(), seen)
    assert [module.training for network in model.networks.values() for module in network.modules()] == modes
    after = {key: value for network in model.networks.values() for key, value in network.state_dict().items()}
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for net in model.networks.values() for module in net.modules())


def test_the_papers_autoencoder_row_by_row() -> None:
    """Shapes of a 32 px image with an 8 px hole, weights k * k * in * out + 2 a channel of batch norm, both by hand."""
    rows = layer_table(registered("cnn_autoencoder", "meta", {}))
    tail = ("BatchNorm2d", "ReLU", "Dropout")
    assert [(row.kind, row.filter, row.stride, row.output, row.parameters) for row in rows] == [
        ("Conv2d", "3x3", 1, (32, 32, 32), 9 * 3 * 32 + 64),
        ("Conv2d", "3x3", 2, (16, 16, 32), 9 * 32 * 32 + 64),
        ("Conv2d", "3x3", 1, (16, 16, 64), 9 * 32 * 64 + 128),
        ("Conv2d", "3x3", 2, (8, 8, 64), 9 * 64 * 64 + 128),
        ("Conv2d", "3x3", 1, (8, 8, 128), 9 * 64 * 128 + 256),
        ("Conv2d", "3x3", 2, (4, 4, 128), 9 * 128 * 128 + 256),
        ("Flatten", "", None, (2048,), 0),
        ("Linear", "", None, (512,), 2048 * 512 + 1024),
        ("Linear", "", None, (2048,), 512 * 2048 + 4096),
        ("Unflatten", "", None, (4, 4, 128), 0),
        ("ConvTranspose2d", "4x4", 2, (8, 8, 64), 16 * 128 * 64 + 128),
        ("Conv2d", "3x3", 1, (8, 8, 3), 9 * 64 * 3 + 3),
    ]
    assert [row.follows for row in rows[:6]] == [tail] * 6
    assert rows[0].name == "encoder.0"
    assert rows[-1].follows == ()


def test_a_recurrent_layer_is_one_row() -> None:
    rows = layer_table(registered("flat_row_lstm", "meta", {}))
    lstm = next(row for row in rows if row.kind == "LSTM")
    assert (lstm.output, lstm.parameters) == ((3 * 32 * 32, 64), 4 * 64 * (256 + 64 + 2))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"batch_first": True}])
def test_a_recurrent_layer_has_the_same_row_without_its_steps(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(3, 5, **options)
            self.state_to_score = nn.Linear(5, 1)

        def forward(self, image: Tensor) -> Tensor:
            steps = image.flatten(2).permute(0, 2, 1) if options.get("batch_first") else image.flatten(2).permute(2, 0, 1)
            _, state = self.rnn(steps)
            score: Tensor = self.state_to_score(state[0] if isinstance(state, tuple) else state)
            return score

    tables = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            network = Reader()
        tables.append(layer_table(Holder(network=network)))
        assert "forward" not in vars(network.rnn)
    assert tables[0] == tables[1]


# --- the rules --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "padding", "output"),
    [
        (nn.Conv2d(3, 2, 3, padding=1), "same", (8, 8, 2)),
        (nn.Conv2d(3, 2, 3, padding="same"), "same", (8, 8, 2)),
        (nn.Conv2d(3, 2, 3, stride=2, padding=1), "same", (4, 4, 2)),
        (nn.Conv2d(3, 2, 1), "same", (8, 8, 2)),
        (nn.Conv2d(3, 2, 3), "valid", (6, 6, 2)),
        (nn.Conv2d(3, 2, 3, padding=2), "2", (10, 10, 2)),
        (nn.Conv2d(3, 2, 3, padding=(1, 3)), "1x3", (8, 12, 2)),
        (nn.ConvTranspose2d(3, 2, 4, 2, 1), "same", (16, 16, 2)),
        (nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1), "same", (16, 16, 2)),
        (nn.ConvTranspose2d(3, 2, 3), "valid", (10, 10, 2)),
        (nn.MaxPool2d(3), "valid", (2, 2, 3)),
    ],
)
def test_padding_follows_from_the_sizes(layer: nn.Module, padding: str, output: tuple[int, ...]) -> None:
    (row,) = table(layer)
    assert (row.padding, row.output) == (padding, output)


def test_an_odd_side_is_rounded_up() -> None:
    (row,) = table(nn.Conv2d(3, 2, 3, stride=2, padding=1), image_px=15)
    assert (row.padding, row.output) == ("same", (8, 8, 2))


def test_filters_and_strides_that_differ_by_direction() -> None:
    (row,) = table(nn.Conv2d(3, 2, (1, 3), stride=(1, 2), padding=(0, 1)))
    assert (row.filter, row.stride, row.padding) == ("1x3", None, "same")


def test_what_comes_right_after_a_layer_belongs_to_it_in_order() -> None:
    rows = table(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Identity(), nn.BatchNorm2d(4), nn.Dropout(), nn.MaxPool2d(2), nn.Tanh())
    assert [(row.kind, row.follows, row.parameters) for row in rows] == [
        ("Conv2d", ("ReLU", "BatchNorm2d", "Dropout"), 9 * 3 * 4 + 4 + 8),
        ("MaxPool2d", ("Tanh",), 0),
    ]


def test_an_activation_of_a_sum_is_a_row_of_its_own() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
            self.end = nn.ReLU()

        def forward(self, image: Tensor) -> Tensor:
            result: Tensor = self.end(self.body(image) + image)
            return result

    assert [(row.name, row.follows) for row in table(Residual())] == [("0.body.0", ("BatchNorm2d",)), ("0.end", ())]


def test_one_activation_may_follow_several_layers() -> None:
    relu = nn.ReLU()
    rows = table(nn.Conv2d(3, 3, 1), relu, nn.Conv2d(3, 3, 1), relu)
    assert [(row.name, row.follows) for row in rows] == [("0", ("ReLU",)), ("2", ("ReLU",))]


def test_a_layer_of_a_loop_is_one_row_with_what_follows_it_once() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, image: Tensor) -> Tensor:
            for _ in range(3):
                image = self.norm(self.layer(image))
            return image

    (row,) = table(Loop())
    assert (row.follows, row.parameters) == (("BatchNorm2d",), 9 * 3 * 3 + 3 + 6)


def test_weights_of_a_module_with_children_are_a_row_before_theirs() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))
            self.layer = nn.Conv2d(3, 5, 1)

        def forward(self, image: Tensor) -> Tensor:
            result: Tensor = self.layer(image) * self.scale[:, None, None]
            return result

    rows = table(Scaled(), nn.ReLU())
    assert [(row.name, row.kind, row.follows, row.parameters, row.output) for row in rows] == [
        ("0", "Scaled", ("ReLU",), 5, (8, 8, 5)),
        ("0.layer", "Conv2d", (), 3 * 5 + 5, (8, 8, 5)),
    ]


def test_weights_that_are_used_without_a_call_are_a_row_at_the_end() -> None:
    class Borrowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.borrowed, self.layer = nn.Linear(8, 8), nn.Flatten()

        def forward(self, image: Tensor) -> Tensor:
            result: Tensor = self.layer(image @ self.borrowed.weight)
            return result

    rows = table(Borrowing())
    assert [(row.name, row.parameters, row.output) for row in rows] == [("0.layer", 0, (192,)), ("0.borrowed", 72, ())]


def test_shared_weights_count_once() -> None:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    assert [row.parameters for row in table(first, second)] == [12, 3]


def test_frozen_weights_count() -> None:
    assert [row.parameters for row in table(nn.Conv2d(3, 3, 1).requires_grad_(False))] == [12]


def test_own_modules_without_weights_and_with_several_outputs_are_rows() -> None:
    class Halves(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            left, right = image.chunk(2, 3)
            return left, {"right": right}

    class Join(nn.Module):
        def forward(self, halves: tuple[Tensor, dict[str, Tensor]]) -> Tensor:
            return torch.cat([halves[0], halves[1]["right"]], 1)

    assert [(row.kind, row.output) for row in table(Halves(), Join())] == [("Halves", (8, 4, 3)), ("Join", (8, 4, 6))]


def test_hooks_and_modes_are_put_back_when_a_network_fails() -> None:
    network = nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3).eval())
    with pytest.raises(RuntimeError, match="to have 4 channels"):
        layer_table(Holder(network=network))
    assert [module.training for module in network.modules()] == [True, True, False]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_model_without_networks_has_an_empty_table() -> None:
    assert layer_table(Holder()) == []


def test_inputs_for_other_networks_are_refused() -> None:
    class Forgetful(Holder):
        def network_inputs(self) -> dict[str, tuple[Tensor, ...]]:
            return {"network": (torch.zeros(1, 3, 8, 8),)}

    with pytest.raises(ConfigError, match=r"must name the networks of Forgetful \(generator\), but names network; override it"):
        layer_table(Forgetful(generator=nn.Conv2d(3, 3, 1)))


def test_a_row_is_plain_values() -> None:
    (row,) = table(nn.Conv2d(3, 2, 3))
    assert dataclasses.asdict(row) == {
        "network": "network",
        "name": "0",
        "kind": "Conv2d",
        "follows": (),
        "filter": "3x3",
        "stride": 1,
        "padding": "valid",
        "output": (6, 6, 2),
        "parameters": 56,
    }
