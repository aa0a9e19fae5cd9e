"""`clusters/gcp.yaml` as far as it goes without Google.

Ray's own bootstrap runs whole, on Google's own client and the API descriptions that come with it; Google's answers are canned, so what the
project really holds is not looked at. What each node type asks for is then held against the API's description of an instance: every field's
name, type and permitted values. Nothing checks that machine types and image exist.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import googleapiclient
import pytest
from googleapiclient import discovery
from googleapiclient.http import HttpMockSequence
from ray.autoscaler._private.gcp import config as ray_gcp

TOP = Path(__file__).parents[2]
DESCRIPTION = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
ACCOUNT = "ray-autoscaler-sa-v1@my-project.iam.gserviceaccount.com"


def client(name: str, *answers: dict[str, Any]) -> Any:
    http = HttpMockSequence([({"status": "200"}, json.dumps(answer)) for answer in answers])
    return discovery.build(name, "v1", http=http, static_discovery=True, cache_discovery=False)


@pytest.fixture
def bootstrapped(private_home: Path, monkeypatch: pytest.MonkeyPatch, accepted: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    crm = client("cloudresourcemanager", {"projectId": "my-project", "lifecycleState": "ACTIVE"}, {"bindings": []}, {"bindings": []})
    iam = client("iam", {"email": ACCOUNT, "projectId": "my-project"})
    metadata = {"name": "my-project", "commonInstanceMetadata": {"fingerprint": "x"}}
    compute = client("compute", metadata, {"name": "operation-1"}, {"name": "operation-1", "status": "DONE"})
    monkeypatch.setattr(ray_gcp, "construct_clients_from_provider_config", lambda provider: (crm, iam, compute, None))
    return ray_gcp.bootstrap_gcp(accepted("gcp"))


def wrongs(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> list[str]:
    """Where a request differs from Google's description of it."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kinds = {
        "object": dict,
        "array": list,
        "boolean": bool,
        "string": (str, int),
        "integer": int,
    }  # int64 travels as a string, or as a number
    if not isinstance(value, kinds[schema["type"]]):
        return [f"{where} must be of type {schema['type']}, but is {value!r}"]
    if isinstance(value, list):
        return [wrong for item in value for wrong in wrongs(item, schema["items"], schemas, f"{where}[]")]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        unknown = [f"{where}.{key} is unknown" for key in value if key not in known]
        return unknown + [wrong for key in value if key in known for wrong in wrongs(value[key], known[key], schemas, f"{where}.{key}")]
    return [] if value in schema.get("enum", [value]) else [f"{where} must be one of {schema['enum']}, but is {value!r}"]


def test_every_node_type_is_an_instance_that_google_s_api_describes(bootstrapped: dict[str, Any]) -> None:
    schemas = json.loads(DESCRIPTION.read_text())["schemas"]
    for name, node in bootstrapped["available_node_types"].items():
        assert wrongs(node["node_config"], schemas["Instance"], schemas, name) == []


def test_a_misspelt_field_or_value_would_be_found(bootstrapped: dict[str, Any]) -> None:
    schemas = json.loads(DESCRIPTION.read_text())["schemas"]
    node = bootstrapped["available_node_types"]["gpu1"]["node_config"]
    broken = node | {"scheduling": {"provisioningModel": "CHEAP", "preemptable": True}}

    assert [wrong.partition(" ")[0] for wrong in wrongs(broken, schemas["Instance"], schemas, "gpu1")] == [
        "gpu1.scheduling.preemptable",
        "gpu1.scheduling.provisioningModel",
    ]


def test_workers_are_spot_and_the_head_has_no_gpu(bootstrapped: dict[str, Any]) -> None:
    types = bootstrapped["available_node_types"]
    assert {name: node["resources"].get("GPU", 0) for name, node in types.items()} == {"head": 0, "gpu1": 1, "gpu4": 4}
    for name in ("gpu1", "gpu4"):
        assert types[name]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
        assert types[name]["min_workers"] == 0
    assert "scheduling" not in types["head"]["node_config"]
    assert {node["labels"]["sweep/node-type"] for node in types.values()} == set(types)


def test_every_node_is_in_the_closed_network_that_the_script_makes(bootstrapped: dict[str, Any]) -> None:
    script = (TOP / "clusters" / "gcp_project.sh").read_text()
    region, name = (re.search(rf"^{key}=(.*)$", script, re.MULTILINE).group(1) for key in ("region", "name"))

    assert bootstrapped["provider"]["region"] == region
    for node in bootstrapped["available_node_types"].values():
        networks = [interface["subnetwork"] for interface in node["node_config"]["networkInterfaces"]]
        assert networks == [f"regions/{region}/subnetworks/{name}"]
    assert "0.0.0.0/0" not in script


def test_the_head_alone_may_start_machines_and_keeps_the_key_that_ray_made(bootstrapped: dict[str, Any], private_home: Path) -> None:
    assert bootstrapped["head_node"]["serviceAccounts"][0]["email"] == ACCOUNT
    key = Path(bootstrapped["auth"]["ssh_private_key"])
    assert key.is_relative_to(private_home)
    assert key.stat().st_mode & 0o777 == 0o600
