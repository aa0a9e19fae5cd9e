"""The nodes of a running cluster, as `sweeper.doctor.cluster_probe` hears of them: versions, folders, room, GPUs, clocks."""

import json
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sweeper
from sweeper.doctor.data import refused
from sweeper.doctor.disk import Space, judge_home, judge_shared, judge_temporary
from sweeper.doctor.finding import Finding, Question, Verdict
from sweeper.doctor.ray_access import EXPORT, SAME_TOKEN
from sweeper.provenance import PACKAGES, installed

CONNECT_S = 60
NODE_S = 180
IMAGES_S = 300
LIMIT_S = CONNECT_S + NODE_S + IMAGES_S
CLOCK_WARNING_S, CLOCK_FAULT_S = 2.0, 300.0  # signed requests to cloud storage are refused from 5 to 15 minutes on
_ADDRESS = re.compile(r"(?:ray://)?\[?([^\[\]/@]+)\]?:(\d+)")
# what Ray says when it lets nobody in, and what helps
REASONS = (
    (re.compile(r"[Aa]uthenticat|[Uu]nauthenticated|auth token|InvalidAuthToken|AuthenticationError"), f"{SAME_TOKEN}; {EXPORT}"),
    (re.compile(r"[Vv]ersion mismatch"), "install the same versions of Ray and Python on the head and here: requirements.lock has them"),
    (re.compile(r"[Cc]ould not find any running Ray"), "start one (ray start --head), or give the head's address: --address HEAD:6379"),
    (
        re.compile(r"IP address|match a node|local raylet"),
        "run this on a node of the cluster, or give its job server: --address http://HEAD:8265",
    ),
)


def cluster(question: Question) -> list[Finding]:
    """Everything of a running cluster's nodes."""
    address = question.cluster
    if address is None:
        return []
    match = _ADDRESS.fullmatch(address)
    reason = refused(match[1], int(match[2])) if match else ""
    if reason:
        remedy = "start the cluster (ray start --head), check the address (HEAD:6379), and what lies between"
        return [Finding("cluster", f"nothing answers at {address} ({reason})", "fault", remedy)]
    with _marker(question.home.root.absolute()) as marker:
        answer = _asked(question, marker)
    if "error" in answer:
        text = str(answer["error"])
        remedy = next((remedy for words, remedy in REASONS if words.search(text)), "look at the head's logs: /tmp/ray/session_latest/logs")
        shown = " ".join(text.split())
        return [Finding("cluster", f"{address} lets nobody in: {shown[:400]}", "fault", remedy)]
    what, _, remedy = str(answer["lacking"]).partition("; ")
    room = [Finding("resources", what, "fault", remedy)] if what else []
    return judged(question, answer["nodes"], marked=bool(marker)) + room


def judged(question: Question, nodes: list[dict[str, Any]], *, marked: bool) -> list[Finding]:
    """What the nodes' answers mean.

    Args:
        question: as it was asked.
        nodes: an answer each; see `cluster_probe.Probe.report`.
        marked: whether this machine's home holds a mark that other nodes must see.
    """
    names = [node["node"] for node in nodes]
    for node in nodes:
        if names.count(node["node"]) > 1:  # several nodes of one machine
            node["node"] += f" {node['id'][:6]}"
    findings = [Finding("cluster", f"{len(nodes)} nodes")]
    for node in nodes:
        if "error" in node:
            remedy = "no worker starts there: look at its /tmp/ray/session_latest/logs, and for a folder named platform on its path"
            findings.append(Finding("nodes", f"no answer ({node['error']})", "fault", remedy, node["node"]))
            continue
        findings += _versions(node)
        findings += _folders(question, node, marked=marked)
        findings += _gpus(node)
        findings += _clock(node)
        findings += _images(node)
    return _merged(findings) + _one_set_of_images(nodes)


@contextmanager
def _marker(home: Path) -> Iterator[str]:
    """A file in the home that nodes with the same home see; empty where none can be made."""
    name = f".sweep-doctor-{secrets.token_hex(8)}"
    try:
        (home / name).touch()
    except OSError:  # the check of the home says so
        name = ""
    try:
        yield name
    finally:
        if name:
            (home / name).unlink(missing_ok=True)


