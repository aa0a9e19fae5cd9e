"""What the variants share: the scripts in `clusters/shared`, and that every cluster file uses them and exports the same."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper import autoscaler

TOP = Path(__file__).parents[2]
SHARED = TOP / "clusters" / "shared"
SCRIPTS = sorted([*SHARED.glob("*.sh"), *(TOP / "clusters").glob("*.sh")])
RAY_FILES = [TOP / "cluster.yaml", TOP / "clusters" / "gcp.yaml", TOP / "clusters" / "local.yaml"]
CONTRACT = {"RAY_AUTH_MODE", "SWEEP_HOME", "SWEEP_DATA_DIR", "MLFLOW_TRACKING_URI"}


def run(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs bash with a home folder that is thrown away, and with no variable but PATH and those given."""
    variables |= {"HOME": str(home), "PATH": variables.get("PATH", os.environ["PATH"])}
    return subprocess.run(["bash", *command], env=variables, capture_output=True, text=True)


def exported(home: Path, **variables: str) -> dict[str, str]:
    said = run(home, "-c", f". {SHARED / 'environment.sh'} && env -0", **variables)
    assert said.returncode == 0, said.stderr
    return dict(line.split("=", 1) for line in said.stdout.split("\0") if line)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_bash_can_read_it_and_it_stops_at_the_first_error(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0
    if script.name != "environment.sh":
        assert "\nset -euo pipefail\n" in script.read_text()
        assert os.access(script, os.X_OK)


@pytest.mark.parametrize("file", RAY_FILES, ids=lambda file: file.name)
def test_a_cluster_file_sends_and_runs_scripts_that_are_there(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    assert config["file_mounts"]["~/sweep-cluster"] == "clusters/shared"
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            called = re.match(r"bash ~/sweep-cluster/(\w+\.sh)", command)
            assert called is not None
            assert (SHARED / called.group(1)).exists()
    assert "start_head.sh ray start --head" in config["head_start_ray_commands"][0]
    assert config["worker_start_ray_commands"][0].endswith("ray start --address=$RAY_HEAD_IP:6379")


@pytest.mark.parametrize("file", [*RAY_FILES, TOP / "clusters" / "kubernetes.yaml"], ids=lambda file: file.name)
def test_a_variant_sets_only_what_is_read(file: Path) -> None:
    read = {autoscaler.VARIABLE} | set(re.findall(r"\b(?:SWEEP|MLFLOW)_[A-Z_]+\b", "".join(script.read_text() for script in SCRIPTS)))
    assert set(re.findall(r"\b(SWEEP_[A-Z_]+)[=:]", file.read_text())) <= read
    assert "SWEEP_HOME" in file.read_text()


def test_the_contract_is_exported_on_every_node(tmp_path: Path) -> None:
    assert set(exported(tmp_path, SWEEP_HEAD_IP="10.0.0.5")) >= CONTRACT
    settings = next(o for o in yaml.safe_load_all((TOP / "clusters" / "kubernetes.yaml").read_text()) if o["kind"] == "ConfigMap")
    assert set(settings["data"]) >= CONTRACT


def test_defaults_follow_from_the_home_and_the_head(tmp_path: Path) -> None:
    (tmp_path / ".sweep_head_ip").write_text("10.0.0.5\n")
    found = exported(tmp_path, SWEEP_HOME="/shared")
    assert found["SWEEP_DATA_DIR"] == "/shared/data"
    assert found["MLFLOW_TRACKING_URI"] == "http://10.0.0.5:5000"
    assert found["RAY_AUTH_MODE"] == "token"
    assert "SWEEP_NODE_CACHE" not in found


@pytest.fixture
def commands(tmp_path: Path) -> str:
    """A PATH with the commands that a node has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ray", "sweep", "mlflow"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_setup_keeps_settings_and_closes_the_token(tmp_path: Path, commands: str) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o644)
    artifacts = "s3://a bucket/with 'quotes' and $dollars"
    for _ in range(2):  # again: nothing is doubled
        said = run(
            tmp_path, str(SHARED / "setup.sh"), "SWEEP_INSTALL=none", "SWEEP_HOME=/data", f"SWEEP_ARTIFACTS={artifacts}", PATH=commands
        )
        assert said.returncode == 0, said.stderr

    assert token.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".bashrc").read_text() == f". {SHARED / 'environment.sh'}\n"
    found = exported(tmp_path)
    assert (found["SWEEP_HOME"], found["SWEEP_ARTIFACTS"]) == ("/data", artifacts)


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "told"),
    [
        ("setup.sh", ["PATH=/tmp"], {}, "a setting must be SWEEP_"),
        ("setup.sh", ["SWEEP_INSTALL=conda"], {}, "SWEEP_INSTALL must be 'wheel' or 'none', but got 'conda'"),
        ("setup.sh", ["SWEEP_INSTALL=none"], {"PATH": "/usr/bin:/bin"}, "must be on the PATH, but is not"),
        ("setup.sh", [], {}, "type 'make wheel' before 'ray up'"),
        ("storage.sh", ["head"], {"SWEEP_STORAGE": "floppy"}, "SWEEP_STORAGE must be 'mounted', 'head' or SERVER:/PATH, but got 'floppy'"),
        ("storage.sh", ["worker"], {"SWEEP_HOME": "/nowhere/at/all"}, "SWEEP_HOME must be a folder that"),
        ("mlflow_server.sh", [], {"SWEEP_MLFLOW_BACKEND": "access"}, "SWEEP_MLFLOW_BACKEND must be"),
        ("start_worker.sh", [], {}, "the head's address must be in RAY_HEAD_IP"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(tmp_path: Path, script: str, arguments: list[str], variables: dict[str, Any], told: str) -> None:
    said = run(tmp_path, str(SHARED / script), *arguments, **variables)
    assert said.returncode == 1
    assert told in said.stderr


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (2, 0), (3, 1)])
def test_a_worker_whose_start_fails_tries_again_twice(tmp_path: Path, commands: str, failures: int, code: int) -> None:
    tried = tmp_path / "tried"
    ray = tmp_path / "bin" / "ray"
    ray.write_text(f'#!/bin/sh\necho "$@" >> {tried}\n[ "$1" = stop ] || [ $(grep -c ^start {tried}) -gt {failures} ]\n')
    script = [str(SHARED / "start_worker.sh"), "ray", "start", "--address=10.0.0.5:6379"]
    said = run(tmp_path, *script, SWEEP_HOME=str(tmp_path), RAY_HEAD_IP="10.0.0.5", PATH=commands)
    assert said.returncode == code, said.stderr
    starts = [line for line in tried.read_text().splitlines() if line.startswith("start --address=10.0.0.5:6379")]
    assert len(starts) == min(failures + 1, 3)


def test_a_spec_that_is_not_there_is_told_when_data_are_prepared(tmp_path: Path) -> None:
    variables = {"PYTHONPATH": f"{TOP / 'platform'}:{TOP}", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = run(tmp_path, str(SHARED / "prepare_data.sh"), "no_such_spec", SWEEP_HOME=str(tmp_path), **variables)
    assert said.returncode == 1
    assert "no_such_spec" in said.stderr
    assert "Traceback" not in said.stderr
