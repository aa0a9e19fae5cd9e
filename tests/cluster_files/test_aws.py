"""`cluster.yaml` through Ray's own bootstrap, against moto's AWS, after `clusters/aws_account.py` has made what the file names."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.aws.utils import resource_cache
from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

REGION = "us-east-2"
WORLD = {"0.0.0.0/0", "::/0"}


@pytest.fixture
def aws(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty account, which ends with the test; gives its EC2 client."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # ten thousand of them, a second each time
    resource_cache.cache_clear()
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)
    resource_cache.cache_clear()


@pytest.fixture
def account() -> ModuleType:
    """The script, which lies in no package."""
    spec = importlib.util.spec_from_file_location("aws_account", Path(__file__).parents[2] / "clusters" / "aws_account.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def groups_of(ec2: Any, config: dict[str, Any]) -> list[dict[str, Any]]:
    ids = {group for node in config["available_node_types"].values() for group in node["node_config"]["SecurityGroupIds"]}
    return ec2.describe_security_groups(GroupIds=sorted(ids))["SecurityGroups"]


def sources(group: dict[str, Any]) -> set[str]:
    """Every address range that a group lets in, on whatever port."""
    rules = group["IpPermissions"]
    return {r["CidrIp"] for rule in rules for r in rule["IpRanges"]} | {r["CidrIpv6"] for rule in rules for r in rule.get("Ipv6Ranges", [])}


def test_after_bootstrap_nothing_is_open_to_the_world(aws: Any, account: ModuleType, accepted: Callable[[str], dict[str, Any]]) -> None:
    account.main(["--ssh-from", "203.0.113.7"])
    config = bootstrap_aws(accepted("aws"))

    groups = groups_of(aws, config)
    assert [group["GroupName"] for group in groups] == ["inpaint-sweeps"]
    assert sources(groups[0]) == {"203.0.113.7/32"}
    assert {(rule["IpProtocol"], rule.get("FromPort")) for rule in groups[0]["IpPermissions"] if rule["IpRanges"]} == {("tcp", 22)}
    everything = aws.describe_security_groups()["SecurityGroups"]
    assert not WORLD & set().union(*(sources(group) for group in everything))


def test_ray_s_own_group_would_be_open(aws: Any, accepted: Callable[[str], dict[str, Any]]) -> None:
    """Why the launch templates are there; when this fails, Ray has mended it, and `cluster.yaml` may become simpler."""
    config = accepted("aws")
    config["provider"]["security_group"] = {"GroupName": "tight", "IpPermissions": []}
    for node in config["available_node_types"].values():
        node["node_config"].pop("LaunchTemplate")
    config["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Name": "any"}

    assert WORLD & sources(groups_of(aws, bootstrap_aws(config))[0])


def test_without_the_account_s_part_ray_up_ends_and_makes_no_group(aws: Any, accepted: Callable[[str], dict[str, Any]]) -> None:
    before = {group["GroupName"] for group in aws.describe_security_groups()["SecurityGroups"]}

    with pytest.raises(ClientError, match="inpaint-sweeps"):
        bootstrap_aws(accepted("aws"))

    assert {group["GroupName"] for group in aws.describe_security_groups()["SecurityGroups"]} == before


def test_workers_are_spot_and_the_head_has_no_gpu(aws: Any, account: ModuleType, accepted: Callable[[str], dict[str, Any]]) -> None:
    account.main(["--ssh-from", "203.0.113.7"])
    config = bootstrap_aws(accepted("aws"))
    types = config["available_node_types"]
    gpus = {
        kind["InstanceType"]: sum(gpu["Count"] for gpu in kind.get("GpuInfo", {}).get("Gpus", []))
        for kind in aws.describe_instance_types(InstanceTypes=[node["node_config"]["InstanceType"] for node in types.values()])[
            "InstanceTypes"
        ]
    }

    assert {name: gpus[node["node_config"]["InstanceType"]] for name, node in types.items()} == {"head": 0, "gpu1": 1, "gpu4": 4}
    assert {name: node["resources"].get("GPU", 0) for name, node in types.items()} == {"head": 0, "gpu1": 1, "gpu4": 4}
    assert config["head_node_type"] == "head"
    for name in ("gpu1", "gpu4"):
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert types[name]["min_workers"] == 0
        assert types[name]["max_workers"] > 0
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert {node["labels"]["sweep/node-type"] for node in types.values()} == set(types)


def test_machines_start_with_their_own_rights_and_encrypted_disks(
    aws: Any, account: ModuleType, accepted: Callable[[str], dict[str, Any]]
) -> None:
    """Ray's node provider itself asks for a machine of each type."""
    account.main(["--ssh-from", "203.0.113.7"])
    config = bootstrap_aws(accepted("aws"))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node in config["available_node_types"].items():
        kind = "head" if name == config["head_node_type"] else "worker"
        provider.create_node(node["node_config"], {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: name, TAG_RAY_LAUNCH_CONFIG: name}, 1)

    machines = [machine for held in aws.describe_instances()["Reservations"] for machine in held["Instances"]]
    by_type = {machine["InstanceType"]: machine for machine in machines}
    for node in config["available_node_types"].values():
        machine = by_type[node["node_config"]["InstanceType"]]
        assert machine["ImageId"] == node["node_config"]["ImageId"]
        assert [group["GroupName"] for group in machine["SecurityGroups"]] == ["inpaint-sweeps"]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
    profiles = {name: node["node_config"]["IamInstanceProfile"]["Name"] for name, node in config["available_node_types"].items()}
    assert profiles == {"head": "inpaint-sweeps-head", "gpu1": "inpaint-sweeps-worker", "gpu4": "inpaint-sweeps-worker"}


