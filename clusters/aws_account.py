"""Makes what `cluster.yaml` names in an AWS account: a closed security group, two roles, a bucket and two launch templates.

    python clusters/aws_account.py                        # SSH from this machine's address, as the internet sees it
    python clusters/aws_account.py --ssh-from 203.0.113.0/28
    python clusters/aws_account.py --remove               # ends every machine of the cluster and takes all away but the bucket

Run again, it changes only what differs: after a move to another network it lets the new address in and the old one no more. Region and
names are read from `cluster.yaml`. Nothing here costs anything by itself but what lies in the bucket.
"""

import argparse
import ipaddress
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

CLUSTER_FILE = Path(__file__).parents[1] / "cluster.yaml"
WIDEST_NETWORK = {4: 16, 6: 48}
EC2_MAY_USE = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, and does what it asks."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--ssh-from", metavar="NETWORK", help="the addresses that may come in by SSH; default: this machine's alone")
    parser.add_argument("--remove", action="store_true", help="end every machine of the cluster, and take away all but the bucket")
    options = parser.parse_args(arguments)
    cluster = yaml.safe_load(CLUSTER_FILE.read_text())
    name, region = cluster["cluster_name"], cluster["provider"]["region"]
    try:
        done = remove(name, region) if options.remove else prepare(name, region, checked_network(options.ssh_from or own_address()))
    except (ClientError, BotoCoreError) as error:
        sys.exit(f"AWS must do as it is asked, but refused: {error}; see to the credentials' rights and to the region {region}")
    print("\n".join(done))


def own_address() -> str:
    """This machine's address as the internet sees it."""
    try:
        with urlopen("https://checkip.amazonaws.com", timeout=10) as answer:
            return str(answer.read().decode().strip())
    except (URLError, TimeoutError) as error:
        sys.exit(f"this machine's public address must be known, but checkip.amazonaws.com does not answer ({error}); give --ssh-from")


def checked_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network that may come in; ends the program if it is none, or nearly the whole world."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        sys.exit(f"--ssh-from must be an address or a network, but got {text!r} ({error}); write it like 203.0.113.7 or 203.0.113.0/28")
    least = WIDEST_NETWORK[network.version]
    if network.prefixlen < least:
        sys.exit(f"--ssh-from must be a network of your own, /{least} or smaller, but got {text!r}; give your own address")
    return network


def prepare(name: str, region: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[str]:
    """Makes what is missing, and mends what differs.

    Args:
        name: of the cluster; all names begin with it.
        region: as AWS names it.
        network: who may come in by SSH.

    Returns:
        A line for each thing that is there now.
    """
    account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
    iam = boto3.client("iam", region_name=region)
    ec2 = boto3.client("ec2", region_name=region)
    bucket = f"{name}-{account}-{region}"
    _make_bucket(boto3.client("s3", region_name=region), bucket, region)
    use_bucket = [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": f"arn:aws:s3:::{bucket}"},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": f"arn:aws:s3:::{bucket}/*"},
    ]
    worker_role = _make_role(iam, f"{name}-worker", use_bucket)
    _make_role(iam, f"{name}-head", [*use_bucket, *_start_workers(name, worker_role)])
    group = _make_security_group(ec2, name, network)
    for part in ("head", "worker"):
        _make_launch_template(ec2, f"{name}-{part}", group)
    return [
        f"security group {group}: SSH from {network}, everything among the nodes, nothing else",
        f"bucket {bucket}: private, encrypted",
        f"roles {name}-head and {name}-worker, launch templates of the same names",
    ]


def _make_bucket(s3: Any, bucket: str, region: str) -> None:
    if bucket not in {own["Name"] for own in s3.list_buckets()["Buckets"]}:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, **place)
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=closed)


