"""This Python: its version, its own module `platform`, the packages, torch and what torch finds of GPUs."""

import os
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from sweeper.doctor.finding import Finding, Question
from sweeper.errors import first_line

LEAST_PYTHON = (3, 11)
PACKAGE = "inpaint-sweeps"
INSTALL = "install the project again: make quickstart, or pip install of its wheel"


def python(question: Question) -> list[Finding]:
    """Python's version."""
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < LEAST_PYTHON:
        return [Finding("Python", here, "fault", f"use Python {'.'.join(map(str, LEAST_PYTHON))} or newer")]
    return [Finding("Python", f"{here} in {sys.prefix}")]


def standard_platform(question: Question) -> list[Finding]:
    """Whether anything on the path hides Python's module `platform`. Ray puts the driver's folder on its workers' path."""
    hiding = hiding_platform([str(Path.cwd()), *sys.path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    if hiding is None:
        return [Finding("module platform", "Python's own")]
    remedy = f"remove {hiding} or give it another name, or take {_parent(hiding)} off PYTHONPATH and work in another folder"
    return [Finding("module platform", f"{hiding} hides Python's own: Ray's workers die when they start", "fault", remedy)]


def hiding_platform(path: Iterable[str]) -> Path | None:
    """The file that hides Python's module `platform` on a search path; None where none does."""
    own = Path(sysconfig.get_paths()["stdlib"]).resolve()
    for folder in filter(None, path):
        place = Path(folder).resolve()
        if place == own or place.is_relative_to(own):
            continue
        for file in (place / "platform" / "__init__.py", place / "platform.py"):
            if file.is_file():
                return file
    return None


def packages(question: Question) -> list[Finding]:
    """Whether every package is there in a version that the project allows."""
    try:
        needed = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        return [Finding("packages", f"{PACKAGE} is not installed", "fault", INSTALL)]
    wrong = []
    usual = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    for each in usual:
        try:
            there = version(each.name)
        except PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(there, prereleases=True):
            wrong.append(f"{each.name} {there} is not {each.specifier}")
    if wrong:
        return [Finding("packages", "; ".join(wrong), "fault", INSTALL)]
    return [Finding("packages", f"{len(usual)} are there, {PACKAGE} {version(PACKAGE)}, ray {version('ray')}")]


def torch(question: Question) -> list[Finding]:
    """Torch, the GPUs that it finds, and whether they are enough for the spec where it runs here."""
    try:
        import torch as installed
    except (ImportError, OSError, AttributeError) as error:  # a library that does not fit, or a module that is hidden
        return [Finding("torch and CUDA", f"torch cannot be imported ({first_line(error)})", "fault", INSTALL)]
    gpus = [installed.cuda.get_device_name(index) for index in range(installed.cuda.device_count())]
    built = installed.version.cuda
    found = f"torch {installed.__version__}, {', '.join(gpus) or 'no GPU'}"
    wanted = question.spec.resources.gpus if question.spec and question.address is None else 0
    if wanted > len(gpus):
        reason = "torch is built without CUDA" if built is None else f"torch is built for CUDA {built}"
        remedy = "set resources.gpus: 0, name a cluster with --address, or install a driver (nvidia-smi must show the GPUs)"
        return [Finding("torch and CUDA", f"{found}; the spec asks for {wanted:g} GPUs a trial; {reason}", "fault", remedy)]
    if Path("/proc/driver/nvidia/version").exists() and not gpus:
        return [
            Finding(
                "torch and CUDA", f"{found}, though an NVIDIA driver is there", "warning", "compare nvidia-smi with CUDA_VISIBLE_DEVICES"
            )
        ]
    return [Finding("torch and CUDA", found)]


def _parent(file: Path) -> Path:
    """The folder on the path that a module's file belongs to."""
    return file.parent.parent if file.name == "__init__.py" else file.parent