def test_roles_give_the_least(aws: Any, account: ModuleType) -> None:
    """Workers may use the bucket and nothing else; the head may end machines of its own cluster alone."""
    account.main(["--ssh-from", "203.0.113.7"])
    iam = boto3.client("iam")
    rules = {
        part: iam.get_role_policy(RoleName=f"inpaint-sweeps-{part}", PolicyName=f"inpaint-sweeps-{part}")["PolicyDocument"]["Statement"]
        for part in ("head", "worker")
    }

    for rule in rules["worker"]:
        assert all(action.startswith("s3:") for action in rule["Action"])
        assert rule["Resource"].startswith("arn:aws:s3:::inpaint-sweeps-123456789012-us-east-2")
    ending = [rule for rule in rules["head"] if "ec2:TerminateInstances" in rule["Action"]]
    assert [rule["Condition"] for rule in ending] == [{"StringEquals": {"aws:ResourceTag/ray-cluster-name": "inpaint-sweeps"}}]
    assert not any("*" in json.dumps(rule["Action"]).replace("ec2:Describe*", "") for rule in rules["head"])


def test_the_bucket_is_private_and_the_one_that_the_head_writes_to(aws: Any, account: ModuleType, accepted: Any) -> None:
    account.main(["--ssh-from", "203.0.113.7"])
    bucket = "inpaint-sweeps-123456789012-us-east-2"  # moto's account

    assert all(boto3.client("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    asked = "$(aws sts get-caller-identity --query Account --output text)"
    assert f"s3://{bucket}/mlflow" in accepted("aws")["setup_commands"][0].replace(asked, "123456789012")


def test_made_again_elsewhere_only_the_new_address_comes_in(aws: Any, account: ModuleType, accepted: Any) -> None:
    account.main(["--ssh-from", "203.0.113.7"])
    first = groups_of(aws, bootstrap_aws(accepted("aws")))[0]["GroupId"]
    account.main(["--ssh-from", "2001:db8::/64"])

    group = groups_of(aws, bootstrap_aws(accepted("aws")))[0]
    assert group["GroupId"] == first
    assert sources(group) == {"2001:db8::/64"}
    assert len(aws.describe_launch_templates()["LaunchTemplates"]) == 2


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.0.0.0/8", "203.0.113.7/24", "everywhere"])
def test_a_network_that_is_too_wide_or_none_is_refused(account: ModuleType, network: str) -> None:
    with pytest.raises(SystemExit, match="--ssh-from must be"):
        account.main(["--ssh-from", network])


def test_remove_ends_the_machines_and_leaves_the_bucket(aws: Any, account: ModuleType, accepted: Any, capsys: Any) -> None:
    account.main(["--ssh-from", "203.0.113.7"])
    config = bootstrap_aws(accepted("aws"))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    provider.create_node(
        config["available_node_types"]["head"]["node_config"], {TAG_RAY_NODE_KIND: "head", TAG_RAY_LAUNCH_CONFIG: "head"}, 1
    )
    held = aws.describe_instances()["Reservations"][0]["Instances"][0]
    aws.stop_instances(InstanceIds=[held["InstanceId"]])  # as `ray down` leaves it

    account.main(["--remove"])

    assert aws.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
    assert aws.describe_launch_templates()["LaunchTemplates"] == []
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert "inpaint-sweeps" not in {group["GroupName"] for group in aws.describe_security_groups()["SecurityGroups"]}
    assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["inpaint-sweeps-123456789012-us-east-2"]
    assert "stays" in capsys.readouterr().out
    account.main(["--remove"])  # nothing is left to take away
