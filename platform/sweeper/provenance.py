"""What a number was made with: code, versions, machine."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

JOB_VARIABLE = "SWEEP_JOB"
PROJECT = "inpaint-sweeps"
PACKAGES = (PROJECT, "torch", "ray", "optuna", "mlflow", "numpy")


def code_tags() -> dict[str, str]:
    """Commit and dirty flag of the checkout that the engine runs from; "none" for an installed wheel.

    Code that a client has sent to a cluster carries the client's.
    """
    if (sent := _sent()) is not None:
        return dict(sent["code"])
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else ""
    return {"git.commit": commit or "none", "git.dirty": str(bool(dirty)).lower()}


def version_tags() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    tags = {"version.python": platform.python_version()}
    tags |= {f"version.{name}": installed(name) for name in PACKAGES}
    if (sent := _sent()) is not None:
        tags[f"version.{PROJECT}"] = sent["versions"][f"version.{PROJECT}"]
    return tags


def installed(name: str) -> str:
    """A package's version; "not installed" where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """This machine in words."""
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}"


def _sent() -> dict[str, Any] | None:
    """What came with the code, where a client has sent it; see `sweeper.cli.shipping`."""
    facts: dict[str, Any] = json.loads(os.environ.get(JOB_VARIABLE, "{}"))
    return facts if facts.get("shipped") else None


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command; empty where git or the checkout is missing."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