def _asked(question: Question, marker: str) -> dict[str, Any]:
    """The probe's answer; {"error": text} where it has none."""
    spec, rooms = question.spec, question.rooms
    images = [_name_of(rooms.prepare), spec.data.model_dump(), spec.mask.model_dump()] if spec and rooms else None
    asked = {
        "packages": PACKAGES,
        "home": str(question.home.root.absolute()),
        "marker": marker,
        "data": str(question.data_folder) if question.data_named else None,
        "usual_data": str(question.data_folder),
        "images": images,
        "resources": spec.resources.model_dump() if spec else None,
        "node_s": NODE_S,
        "images_s": IMAGES_S,
    }
    root = str(Path(sweeper.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    limit_s = CONNECT_S + NODE_S + (IMAGES_S if spec else 0)
    command = [sys.executable, "-m", "sweeper.doctor.cluster_probe", str(question.cluster)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=os.environ | {"PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {limit_s} s"}
    log = next(reversed(done.stderr.strip().splitlines()), "")  # Ray's reason stands in its log, not in what it raises
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            answer = dict(json.loads(line))
            return answer | {"error": f"{answer['error']}; {log}"} if "error" in answer else answer
    return {"error": f"Ray ended the process that asked ({done.returncode}): {log}"}


def _name_of(function: Callable[..., Any]) -> str:
    """A function's name as the nodes import it."""
    return f"{function.__module__}:{function.__qualname__}"


def _versions(node: Mapping[str, Any]) -> list[Finding]:
    """Whether a node has the Python and the packages that are here."""
    here = {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES}
    there = node["versions"]
    other = [f"{name} {there.get(name)} (here {version})" for name, version in here.items() if there.get(name) != version]
    if other:
        remedy = "install requirements.lock and the project's wheel there, as here; then start its Ray again"
        return [Finding("versions", ", ".join(other), "fault", remedy, node["node"])]
    return [Finding("versions", "as here", node=node["node"])]


def _folders(question: Question, node: Mapping[str, Any], *, marked: bool) -> list[Finding]:
    """Whether a node sees the same home and the data, and has room."""
    name, folders = node["node"], node["folders"]
    home, own = str(question.home.root.absolute()), node["home_variable"]
    share = f"mount the shared storage at {home} on every node, and export SWEEP_HOME={home} before ray start"
    findings = []
    if own is not None and os.path.abspath(own) != home:
        findings.append(Finding("home", f"SWEEP_HOME is {own} there, {home} here", "fault", share, name))
    if "refused" in folders["home"]:
        findings.append(Finding("home", f"{home}: {folders['home']['refused']}", "fault", share, name))
    elif marked and not node["marked"]:
        findings.append(Finding("home", f"{home} is another folder there than here: checkpoints would be lost", "fault", share, name))
    elif not findings:
        findings.append(judge_home(home, _space(folders["home"]), name))
    data = folders["data"]
    if "refused" in data and (question.data_named or question.spec):
        remedy = f"put the data there, or share {question.data_folder} and export SWEEP_DATA_DIR={question.data_folder} before ray start"
        findings.append(Finding("data folder", f"{data['folder']}: {data['refused']}", "fault", remedy, name))
    elif "refused" not in data:
        findings.append(Finding("data folder", data["folder"], node=name))
    judges: tuple[tuple[str, Callable[[str, Space, str], Finding]], ...] = (
        ("temporary", judge_temporary),
        ("shared", lambda place, space, node: judge_shared(space, place, node)),
    )
    for key, judge in judges:
        room = folders[key]
        if "refused" in room:
            findings.append(Finding("room", f"{room['folder']}: {room['refused']}", "fault", "make it writable for Ray", name))
        else:
            findings.append(judge(room["folder"], _space(room), name))
    return findings


def _space(room: Mapping[str, Any]) -> Space:
    return Space(room["free"], room["total"], room["free_files"])


def _gpus(node: Mapping[str, Any]) -> list[Finding]:
    """Whether torch finds the GPUs that Ray gives out."""
    torch, given = node["torch"], int(node["resources"].get("GPU", 0))
    if "error" in torch:
        return [Finding("torch and CUDA", torch["error"], "fault", "install torch there as requirements.lock has it", node["node"])]
    found = ", ".join(torch["gpus"]) or "no GPU"
    if given > len(torch["gpus"]):
        remedy = "install the driver there (nvidia-smi must show the GPUs), or start its Ray with --num-gpus=0"
        return [Finding("torch and CUDA", f"Ray gives out {given} GPUs, torch finds {found}", "fault", remedy, node["node"])]
    return [Finding("torch and CUDA", found, node=node["node"])]


def _clock(node: Mapping[str, Any]) -> list[Finding]:
    """Whether a node's clock goes as this one."""
    ahead = abs(node["clock_s"]) - node["clock_error_s"]
    if ahead > CLOCK_WARNING_S:
        verdict: Verdict = "fault" if ahead > CLOCK_FAULT_S else "warning"
        return [Finding("clock", f"{node['clock_s']:+.0f} s", verdict, "let its clock be set: timedatectl set-ntp true", node["node"])]
    return [Finding("clock", f"within {CLOCK_WARNING_S:g} s", node=node["node"])]


def _images(node: Mapping[str, Any]) -> list[Finding]:
    """Whether a node can open the spec's images."""
    answer = node.get("images")
    if answer is None:
        return []
    if "error" in answer:
        remedy = "put the data there, or share the data folder and export SWEEP_DATA_DIR before ray start"
        return [Finding("images", str(answer["error"]), "fault", remedy, node["node"])]
    return [Finding("images", f"fingerprint {answer['fingerprint']}", node=node["node"])]


def _one_set_of_images(nodes: list[dict[str, Any]]) -> list[Finding]:
    """Whether all nodes see the same images."""
    prints = {node["images"]["fingerprint"] for node in nodes if "fingerprint" in node.get("images", {})}
    if len(prints) < 2:
        return []
    remedy = "let all nodes read the same data folder: share it, and export SWEEP_DATA_DIR before ray start"
    return [Finding("images", f"the nodes have different images: {', '.join(sorted(prints))}", "fault", remedy)]


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for all nodes that say the same."""
    nodes: dict[Finding, list[str]] = {}
    for finding in findings:
        nodes.setdefault(replace(finding, node=""), []).append(finding.node)
    return [replace(finding, node=_some(names)) for finding, names in nodes.items()]


def _some(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
