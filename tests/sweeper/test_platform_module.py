"""`platform` is a module of Python's standard library; the source root of the same name must not hide it."""

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_standard_module_is_found_from_the_repository_root() -> None:
    command = [sys.executable, "-c", "import platform; print(platform.system())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == platform.system() != ""


def test_the_source_root_is_no_package_and_holds_no_module() -> None:
    source_root = ROOT / "platform"
    assert source_root.is_dir()
    assert [path.name for path in source_root.iterdir() if path.is_file()] == []
    assert "sweeper" in [path.name for path in source_root.iterdir()]