def _start_workers(name: str, worker_role: str) -> list[dict[str, Any]]:
    """What the autoscaler on the head does: it starts machines with the workers' role, and ends those of this cluster alone."""
    of_this_cluster = {"StringEquals": {"aws:ResourceTag/ray-cluster-name": name}}
    return [
        {"Effect": "Allow", "Action": ["ec2:Describe*", "ec2:RunInstances", "ec2:CreateTags"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["ec2:TerminateInstances", "ec2:StopInstances"], "Resource": "*", "Condition": of_this_cluster},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": worker_role},
    ]


def _make_role(iam: Any, name: str, statements: list[dict[str, Any]]) -> str:
    """A role and an instance profile of the same name; returns the role's ARN."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": [EC2_MAY_USE]})
    _unless_there(iam.create_role, RoleName=name, AssumeRolePolicyDocument=trust)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy)
    _unless_there(iam.create_instance_profile, InstanceProfileName=name)
    if not iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _make_security_group(ec2: Any, name: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """The nodes' group in the default network of the region; whatever it lets in besides is taken out of it. Returns its id."""
    networks = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not networks:
        sys.exit("the region must have a default VPC, but has none; make one with 'aws ec2 create-default-vpc'")
    group = _find_group(ec2, name)
    if group is None:
        made = ec2.create_security_group(GroupName=name, Description="Nodes of a sweep cluster", VpcId=networks[0]["VpcId"])
        group = ec2.describe_security_groups(GroupIds=[made["GroupId"]])["SecurityGroups"][0]
    ranges = {"IpRanges": [{"CidrIp": str(network)}]} if network.version == 4 else {"Ipv6Ranges": [{"CidrIpv6": str(network)}]}
    if group["IpPermissions"]:
        ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"],
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges},
            {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]},
        ],
    )
    return str(group["GroupId"])


def _find_group(ec2: Any, name: str) -> dict[str, Any] | None:
    found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
    return found[0] if found else None


def _make_launch_template(ec2: Any, name: str, group: str) -> None:
    data = {
        "SecurityGroupIds": [group],
        "IamInstanceProfile": {"Name": name},
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }
    there = ec2.describe_launch_templates(Filters=[{"Name": "launch-template-name", "Values": [name]}])["LaunchTemplates"]
    if not there:
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        return
    now = ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Default"])["LaunchTemplateVersions"][0]
    if now["LaunchTemplateData"] != data:
        made = ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplateVersion"]
        ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion=str(made["VersionNumber"]))


def remove(name: str, region: str) -> list[str]:
    """Ends every machine of the cluster, stopped ones too, and takes away all that `prepare` made but the bucket.

    Args:
        name: of the cluster.
        region: as AWS names it.

    Returns:
        A line for each thing that is gone or stays.
    """
    ec2, iam = boto3.client("ec2", region_name=region), boto3.client("iam", region_name=region)
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": "tag:ray-cluster-name", "Values": [name]}, *alive])
    machines = [machine["InstanceId"] for page in pages for held in page["Reservations"] for machine in held["Instances"]]
    if machines:
        ec2.terminate_instances(InstanceIds=machines)
        ec2.get_waiter("instance_terminated").wait(InstanceIds=machines)
    for part in (f"{name}-head", f"{name}-worker"):
        if ec2.describe_launch_templates(Filters=[{"Name": "launch-template-name", "Values": [part]}])["LaunchTemplates"]:
            ec2.delete_launch_template(LaunchTemplateName=part)
        for take_away, names in (
            (iam.remove_role_from_instance_profile, {"InstanceProfileName": part, "RoleName": part}),
            (iam.delete_instance_profile, {"InstanceProfileName": part}),
            (iam.delete_role_policy, {"RoleName": part, "PolicyName": part}),
            (iam.delete_role, {"RoleName": part}),
        ):
            _unless_there(take_away, **names)
    group = _find_group(ec2, name)
    if group is not None:
        ec2.delete_security_group(GroupId=group["GroupId"])
    account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
    return [
        f"{len(machines)} machines ended, with their disks; launch templates, roles and security group are gone",
        f"bucket {name}-{account}-{region} stays; 'aws s3 rb --force s3://{name}-{account}-{region}' takes it away with all that is in it",
    ]


def _unless_there(call: Any, **names: str) -> None:
    """Makes or takes away a part of a role; one that is there already, or gone already, is left alone."""
    try:
        call(**names)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("EntityAlreadyExists", "NoSuchEntity"):
            raise


if __name__ == "__main__":
    main()
