"""Text without what says whose machine it comes from: folders, addresses, logins.

A path keeps its last part, an address its scheme; both stand for the rest with "...".
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sweeper.spec import Checkpoints, Notify, Spec

PUBLIC_TAGS = ("sweep.", "git.", "version.", "hardware.", "mlflow.runName", "mlflow.parentRunId")
PRIVATE_TAGS = ("sweep.driver", "sweep.stop", "sweep.live")
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s'\"<>,;)\]}]*", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.~/-])(?:~[\w.-]*/|/[\w.@+=%-]+/)(?:[^\s'\":;,)\]}]*/)?")


class Scrubber:
    """Takes out what is private; `places` are folders of this machine, which may hold spaces and are taken out wherever they stand."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = sorted({place for place in places if len(place) > 1}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Any text."""
        for place in self._places:
            text = re.sub(rf"{re.escape(place)}(?![\w.-])", "/.../...", text)
        return _PATH.sub(".../", _ADDRESS.sub(r"\1://...", text)).replace(".../...", "...")

    def value(self, value: Any) -> Any:
        """What JSON can hold, every text in it; keys are names of metrics and knobs, and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(each) for key, each in value.items()}
        return [self.value(each) for each in value] if isinstance(value, list | tuple) else value

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags that a report needs; MLflow's own say who ran what from where, and are left out."""
        public = {key: value for key, value in tags.items() if key.startswith(PUBLIC_TAGS) and not key.startswith(PRIVATE_TAGS)}
        return {key: self.text(value) for key, value in public.items()}

    def spec(self, text: str, name: str) -> str:
        """A resolved spec without folders, without whom it tells of its end, and without where study and checkpoints lie."""
        spec = Spec(**yaml.safe_load(text))
        data = spec.data.model_copy(update={"data_dir": None, "name": self.text(spec.data.name)})
        checkpoints = spec.checkpoints.model_copy(update={"storage": Checkpoints().storage})
        changes = {"name": name, "data": data, "checkpoints": checkpoints, "study": None, "notify": Notify()}
        return yaml.safe_dump(self.value(spec.model_copy(update=changes).model_dump(mode="json")), sort_keys=False)

    def json(self, text: str) -> str:
        """A JSON document, as short as it can be."""
        return json.dumps(self.value(json.loads(text)), separators=(",", ":"))
