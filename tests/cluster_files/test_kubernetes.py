"""`clusters/kubernetes.yaml` against schemas, read as the API server reads them: a field that they do not know is an error.

Kubernetes' own kinds, and the pods inside KubeRay's, are held against the published schemas that the package kubernetes-validate carries.
No package carries KubeRay's: the fields of its kinds that the file uses are written down here, after its reference of `ray.io/v1` (KubeRay
1.7). What only the operator or the scheduler can tell - whether a pod fits a node, whether the volume's class is there - is not checked.
"""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

TOP = Path(__file__).parents[2]
OBJECTS = list(yaml.safe_load_all((TOP / "clusters" / "kubernetes.yaml").read_text()))
BY_KIND = {found["kind"]: found for found in OBJECTS}
CONFIG_MAP_BYTES = 2**20
KUBERNETES = "1.34"
GROUPS = [BY_KIND["RayCluster"]["spec"]["headGroupSpec"], *BY_KIND["RayCluster"]["spec"]["workerGroupSpecs"]]


def record(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object that has the required fields, perhaps the optional ones, and no others."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required), "additionalProperties": False}


TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
TEMPLATE = record({"spec": {"type": "object"}}, metadata={"type": "object"})  # the pod itself is Kubernetes' to judge
GROUP = {"rayStartParams": TEXTS, "template": TEMPLATE}
WORKERS = record({**GROUP, "groupName": TEXT, "maxReplicas": COUNT}, replicas=COUNT, minReplicas=COUNT, labels=TEXTS, resources=TEXTS)
KUBERAY: dict[str, dict[str, Any]] = {
    "RayCluster": record(
        {"headGroupSpec": record(GROUP, labels=TEXTS, resources=TEXTS)},
        rayVersion=TEXT,
        workerGroupSpecs={"type": "array", "items": WORKERS},
        enableInTreeAutoscaling=FLAG,
        autoscalerOptions=record({}, version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
        authOptions=record({"mode": {"enum": ["disabled", "token"]}}, secretName=TEXT),
    ),
    "RayJob": record({"entrypoint": TEXT}, clusterSelector=TEXTS, metadata=TEXTS, backoffLimit=COUNT, shutdownAfterJobFinishes=FLAG),
}


def wrongs(found: dict[str, Any]) -> Iterator[str]:
    """What is wrong with an object, in words."""
    try:
        if found["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
            return
        kind = record({"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}, "spec": KUBERAY[found["kind"]]})
        yield from (f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(kind).iter_errors(found))
        for group in (found["spec"].get("headGroupSpec"), *found["spec"].get("workerGroupSpecs", ())):
            if group:
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, **group["template"]}
                kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield str(error)


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: f"{found['kind']}-{found['metadata']['name']}")
def test_the_object_is_as_its_schema_says(found: dict[str, Any]) -> None:
    assert list(wrongs(found)) == []


def test_a_misspelt_field_would_be_found() -> None:
    broken = copy.deepcopy(BY_KIND["RayCluster"])
    broken["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["volumeMount"] = []
    broken["spec"]["workerGroupSpecs"][1]["maxReplicas"] = "two"
    broken["spec"]["autoscalerOption"] = {}

    said = "\n".join(wrongs(broken))
    assert "volumeMount" in said
    assert "'two' is not of type 'integer'" in said
    assert "autoscalerOption" in said


def test_ray_is_of_one_version_in_lock_cluster_and_images() -> None:
    locked = re.search(r"^ray==([0-9.]+)", (TOP / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    version = locked.group(1)

    assert BY_KIND["RayCluster"]["spec"]["rayVersion"] == version == ray.__version__
    images = set(re.findall(r"rayproject/ray:(\S+)", (TOP / "clusters" / "kubernetes.yaml").read_text()))
    assert images == {f"{version}-py311"}


def test_groups_are_labelled_and_scale_from_none() -> None:
    names = {"head", *(group["groupName"] for group in GROUPS[1:])}
    assert {group["labels"]["sweep/node-type"] for group in GROUPS} == names
    gpus = [
        container["resources"]["limits"].get("nvidia.com/gpu", "0") for g in GROUPS for container in g["template"]["spec"]["containers"]
    ]
    assert gpus == ["0", "1", "4"]
    assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in GROUPS[1:])


def test_the_driver_is_told_of_the_nodes_that_may_come() -> None:
    told = json.loads(BY_KIND["ConfigMap"]["data"]["SWEEP_NODE_TYPES"])
    for group in GROUPS[1:]:
        container = group["template"]["spec"]["containers"][0]["resources"]
        gpus = float(container["limits"]["nvidia.com/gpu"])
        assert told[group["groupName"]]["resources"] == {"CPU": float(container["requests"]["cpu"]), "GPU": gpus}
        assert told[group["groupName"]]["max_workers"] == group["maxReplicas"]
    assert len(told) == len(GROUPS) - 1


def test_every_pod_has_settings_and_project() -> None:
    pods = [group["template"]["spec"] for group in GROUPS] + [BY_KIND["Deployment"]["spec"]["template"]["spec"]]
    volumes = {volume["name"] for volume in pods[0]["volumes"]}
    for pod in pods:
        assert pod["initContainers"][0]["command"] == ["bash", "/sweep-cluster/setup.sh"]
        for container in [*pod["initContainers"], *pod["containers"]]:
            assert container["envFrom"] == [{"configMapRef": {"name": BY_KIND["ConfigMap"]["metadata"]["name"]}}]
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_token_is_asked_for_and_nothing_is_open_to_the_outside() -> None:
    assert BY_KIND["RayCluster"]["spec"]["authOptions"] == {"mode": "token", "secretName": "sweep-secrets"}
    assert all(found["spec"].get("type", "ClusterIP") == "ClusterIP" for found in OBJECTS if found["kind"] == "Service")


def test_setup_and_wheel_fit_a_config_map_each(tmp_path: Path) -> None:
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(TOP)]
    subprocess.run(wheel, check=True, capture_output=True)
    setup = [*(TOP / "clusters" / "shared").iterdir(), TOP / "requirements.lock"]
    (built,) = tmp_path.glob("*.whl")
    assert len(setup) > 7
    assert sum(file.stat().st_size for file in setup) < CONFIG_MAP_BYTES
    assert built.stat().st_size < CONFIG_MAP_BYTES
    assert not [name for name in ZipFile(built).namelist() if name.startswith("reports/results/")]
