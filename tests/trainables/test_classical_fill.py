import pytest
import torch

from tests.trainables.reconstruction_reference import HOLE, noise_with_holes
from trainables.classical import METHODS, classical_fill
from trainables.classical_fill import ClassicalFill, ClassicalFillConfig
from trainables.data import Batch, Mask
from trainables.errors import ConfigError


def built(method: str = "telea") -> ClassicalFill:
    return ClassicalFill(ClassicalFillConfig(method=method), 32, HOLE)  # type: ignore[arg-type]


def test_it_has_no_weights() -> None:
    model = built()
    assert model.parameters == 0
    assert model.state_dict() == {"networks": {}, "optimizers": {}}
    assert model.training_mask == HOLE


@pytest.mark.parametrize("method", METHODS)
def test_it_fills_as_the_method_does(method: str) -> None:
    image, known = noise_with_holes(3)
    expected = classical_fill(method, image * known, known)
    torch.testing.assert_close(built(method).fill(image, known), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_its_loss_is_the_mean_squared_error_of_the_holes(method: str) -> None:
    model = built(method)
    parts = [Batch(*noise_with_holes(3, seed=seed), 0.0) for seed in (1, 2)]
    expected = []
    for part in parts:
        hole = part.known.expand_as(part.image) == 0
        expected.append(float(((classical_fill(method, part.image, part.known) - part.image)[hole] ** 2).mean()))
    assert model.train_unit(parts) == {"loss": pytest.approx(sum(expected) / 2, rel=1e-5)}


def test_training_hides_the_hole() -> None:
    image, known = noise_with_holes(2)
    constant = torch.where(known > 0, 0.25, 0.75).expand_as(image)
    assert built("ring_mean").train_unit([Batch(constant, known, 0.0)])["loss"] == pytest.approx(0.25)


def test_without_a_hole_the_loss_is_zero() -> None:
    image, _ = noise_with_holes(2)
    assert built().train_unit([Batch(image, torch.ones(2, 1, 32, 32), 0.0)]) == {"loss": 0.0}


def test_every_kind_of_hole_is_filled() -> None:
    for kind in ClassicalFill.masks:
        mask = Mask(kind, 12)  # type: ignore[arg-type]
        image, known = noise_with_holes(2, mask=mask)
        assert bool(torch.isfinite(ClassicalFill(ClassicalFillConfig(), 32, mask).fill(image, known)).all())


def test_knobs_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="method must be one of ring_mean, telea, navier_stokes, biharmonic, but got 'none'"):
        ClassicalFillConfig(method="none")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batch_images must be at least 1, but got 0; use 1 or more"):
        ClassicalFillConfig(batch_images=0)
