import sys
from pathlib import Path

import pytest

from sweeper.source_code import SourceCode

FILES = {
    "kit/__init__.py": "",
    "kit/model.py": "from kit.part import thing\nfrom . import near\nimport json\n",
    "kit/part.py": "def f():\n    import beside\n",
    "kit/near.py": "",
    "kit/apart.py": "",
    "beside.py": "from kit.far.deep import x\n",
    "kit/far/__init__.py": "from ..up import y\n",
    "kit/far/deep.py": "x = 1\n",
    "kit/up.py": "y = 1\n",
}


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package and a module beside it, importable and not imported."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_everything_that_is_imported_on_the_way_counts(kit: Path) -> None:
    files = SourceCode().files(["kit.model"])
    assert files is not None
    assert sorted(files) == ["beside", "kit", "kit.far", "kit.far.deep", "kit.model", "kit.near", "kit.part", "kit.up"]
    assert "kit" not in sys.modules


@pytest.mark.parametrize("name", [name for name in FILES if name != "kit/apart.py"])
def test_a_changed_line_changes_the_version(kit: Path, name: str) -> None:
    before = SourceCode().version(["kit.model"])
    (kit / name).write_text(FILES[name] + "# another line\n")
    assert SourceCode().version(["kit.model"]) != before


def test_what_is_not_imported_does_not_count(kit: Path) -> None:
    before = SourceCode().version(["kit.model"])
    (kit / "kit" / "apart.py").write_text("z = 1\n")
    assert SourceCode().version(["kit.model"]) == before


def test_a_module_that_is_left_out_is_still_followed(kit: Path) -> None:
    before = SourceCode().version(["kit.model"], leave_out=["beside"])
    (kit / "beside.py").write_text(FILES["beside.py"] + "# another line\n")
    assert SourceCode().version(["kit.model"], leave_out=["beside"]) == before
    (kit / "kit" / "far" / "deep.py").write_text("x = 2\n")
    assert SourceCode().version(["kit.model"], leave_out=["beside"]) != before


def test_a_module_that_is_not_there_has_no_version(kit: Path) -> None:
    assert SourceCode().version(["kit.gone"]) is None
    assert SourceCode().version(["gone_too"]) is None
    assert SourceCode().version(["sys"]) is None  # no source


def test_installed_packages_count_where_they_are_named_alone(kit: Path) -> None:
    (kit / "kit" / "near.py").write_text("import yaml\n")
    files, named = SourceCode().files(["kit.model"]), SourceCode().files(["kit.model", "yaml"])
    assert files is not None
    assert named is not None
    assert "yaml" not in files
    assert "yaml" in named
