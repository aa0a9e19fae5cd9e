"""What a fill record keeps: the holes' pixels of the first images, readable without torch, and the same bytes each time."""

import io

import numpy as np
import pytest
import torch

from trainables import Mask
from trainables.fill_record import FillRecord, images_kept
from trainables.session import evaluate

CPU = torch.device("cpu")
PX = 16


def halved(image: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fills with half of the truth."""
    return torch.where(known > 0.5, image, image / 2)


def recorded(images: np.ndarray, mask: Mask, **options: bool) -> dict[str, np.ndarray]:
    record = FillRecord(PX)
    evaluate(halved, images, mask, CPU, record=record)
    with np.load(io.BytesIO(record.to_npz("some", **options))) as arrays:
        return dict(arrays)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (130, PX, PX, 3), np.uint8)


@pytest.mark.parametrize("mask", [Mask("centre", 4), Mask("random_square", 5), Mask("irregular", ratio_low=0.05, ratio_high=0.5)])
def test_the_fills_go_back_into_their_holes(images: np.ndarray, mask: Mask) -> None:
    arrays = recorded(images, mask, with_truth=True)
    assert np.array_equal(arrays["truth"], images[:100])
    hole = np.unpackbits(arrays["known"], axis=1, count=PX * PX).reshape(-1, PX, PX) == 0
    assert np.abs(images[:100][hole] / 2 - arrays["fills"]).max() <= 0.51
    wrong = [((image[where] / 255 / 2) ** 2).sum() for image, where in zip(images[:100], hole, strict=True)]
    assert arrays["l2"] == pytest.approx(np.array(wrong), rel=1e-4)
    mean = arrays["l2"] / (3 * hole.sum(axis=(1, 2)))
    assert arrays["psnr"] == pytest.approx(-10 * np.log10(mean), rel=1e-4)
    assert np.array_equal(arrays["index"], np.arange(100))


def test_no_pixel_of_a_photograph_is_kept_unless_asked_for(images: np.ndarray) -> None:
    arrays = recorded(images, Mask("centre", 4))
    assert set(arrays) == {"fills", "known", "l2", "psnr", "index", "digest", "image_px", "fingerprint"}
    assert len(arrays["fills"]) == 100 * 16
    assert not recorded(images, Mask("centre", 4), with_truth=True)["publishable"]


def test_a_digest_names_an_image_and_its_hole(images: np.ndarray) -> None:
    first = recorded(images, Mask("centre", 4))["digest"]
    assert len(set(first)) == 100
    assert np.array_equal(recorded(images[:50], Mask("centre", 4))["digest"], first[:50])
    assert not set(recorded(images, Mask("centre", 6))["digest"]) & set(first)
    images[3, 0, 0, 0] ^= 1
    assert list(np.flatnonzero(recorded(images, Mask("centre", 4))["digest"] != first)) == [3]


def test_a_record_that_spans_batches_and_small_splits(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recorded(images, Mask("centre", 4))
    monkeypatch.setattr("trainables.session.EVALUATION_BATCH", 30)
    parts = recorded(images, Mask("centre", 4))
    assert all(np.array_equal(whole[name], parts[name]) for name in ("fills", "known", "digest", "index"))
    assert len(recorded(images[:7], Mask("centre", 4))["index"]) == 7


def test_large_images_are_fewer() -> None:
    assert [images_kept(px) for px in (32, 64, 128, 256, 512)] == [100, 100, 61, 15, 9]
