"""The layer tables of a sweep's configurations: each is read once, and a model that gives none is told once."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from sweeper.layers import LayerTables
from sweeper.rooms import Rooms
from trainables import Mask, load_model
from trainables.layers import layer_table
from trainables.model import build_config

DATA = {"image_px": 32}
MASK = {"kind": "centre", "hole_px": 8}


def test_a_configuration_is_read_once_and_equal_tables_share_one_text(rooms: Rooms) -> None:
    read = []

    def counted(model: str, knobs: Mapping[str, Any], data: Mapping[str, Any], mask: Mapping[str, Any]) -> list[dict[str, Any]]:
        read.append(dict(knobs))
        return rooms.layers(model, knobs, data, mask)

    notes: list[str] = []
    tables = LayerTables(replace(rooms, layers=counted), DATA, MASK, notes.append)
    first = tables.text("cnn_autoencoder", {"bottleneck": 256, "dropout": 0.0})
    assert tables.text("cnn_autoencoder", {"dropout": 0.0, "bottleneck": 256}) is first
    assert tables.text("cnn_autoencoder", {"bottleneck": 256, "dropout": 0.0, "learning_rate": 1e-4}) is first
    assert tables.text("cnn_autoencoder", {"bottleneck": 512, "dropout": 0.0}) != first
    assert len(read) == 3
    assert notes == []
    assert first is not None
    assert sum(row["parameters"] for row in json.loads(first) if row["kind"] == "Flatten") == 0


def test_a_table_that_is_known_by_its_networks_is_the_one_that_would_be_read(rooms: Rooms) -> None:
    changes = [{}, {"learning_rate": 1e-5}, {"kernel_px": 5}, {"downsampling": "pool"}, {"activation": "leaky_relu"}, {"batch_norm": False}]
    for knobs in [*changes, *changes]:
        told = rooms.layers("cnn_autoencoder", knobs, DATA, MASK)
        model = load_model("cnn_autoencoder")
        with torch.device("meta"):
            read = layer_table(model(build_config(model, knobs), 32, Mask(**MASK)))
        assert told == [asdict(row) for row in read]
        told.clear()  # whoever changes what he has got changes nothing for others


def test_a_model_without_networks_has_an_empty_table(rooms: Rooms) -> None:
    notes: list[str] = []
    text = LayerTables(rooms, DATA, MASK, notes.append).text("classical_fill", {})
    assert json.loads(text or "") == []
    assert notes == []


def test_why_there_is_no_table_is_told_once_for_each_reason(rooms: Rooms) -> None:
    notes: list[str] = []
    tables = LayerTables(rooms, DATA, MASK, notes.append)
    assert [tables.text("user_models:Paired", {"bottleneck": bottleneck}) for bottleneck in (256, 512, 256)] == [None, None, None]
    assert len(notes) == 1
    assert notes[0].startswith("no layers.json with these runs: the networks of model 'user_models:Paired' must take what")
