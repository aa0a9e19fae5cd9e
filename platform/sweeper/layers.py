"""The layer table that the run of every trial carries, read once a configuration."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from sweeper.rooms import Rooms

FILE = "layers.json"


class LayerTables:
    """The layer tables of a sweep's configurations as JSON; a model that gives none costs its runs the file and one note."""

    def __init__(self, rooms: Rooms, data: Mapping[str, Any], mask: Mapping[str, Any], note: Callable[[str], None]) -> None:
        """Reads nothing yet.

        Args:
            rooms: read the tables.
            data: fields of an image source.
            mask: fields of a mask.
            note: tells the user.
        """
        self._rooms = rooms
        self._fixed = (data, mask)
        self._note = note
        self._by_configuration: dict[bytes, str | None] = {}
        self._texts: dict[str, str] = {}
        self._told: set[str] = set()

    def text(self, model: str, knobs: Mapping[str, Any]) -> str | None:
        """The table of a configuration; None where the model gives none, which is told once for each reason.

        Args:
            model: registered name or "module:Class".
            knobs: the full configuration.
        """
        key = hashlib.sha256(json.dumps([model, dict(knobs)], sort_keys=True).encode()).digest()
        if key not in self._by_configuration:
            self._by_configuration[key] = self._read(model, knobs)
        return self._by_configuration[key]

    def _read(self, model: str, knobs: Mapping[str, Any]) -> str | None:
        try:
            text = json.dumps(self._rooms.layers(model, knobs, *self._fixed), indent=1) + "\n"
        except self._rooms.user_errors as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                self._note(f"no {FILE} with these runs: {error}")
            return None
        return self._texts.setdefault(text, text)  # configurations with equal tables share one text
