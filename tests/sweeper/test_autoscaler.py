"""Which nodes may come: what the environment says, and the file that `ray up` leaves on the head."""

from pathlib import Path

import pytest
import yaml

from sweeper.autoscaler import NodeType, node_types_to_come
from sweeper.errors import ResourceError

# as `ray up` fills it in for cloud machines
CLUSTER = {
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 2, "memory": 4294967296}, "node_config": {"InstanceType": "m5.large"}},
        "gpu": {
            "resources": {"CPU": 8, "GPU": 1, "accelerator_type:A10G": 1},
            "labels": {"sweep/node-type": "a10g"},
            "min_workers": 0,
            "max_workers": 4,
            "node_config": {},
        },
        "cpu": {"resources": {"CPU": 16}, "node_config": {}},
    },
}


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a head, on which this process is."""
    monkeypatch.delenv("SWEEP_NODE_TYPES", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("local_ray")
def test_the_heads_file_says_what_may_come(head: Path) -> None:
    (head / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(CLUSTER))
    gpu = {"CPU": 8.0, "GPU": 1.0, "accelerator_type:A10G": 1.0}
    types = (
        NodeType(name="gpu", resources=gpu, labels={"sweep/node-type": "a10g"}, max_workers=4),
        NodeType(name="cpu", resources={"CPU": 16.0}, max_workers=5),
    )
    found, limit = node_types_to_come()
    assert sorted(found, key=lambda kind: kind.name) == sorted(types, key=lambda kind: kind.name)
    assert limit == 5
    assert [kind.label for kind in types] == ["a10g", "cpu"]


@pytest.mark.usefixtures("local_ray")
def test_a_cluster_that_ray_up_has_not_made_does_not_grow(head: Path) -> None:
    assert node_types_to_come() == ((), 0)


def test_the_environment_says_it_before_the_file(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_NODE_TYPES", '{"gpu": {"resources": {"CPU": 4, "GPU": 2}, "max_workers": 7}}')
    assert node_types_to_come() == ((NodeType(name="gpu", resources={"CPU": 4, "GPU": 2}, max_workers=7),), None)


@pytest.mark.parametrize("told", ["gpu: 1", '["gpu"]', '{"gpu": {"max_workers": -1}}', '{"gpu": {"resources": {"CPU": "many"}}}'])
def test_an_environment_that_cannot_be_read_is_told(told: str, head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_NODE_TYPES", told)
    with pytest.raises(ResourceError, match=r"SWEEP_NODE_TYPES must be JSON like .* mend or unset it"):
        node_types_to_come()
