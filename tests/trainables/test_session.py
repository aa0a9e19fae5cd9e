import dataclasses
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.data import Augmentation, Batch, ImageSource, Mask, open_images
from trainables.errors import CheckpointError, ConfigError
from trainables.metrics import METRICS, measure
from trainables.session import CHECKPOINT_FILE, Session, evaluate

TINY = {"base_filters": 16, "bottleneck": 256, "batch_images": 32}
EVERY_DRAW = TINY | {"dropout": 0.3, "hue": 0.1, "saturation": 0.2, "contrast": 0.2, "blur_px": 1.0, "mirror": True, "decay_epochs": 1.5}


@pytest.fixture(scope="session")
def source(data_dir: str) -> ImageSource:
    return ImageSource("photos", 32, 128, 32, 32, data_dir=data_dir)


def opened(source: ImageSource, knobs: dict[str, Any] = TINY, **options: Any) -> Session:
    return Session.open("cnn_autoencoder", knobs, source, Mask("centre", 8), **options)


def weights(session: Session) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in session.model.networks["network"].state_dict().items()}


def assert_same_weights(first: Session, second: Session) -> None:
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name


def test_a_step_reports_every_metric(source: ImageSource) -> None:
    session = opened(source)
    result = session.step()
    assert set(result) == set(METRICS) | {"loss", "train_l2_hole", "epoch", "images_seen"}
    assert all(isinstance(value, float) for value in result.values())
    assert (result["epoch"], result["images_seen"]) == (1.0, 128.0)
    assert (session.steps, session.images_seen, session.epoch) == (1, 128, 1.0)


@pytest.mark.parametrize("step_images", [None, 64, 96])
def test_a_restored_run_continues_exactly(step_images: int | None, source: ImageSource, tmp_path: Path) -> None:
    straight = opened(source, EVERY_DRAW, seed=4, step_images=step_images)
    expected = [straight.step() for _ in range(4)]

    stopped = opened(source, EVERY_DRAW, seed=4, step_images=step_images)
    assert [stopped.step() for _ in range(2)] == expected[:2]
    stopped.save(tmp_path)
    torch.rand(7)  # whatever else the process draws
    resumed = opened(source, EVERY_DRAW, seed=4, step_images=step_images)
    resumed.load(tmp_path)
    assert [resumed.step() for _ in range(2)] == expected[2:]
    assert_same_weights(straight, resumed)
    assert (resumed.steps, resumed.images_seen) == (straight.steps, straight.images_seen)
    assert resumed.best is not None
    assert straight.best is not None
    assert (resumed.best["step"], resumed.best["value"]) == (straight.best["step"], straight.best["value"])


def test_same_seed_same_run_other_seed_other_run(source: ImageSource) -> None:
    first, same, other = (opened(source, EVERY_DRAW, seed=seed) for seed in (1, 1, 2))
    assert_same_weights(first, same)
    name = next(iter(weights(first)))
    assert not torch.equal(weights(first)[name], weights(other)[name])
    result = first.step()
    assert result == same.step()
    assert_same_weights(first, same)
    assert result["l2_hole"] != other.step()["l2_hole"]


def test_the_callers_randomness_is_untouched_and_of_no_influence(source: ImageSource) -> None:
    torch.manual_seed(11)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    session = opened(source, EVERY_DRAW)
    first = session.step()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]
    assert random.getstate() == states[2]
    torch.manual_seed(12)
    assert opened(source, EVERY_DRAW).step() == first


