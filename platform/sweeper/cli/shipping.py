"""What goes to a cluster with a job: the four rooms' code, the spec, and a user's own model.

The packages travel one by one, never the folder `platform/`, which would hide Python's module of that name there. What has been sent before
is not sent again: Ray names each upload by its content.
"""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeper.provenance import JOB_VARIABLE, code_tags, version_tags

PACKAGES = ("sweeper", "trainables", "search_spaces", "reports")
CACHES = ("__pycache__", "*.pyc")
RESULTS = "results"


def job_environment(stage: Path, *, shipped: bool, spec: tuple[str, str] | None = None, modules: bool = False) -> dict[str, Any]:
    """Ray's runtime environment of a job.

    Args:
        stage: an empty folder for copies; must be there until the job is submitted.
        shipped: whether the code goes with it; else the cluster's installed project runs.
        spec: file name and text of a spec that goes with it.
        modules: whether the modules of the folder at hand that this process has imported go with it: a user's own models.
    """
    facts = {"shipped": shipped, "versions": version_tags(), "code": code_tags()}
    environment: dict[str, Any] = {"env_vars": {JOB_VARIABLE: json.dumps(facts)}}
    if shipped:
        environment["py_modules"] = [str(_copied(name, stage / "code")) for name in PACKAGES]
    if spec is not None:
        work = stage / "work"
        work.mkdir()
        (work / spec[0]).write_text(spec[1], encoding="utf-8")
        for path in _own_modules(sys.modules, Path.cwd()) if modules else ():
            _copy(path, work / path.name)
        environment["working_dir"] = str(work)
    return environment


def _copied(package: str, folder: Path) -> Path:
    """A package's copy without what is no code, from wherever it is imported here."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package)
    target = folder / package
    left_out = (*CACHES, RESULTS) if package == "reports" else CACHES
    shutil.copytree(found.submodule_search_locations[0], target, ignore=shutil.ignore_patterns(*left_out))
    return target


def _own_modules(imported: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Files and package folders that lie in a folder itself and were imported under their own names."""
    for name in sorted(imported):
        for path in (folder / f"{name}.py", folder / name):
            place = getattr(imported[name], "__file__", None)
            inside = path / "__init__.py" if path.suffix != ".py" else path
            if name not in PACKAGES and "." not in name and place and Path(place).resolve() == inside.resolve():
                yield path


def _copy(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns(*CACHES))
    else:
        shutil.copy(path, target)
