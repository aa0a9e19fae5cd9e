"""Judging a whole spec: each mistake is told with what is allowed, all of them in one message, before anything starts."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.rooms import Rooms
from sweeper.spec import Range, Spec
from sweeper.validation import validate

Fields = Callable[..., dict[str, Any]]


def problems(fields: Mapping[str, Any], rooms: Rooms) -> list[str]:
    """The problems of a spec that is refused, one each."""
    with pytest.raises(SpecError) as caught:
        validate(fields, rooms)
    head, *lines = str(caught.value).splitlines()
    assert head == f"the spec has {len(lines)} problem{'s' if len(lines) > 1 else ''}; nothing was started"
    assert all(line.startswith("  - ") for line in lines)
    return [line.removeprefix("  - ") for line in lines]


def test_a_sound_spec_gets_its_defaults(tiny_spec: Callable[..., Spec]) -> None:
    spec = tiny_spec(seeds=None, pictures=None)
    assert (spec.seeds, spec.pictures, spec.objective.metric, spec.scheduler.kind) == (1, 3, "l2_hole", "none")
    assert (spec.resources.cpus, spec.resources.gpus, spec.mask.kind, spec.mask.hole_px) == (1, 0, "centre", 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "unet"}, "model: must be one of cnn_autoencoder, .*, or module:Class, but got 'unet'"),
        ({"data": {"name": "imagenet"}}, "data.name: must be one of photos, cifar10, .*, or folder:PATH, but got 'imagenet'"),
        (
            {"mask": {"kind": "blob"}},
            "mask.kind: must be one of centre, random_square, random_rectangle, strokes, irregular, but got 'blob'",
        ),
        ({"knobs": {"bottlneck": 256}}, "knobs.bottlneck: must be one of bottleneck, base_filters, .* has no such knob"),
        ({"search": {"algorithm": "cma"}}, "search.algorithm: .*'grid', 'random', .*'tpe'.*, but got 'cma'"),
        ({"scheduler": {"kind": "pbf"}}, "scheduler.kind: .*'none', 'asha'.*, but got 'pbf'"),
        ({"objective": {"metric": "accuracy"}}, "objective.metric: must be one of l2_hole, .*psnr_hole.*, but got 'accuracy'"),
        ({"objective": {"metric": "sharpness_hole"}}, "objective.metric: must be one of l2_hole, .*, but got 'sharpness_hole'"),
        ({"objective": {"also": ["accuracy"]}}, "objective.also: must be one of l2_hole, .*, but got 'accuracy'"),
        ({"objective": {"also": 3}}, "objective.also: input should be a valid list, but got 3"),
        ({"objective": {"also": "psnr_hole"}}, "objective.also: input should be a valid list, but got 'psnr_hole'"),
        ({"knobs": {"seed": [0, -1]}}, r"knobs.seed: must be a whole number from 0 on, or a list of them, but got \[0, -1\]"),
        (
            {"configurations": [{"bottlneck": 256}], "search": {"algorithm": "grid"}},
            "configurations.0.bottlneck: must be one of bottleneck, base_filters, .* has no such knob",
        ),
        ({"colour": "red"}, "colour: must be one of name, description, model, .*; remove it"),
        ({"budget": {"trails": 3}}, "budget.trails: extra inputs are not permitted"),
    ],
)
def test_an_unknown_name_is_answered_with_what_there_is(changes: dict[str, Any], message: str, tiny: Fields, rooms: Rooms) -> None:
    (problem,) = problems(tiny(**changes), rooms)
    assert re.search(message, problem), problem


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"knobs": {"dropout": 0.9}}, "knobs.dropout: must be 0 to 0.8, but got 0.9"),
        ({"knobs": {"bottleneck": 300}}, "knobs.bottleneck: must be one of 256, 512, 1024, 2048, but got 300"),
        ({"knobs": {"bottleneck": [256, 300]}}, "knobs.bottleneck: must be one of 256, 512, 1024, 2048, but got 300"),
        ({"knobs": {"bottleneck": "256"}}, "knobs.bottleneck: must be one of 256, 512, 1024, 2048, but got '256'"),
        ({"knobs": {"mirror": 1}}, "knobs.mirror: must be one of True, False, but got 1"),
        ({"knobs": {"learning_rate": {"low": 1e-6, "high": 1e-3}}}, "knobs.learning_rate: must be 1e-05 to 0.01, log scale, but got 1e-06"),
        ({"knobs": {"dropout": {"low": 0.6, "high": 0.2}}}, "knobs.dropout: low < high must hold, but got (0.6, 0.2)"),
        ({"knobs": {"overlap_px": {"low": 0, "high": 2.5}}}, "knobs.overlap_px: must be 0 to 8, whole, but got 2.5"),
        ({"knobs": {"bottleneck": []}}, "knobs.bottleneck: a list must name at least one value, but got []; allowed: 256, 512, 1024, 2048"),
        (
            {"knobs": {"bottleneck": {"low": 256, "high": 512}}},
            "knobs.bottleneck: takes one or more of 256, 512, 1024, 2048, but got a range; give a list",
        ),
        (
            {"configurations": [{"neck": "fc"}, {"neck": "search"}], "search": {"algorithm": "grid"}},
            "configurations.1.neck: must be one of fc, conv, but got 'search'",
        ),
        (
            {"configurations": [{"dropout": 0.9}], "search": {"algorithm": "grid"}},
            "configurations.0.dropout: must be 0 to 0.8, but got 0.9",
        ),
        (
            {"configurations": [{"neck": "fc"}], "search": {"algorithm": "random"}},
            "configurations: a list goes with search.algorithm grid, but got 'random'",
        ),
        (
            {"knobs": {"dropout": {"low": 0, "high": 0.5, "log": True}}},
            "knobs.dropout: low must be above 0 on a log scale, but got 0; raise it, or set log: false",
        ),
    ],
)
def test_a_knobs_value_outside_its_range_is_told_with_the_range(changes: dict[str, Any], expected: str, tiny: Fields, rooms: Rooms) -> None:
    assert problems(tiny(**changes), rooms) == [expected]


@pytest.mark.parametrize("setting", [None, {"low": 0.1}, {"low": 0.1, "hihg": 0.2}, {}, [0.1, [0.2]], [None], {"low": "a", "high": 0.2}])
def test_a_setting_that_is_none_of_the_four_kinds_is_one_problem(setting: object, tiny: Fields, rooms: Rooms) -> None:
    (problem,) = problems(tiny(knobs={"dropout": setting}), rooms)
    assert problem.startswith("knobs.dropout: must be a value, a list of values, {low, high, log, points} or 'search', but got ")
    assert problem.endswith(repr(setting))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"budget": {"trials": 0}}, "budget.trials: input should be greater than or equal to 1, but got 0"),
        ({"budget": {"trials": -2}}, "budget.trials: input should be greater than or equal to 1, but got -2"),
        ({"budget": {"epochs": 0}}, "budget.epochs: input should be greater than 0, but got 0"),
        ({"budget": {"epochs": float("inf")}}, "budget.epochs: input should be a finite number, but got inf"),
        ({"budget": {"epochs": float("nan")}}, "budget.epochs: input should be a finite number, but got nan"),
        ({"budget": {"wall_s": 0}}, "budget.wall_s: input should be greater than 0, but got 0"),
        ({"resources": {"cpus": 0}}, "resources.cpus: input should be greater than 0, but got 0"),
        ({"resources": {"gpus": -1}}, "resources.gpus: input should be greater than or equal to 0, but got -1"),
        ({"resources": {"gpus": 1.5}}, "resources.gpus: above 1 must be a whole number, but got 1.5"),
        ({"resources": {"memory_gib": 0}}, "resources.memory_gib: input should be greater than 0, but got 0"),
        ({"resources": {"gpu_memory_gib": -2}}, "resources.gpu_memory_gib: input should be greater than 0, but got -2"),
        (
            {"resources": {"accelerator_type": "A100"}},
            "resources.accelerator_type: goes with GPUs, but got 'A100' where resources.gpus is 0; set resources.gpus or "
            "resources.gpu_memory_gib",
        ),
        ({"data": {"image_px": 4}}, "data.image_px: input should be greater than or equal to 8, but got 4"),
        ({"data": {"train": 0}}, "data.train: input should be greater than or equal to 1, but got 0"),
        ({"data": "photos"}, "data: input should be a valid dictionary or instance of Data, but got 'photos'"),
        (
            {"budget": {"trials": "many"}},
            "budget.trials: input should be a valid integer, unable to parse string as an integer, but got 'many'",
        ),
        ({"budget": {"trials": 2.5}}, "budget.trials: input should be a valid integer, got a number with a fractional part, but got 2.5"),
        ({"knobs": [256]}, "knobs: input should be a valid dictionary, but got [256]"),
        ({"seeds": -1}, "seeds: input should be greater than or equal to 0, but got -1"),
        ({"seeds": 2, "retrain": False}, "seeds: must be at most 1 where retrain is false and nothing is trained again, but got 2"),
        ({"model": 3}, "model: must be a model's name or a list of names, but got 3"),
        ({"model": None}, "model: must be given; add it"),
        ({"budget": None}, "budget: must be given; add it"),
    ],
)
def test_a_field_of_the_wrong_size_or_type_is_told(changes: dict[str, Any], expected: str, tiny: Fields, rooms: Rooms) -> None:
    assert problems(tiny(**changes), rooms) == [expected]


def test_a_name_that_is_no_folder_name_is_refused(tiny: Fields, rooms: Rooms) -> None:
    for name in ("", "a b", "../up", "-x", "a" * 65):
        (problem,) = problems(tiny(name), rooms)
        assert problem.startswith("name: string should match pattern")


@pytest.mark.parametrize("hole_px", [32, 40])
@pytest.mark.parametrize("kind", ["centre", "random_square", "random_rectangle"])
def test_a_hole_larger_than_the_image_is_refused(hole_px: int, kind: str, tiny: Fields, rooms: Rooms) -> None:
    assert problems(tiny(mask={"kind": kind, "hole_px": hole_px}), rooms) == [
        f"mask.hole_px: must be smaller than data.image_px = 32, but got {hole_px}"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mask": {"kind": "strokes", "ratio_low": 0.4, "ratio_high": 0.2}}, "mask: ratio_low < ratio_high must hold, but got (0.4, 0.2)"),
        (
            {"scheduler": {"kind": "asha", "grace_steps": 3}},
            "scheduler.grace_steps: must be at most budget.epochs = 2, but got 3",
        ),
        (
            {"budget": {"trials": 2}},
            "knobs: one at least must be searched when budget.trials is above 1, but all are fixed; name a list, a range or 'search'",
        ),
    ],
)
def test_settings_that_are_impossible_together_are_told(changes: dict[str, Any], expected: str, tiny: Fields, rooms: Rooms) -> None:
    assert expected in problems(tiny(**changes), rooms)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"mask": {"hole_px": 7}}, ["hole_px + 2 * overlap_px must be even, but got 7", "use an even hole"]),
        ({"mask": {"kind": "strokes"}}, ["CnnAutoencoder fills holes of kind centre, but got mask.kind='strokes'"]),
        ({"data": {"image_px": 36}}, ["the image size must be a multiple of 8, but got 36"]),
        ({"knobs": {"overlap_px": {"low": 0, "high": 8}}, "mask": {"hole_px": 20}}, ["at most the image's 32, but got 36"]),
        ({"knobs": {"overlap_px": [0, 8]}, "mask": {"hole_px": 20}}, ["at most the image's 32, but got 36"]),
    ],
)
def test_what_the_model_itself_refuses_is_told_before_anything_starts(
    changes: dict[str, Any], parts: list[str], tiny: Fields, rooms: Rooms
) -> None:
    (problem,) = problems(tiny(**changes), rooms)
    assert all(part in problem for part in parts), problem


def test_all_problems_come_in_one_message(tiny: Fields, rooms: Rooms) -> None:
    found = problems(
        tiny(
            "a b",
            model="unet",
            data={"name": "imagenet", "train": 0},
            search={"algorithm": "cma"},
            objective={"metric": "accuracy"},
            budget={"trials": 0},
            colour="red",
        ),
        rooms,
    )
    places = [problem.split(":")[0] for problem in found]
    assert sorted(places) == sorted(
        ["name", "model", "data.name", "data.train", "search.algorithm", "objective.metric", "budget.trials", "colour"]
    )


def test_every_bad_knob_is_named(tiny: Fields, rooms: Rooms) -> None:
    found = problems(tiny(knobs={"bottlneck": 1, "dropout": 2, "neck": "giraffe", "mirror": None}, budget={"trials": 3}), rooms)
    assert sorted(problem.split(":")[0] for problem in found) == ["knobs.bottlneck", "knobs.dropout", "knobs.mirror", "knobs.neck"]


def test_a_knob_can_be_fixed_listed_given_a_range_or_searched_whole(tiny_spec: Callable[..., Spec]) -> None:
    knobs = {
        "bottleneck": [512, 1024],
        "dropout": {"low": 0.1, "high": 0.2},
        "overlap_px": {"low": 1, "high": 4, "points": 4},
        "neck": "search",
        "learning_rate": "search",
        "mirror": True,
        "activation": "elu",
    }
    spec = tiny_spec(knobs=knobs, budget={"trials": 3})
    assert spec.knobs["bottleneck"] == [512, 1024]
    assert spec.knobs["dropout"] == Range(low=0.1, high=0.2)
    assert (spec.knobs["mirror"], spec.knobs["activation"]) == (True, "elu")


def test_a_users_own_model_is_taken_by_its_import_path(tiny_spec: Callable[..., Spec]) -> None:
    spec = tiny_spec(model="user_models:Fateful", knobs={"fate": ["well", "nan"]}, budget={"trials": 2})
    assert spec.model == "user_models:Fateful"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nowhere:Net"}, "model 'nowhere:Net' must be importable, but it is not"),
        ({"model": "user_models:Missing"}, "model 'user_models:Missing' must be importable, but it is not"),
        ({"model": "user_models:NoModel"}, "model 'user_models:NoModel' must be a subclass of trainables.InpaintingModel"),
        ({"model": "user_models:Fateful", "knobs": {"fat": "well"}}, "knobs of Fateful are bottleneck, .*, fate, .*but got fat"),
        (
            {"model": "user_models:Fateful", "knobs": {"fate": "search"}},
            "knobs.fate: user_models:Fateful documents no range to search, but got 'search'; give a list or a range",
        ),
        ({"model": "user_models:Fateful", "knobs": {"fate": []}}, "knobs.fate: a list must name at least one value, but got"),
        (
            {"model": "user_models:Fateful", "knobs": {"dropout": {"low": 0.5, "high": 0.1}}},
            r"knobs.dropout: low < high must hold, but got \(0.5, 0.1\)",
        ),
    ],
)
def test_a_users_own_model_that_does_not_fit_is_told(changes: dict[str, Any], message: str, tiny: Fields, rooms: Rooms) -> None:
    (problem,) = problems(tiny(**changes), rooms)
    assert re.search(message, problem), problem


def test_a_batch_larger_than_the_training_images_is_refused_before_anything_starts(
    tiny: Callable[..., dict[str, Any]], rooms: Rooms
) -> None:
    with pytest.raises(SpecError, match=r"batch_images must be at most data.train = 96, but got 128; use a smaller batch"):
        validate(tiny(knobs={"batch_images": [32, 128]}), rooms)
