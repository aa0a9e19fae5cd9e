"""What the tests of the cluster files share: a folder laid out as `ray up` finds it, and Ray's own reading of a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

TOP = Path(__file__).parents[2]
SHARED = TOP / "clusters" / "shared"
CLUSTER_FILES = {"aws": "cluster.yaml", "gcp": "clusters/gcp.yaml", "local": "clusters/local.yaml"}


@pytest.fixture
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that is thrown away, as HOME: Ray writes keys there, and the scripts their settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def accepted() -> Callable[[str], dict[str, Any]]:
    """Reads a cluster file as `ray up` does, the check against Ray's schema included; gives it with Ray's defaults filled in."""

    def read(kind: str) -> dict[str, Any]:
        config = prepare_config(yaml.safe_load((TOP / CLUSTER_FILES[kind]).read_text()))
        validate_config(config)
        return config

    return read