def test_the_callers_randomness_comes_back_after_an_error(source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(source, EVERY_DRAW)

    def broken(*arguments: object) -> None:
        torch.rand(1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Augmentation, "apply", broken)
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of memory"):
        session.step()
    assert torch.equal(torch.get_rng_state(), state)


def test_augmentation_differs_from_step_to_step(source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of the whole split holds the same images in the same order at each step, so nothing but augmentation can differ."""

    def seen(knobs: dict[str, Any]) -> list[torch.Tensor]:
        session = opened(source, TINY | {"batch_images": 128} | knobs)
        images: list[torch.Tensor] = []
        train_unit = session.model.train_unit

        def recording(batches: Iterable[Batch]) -> dict[str, float]:
            kept = list(batches)
            images.extend(batch.image for batch in kept)
            return train_unit(kept)

        monkeypatch.setattr(session.model, "train_unit", recording)
        session.step()
        session.step()
        return images

    first, second = seen({})
    assert torch.equal(first, second)
    varied, varied_again = seen({"contrast": 0.5})
    assert not torch.equal(varied, first)
    assert not torch.equal(varied, varied_again)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_reported_alone(value: float, source: ImageSource) -> None:
    session = opened(source)
    session.step()
    best = session.best
    with torch.no_grad():
        for weight in session.model.networks["network"].parameters():
            weight.fill_(value)
    result = session.step()
    assert set(result) == {"loss", "epoch", "images_seen"}
    assert not np.isfinite(result["loss"])
    assert result["images_seen"] == 256
    assert session.best is best


@pytest.mark.parametrize(("step_images", "given"), [(32, 32), (64, 64), (40, 64), (1, 32), (200, 224)])
def test_a_step_is_a_number_of_images_rounded_up_to_batches(step_images: int, given: int, source: ImageSource) -> None:
    session = opened(source, step_images=step_images)
    result = session.step()
    assert result["images_seen"] == given
    assert result["epoch"] == given / 128


def test_steps_of_half_an_epoch_see_what_one_epoch_sees(source: ImageSource) -> None:
    """Without dropout and augmentation nothing else is drawn in training, so two halves make the same weights as the whole."""
    plain = TINY | {"dropout": 0.0}
    whole, halves = opened(source, plain), opened(source, plain, step_images=64)
    whole.step()
    halves.step()
    halves.step()
    assert_same_weights(whole, halves)


@pytest.mark.parametrize("step_images", [0, -5])
def test_a_step_of_no_images_is_refused(step_images: int, source: ImageSource) -> None:
    with pytest.raises(ConfigError, match=f"step_images must be at least 1, but got {step_images}"):
        opened(source, step_images=step_images)


def test_a_batch_larger_than_the_training_split_is_refused(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match="batch_images must be at most the 128 training images, but got 129; use a smaller batch"):
        opened(source, TINY | {"batch_images": 129})
    opened(source, TINY | {"batch_images": 128}).step()


def test_an_unknown_objective_is_answered_with_every_metric(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match=r"objective must be one of l2_hole, .* but got 'l2'"):
        opened(source, objective="l2")


def test_an_unknown_knob_is_refused(source: ImageSource) -> None:
    with pytest.raises(ConfigError, match=r"knobs of CnnAutoencoder are bottleneck, .* but got bottle"):
        opened(source, {"bottle": 3})


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_and_nothing_changes(keep: float, source: ImageSource, tmp_path: Path) -> None:
    session = opened(source)
    session.step()
    session.save(tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    fresh = opened(source)
    before = weights(fresh)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt must be a whole checkpoint, but reading it failed"):
        fresh.load(tmp_path)
    assert (fresh.steps, fresh.images_seen, fresh.best) == (0, 0, None)
    assert all(torch.equal(value, before[name]) for name, value in weights(fresh).items())


@pytest.mark.parametrize("content", [{"steps": 1}, [1, 2], {"steps": 1, "images_seen": 32, "best": None}])
def test_another_file_of_torch_is_no_checkpoint(content: object, source: ImageSource, tmp_path: Path) -> None:
    torch.save(content, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(CheckpointError, match="must be a whole checkpoint"):
        opened(source).load(tmp_path)


def test_a_missing_checkpoint_is_refused(source: ImageSource, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        opened(source).load(tmp_path / "nowhere")


@pytest.mark.parametrize("knobs", [{"bottleneck": 512}, {"base_filters": 32}, {"batch_norm": False}, {"neck": "conv"}])
def test_a_checkpoint_of_another_configuration_is_refused(knobs: dict[str, Any], source: ImageSource, tmp_path: Path) -> None:
    opened(source).save(tmp_path)
    other = opened(source, TINY | knobs)
    with pytest.raises(CheckpointError, match="must belong to this model and configuration"):
        other.load(tmp_path)
    assert other.steps == 0


@pytest.mark.parametrize(("objective", "choose"), [("l2_hole", min), ("psnr_image", max)])
def test_the_best_step_is_kept_and_put_back(objective: str, choose: Any, source: ImageSource, tmp_path: Path) -> None:
    session = opened(source, TINY | {"learning_rate": 1e-2}, objective=objective)
    values = [session.step()[objective] for _ in range(4)]
    with torch.no_grad():
        for weight in session.model.networks["network"].parameters():
            weight.mul_(3)
    values.append(session.step()[objective])
    assert session.best is not None
    assert session.best["value"] == choose(values)
    assert session.best["step"] == values.index(choose(values)) + 1
    assert session.evaluate("validation")[objective] != choose(values)
    session.save(tmp_path)
    resumed = opened(source, TINY | {"learning_rate": 1e-2}, objective=objective)
    resumed.load(tmp_path)
    for each in (session, resumed):
        each.restore_best()
        assert each.evaluate("validation")[objective] == choose(values)


def test_the_best_weights_are_a_copy(source: ImageSource) -> None:
    session = opened(source)
    session.step()
    assert session.best is not None
    before = {name: value.clone() for name, value in session.best["state"]["networks"]["network"].items()}
    with torch.no_grad():
        for weight in session.model.networks["network"].parameters():
            weight.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in session.best["state"]["networks"]["network"].items())


def test_restore_best_before_the_first_step_changes_nothing(source: ImageSource) -> None:
    session = opened(source)
    before = weights(session)
    session.restore_best()
    assert all(torch.equal(value, before[name]) for name, value in weights(session).items())


def test_evaluation_is_the_mean_over_images_whatever_the_batches(source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill with grey, measured at once and in batches of 5 with a last one of 2."""
    images = open_images(source).validation
    mask, cpu = Mask("centre", 8), torch.device("cpu")
    monkeypatch.setattr("trainables.session.EVALUATION_BATCH", 5)
    result = evaluate(lambda image, known: torch.where(known > 0, image, 0.5), images, mask, cpu)
    truth = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    known = torch.ones(32, 1, 32, 32)
    known[:, :, 12:20, 12:20] = 0
    expected = measure(torch.where(known > 0, truth, 0.5), truth, known)
    for name, value in expected.items():
        assert result[name] == pytest.approx(float(value.double().mean()), rel=1e-5), name
    assert result["l2_hole"] == pytest.approx(float(((truth[:, :, 12:20, 12:20] - 0.5) ** 2).sum((1, 2, 3)).mean()), rel=1e-5)


def test_evaluation_uses_the_same_random_holes_each_time(source: ImageSource) -> None:
    images = open_images(source).validation
    seen = []

    def fill(image: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        seen.append(known)
        return image

    for _ in range(2):
        evaluate(fill, images, Mask("random_square", 8), torch.device("cpu"))
    assert torch.equal(seen[0], seen[1])
    assert len({tuple(known.flatten().tolist()) for known in seen[0]}) > 20


def test_what_a_model_measures_itself_is_averaged_too(source: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image's place in the split, asked for in batches of 5 with a last one of 2; the mean of 0 .. 31 is 15.5."""
    monkeypatch.setattr("trainables.session.EVALUATION_BATCH", 5)
    images, mask, cpu = open_images(source).validation, Mask("centre", 8), torch.device("cpu")

    def places(image: torch.Tensor, known: torch.Tensor, start: int) -> dict[str, torch.Tensor]:
        assert known.shape == (len(image), 1, 32, 32)
        return {"place": start + torch.arange(len(image))}

    assert evaluate(lambda image, known: image, images, mask, cpu, measure_more=places)["place"] == 15.5
    assert set(evaluate(lambda image, known: image, images, mask, cpu, only="l2_hole", measure_more=places)) == {"l2_hole"}


def test_splits_are_measured_on_their_own_images(source: ImageSource) -> None:
    session = opened(source)
    results = {split: session.evaluate(split)["l2_hole"] for split in ("train", "validation", "test")}
    assert len(set(results.values())) == 3


def test_a_step_never_reads_the_test_split(source: ImageSource) -> None:
    session, blind = opened(source), opened(source)
    blind.images = dataclasses.replace(blind.images, test=None)  # type: ignore[arg-type]  # any look at it fails
    assert blind.step() == session.step()
