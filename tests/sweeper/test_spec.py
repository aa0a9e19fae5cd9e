"""Reading a spec's fields: names, files, YAML and --set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeper.errors import SpecError
from sweeper.rooms import Rooms
from sweeper.spec import Mask, Range, Spec
from sweeper.spec_file import read_spec, shipped
from sweeper.validation import validate


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_path_is_read(tmp_path: Path) -> None:
    assert read_spec(written(tmp_path, "name: mine\nbudget: {trials: 3, epochs: 2.5}\n")) == {
        "name": "mine",
        "budget": {"trials": 3, "epochs": 2.5},
    }


def test_every_shipped_spec_is_found_by_its_name_and_valid(rooms: Rooms) -> None:
    assert {"quickstart", "beyond_cnns_table1"} <= set(shipped())
    for name in shipped():
        spec = validate(read_spec(name), rooms)
        assert spec.name == name
        assert spec.description


def test_an_unknown_spec_is_answered_with_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"a spec must be one of .*beyond_cnns_table1, .*quickstart.* or a file's path, but got 'nowhere'"):
        read_spec("nowhere")
    with pytest.raises(SpecError, match="or a file's path, but got"):
        read_spec(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "line"),
    [("name: a\nmodel: [1, 2\nbudget: 3\n", 3), ("name: a\n\tmodel: b\n", 2), ("a: b: c\n", 1), ("x: 1\ny: 'open\n", 3)],
)
def test_malformed_yaml_names_the_line(text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=rf"the spec must be valid YAML, but .*mine\.yaml, line {line}, column \d+: .*; mend that line"):
        read_spec(written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe\x00\n")
    with pytest.raises(SpecError, match=r"the spec must be readable text, but .*mine\.yaml is not"):
        read_spec(str(path))


@pytest.mark.parametrize(("text", "kind"), [("- name\n- model\n", "list"), ("quickstart\n", "str"), ("", "NoneType")])
def test_a_file_without_fields_is_refused(text: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"must be a mapping of fields, but .* holds {kind}; start it with 'name:'"):
        read_spec(written(tmp_path, text))


def test_set_overrides_and_adds_fields_at_any_depth(tmp_path: Path) -> None:
    path = written(tmp_path, "name: mine\nbudget: {trials: 3, epochs: 2}\n")
    overrides = ["budget.trials=4", "knobs.bottleneck=[256, 512]", "knobs.mirror=true", "description=a = b", "seeds="]
    assert read_spec(path, overrides) == {
        "name": "mine",
        "budget": {"trials": 4, "epochs": 2},
        "knobs": {"bottleneck": [256, 512], "mirror": True},
        "description": "a = b",
        "seeds": None,
    }


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("2E5", 2e5), ("-1e+2", -100.0), ("1.5e-4", 1.5e-4), ("3", 3), ("e3", "e3")])
def test_numbers_with_an_exponent_are_numbers(text: str, value: object, tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as text; people mean the number."""
    fields = read_spec(written(tmp_path, f"name: mine\nfirst: {text}\n"), [f"second={text}"])
    assert (fields["first"], fields["second"]) == (value, value)
    assert type(fields["first"]) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trials", "--set takes key=value, but got 'budget.trials'; for example --set budget.trials=4"),
        ("=4", "--set takes key=value, but got '=4'"),
        ("knobs.bottleneck=[1, 2", r"the value of --set must be valid YAML, but got '\[1, 2'"),
        ("name.first=x", "--set name.first: name must be a section of the spec, but it is 'mine'; set name itself"),
    ],
)
def test_a_bad_override_is_told(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        read_spec(written(tmp_path, "name: mine\n"), [override])


def test_the_resolved_spec_is_the_same_spec_when_read_again(tiny_spec: Callable[..., Spec], rooms: Rooms, tmp_path: Path) -> None:
    spec = tiny_spec(
        knobs={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "bottleneck": [256, 512], "neck": "search", "mirror": True},
        budget={"trials": 4, "epochs": 1.5, "wall_s": 30},
    )
    text = spec.to_yaml()
    assert validate(read_spec(written(tmp_path, text)), rooms) == spec
    fields: dict[str, Any] = yaml.safe_load(text)
    assert list(fields) == list(Spec.model_fields)
    assert fields["mask"] == {"kind": "centre", "hole_px": 8, "ratio_low": 0.1, "ratio_high": 0.3}
    assert spec.knobs["learning_rate"] == Range(low=1e-4, high=1e-2, log=True, points=3)


@pytest.mark.parametrize(
    ("mask", "described"),
    [
        (Mask(kind="random_square", hole_px=12), "random_square 12 px"),
        (Mask(kind="strokes"), "strokes 0.1 to 0.3"),
        (Mask(kind="irregular", ratio_low=0.01, ratio_high=0.6), "irregular 0.01 to 0.6"),
    ],
)
def test_a_mask_is_described_by_what_it_uses(mask: Mask, described: str) -> None:
    assert mask.described == described
