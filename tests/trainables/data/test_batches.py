from itertools import pairwise

import numpy as np
import pytest
import torch

from trainables.data import Batch, Mask, batches, to_tensor

CPU = torch.device("cpu")


def numbered(count: int, px: int = 8) -> np.ndarray:
    """(count, px, px, 3) uint8; image i holds the value i everywhere."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, px, px, 3)).copy()


def stream(count: int, *, start: int = 0, images: int = 20, batch: int = 5, seed: int = 0, mask: Mask | None = None) -> list[Batch]:
    mask = mask or Mask("random_square", 3)
    return list(batches(numbered(images), mask, batch_images=batch, start_image=start, count=count, seed=seed, device=CPU))


def numbers(batch: Batch) -> list[int]:
    return (batch.image[:, 0, 0, 0] * 255).round().int().tolist()


def test_to_tensor_gives_each_channel_and_pixel_its_value() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    tensor = to_tensor(images, CPU)
    assert tensor.shape == (4, 3, 6, 5)
    assert tensor.dtype == torch.float32
    for channel in range(3):
        np.testing.assert_allclose(tensor[:, channel].numpy(), images[..., channel] / 255, rtol=1e-6)
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_to_tensor_leaves_a_read_only_array_alone() -> None:
    images = numbered(3)
    images.setflags(write=False)
    to_tensor(images, CPU).zero_()
    np.testing.assert_array_equal(images, numbered(3))


def test_every_image_once_an_epoch() -> None:
    epochs = stream(60)
    assert len(epochs) == 12
    for epoch in range(3):
        seen = [number for batch in epochs[4 * epoch : 4 * epoch + 4] for number in numbers(batch)]
        assert sorted(seen) == list(range(20))


def test_the_order_differs_between_epochs_and_seeds() -> None:
    by_epoch = [[frozenset(numbers(batch)) for batch in stream(20, start=20 * epoch)] for epoch in range(4)]
    assert all(first != second for first, second in pairwise(by_epoch))
    assert by_epoch[0] != [frozenset(numbers(batch)) for batch in stream(20, seed=1)]


def test_a_remainder_that_fills_no_batch_is_left_out_of_its_epoch_only() -> None:
    left_out = set()
    for epoch in range(30):
        seen = [number for batch in stream(20, images=23, start=20 * epoch) for number in numbers(batch)]
        assert len(seen) == len(set(seen)) == 20
        left_out |= set(range(23)) - set(seen)
    assert left_out == set(range(23))


@pytest.mark.parametrize("start", [5, 15, 20, 35])
def test_the_stream_from_the_middle_equals_the_straight_one(start: int) -> None:
    straight = stream(60)[start // 5 :]
    resumed = stream(60 - start, start=start)
    assert len(straight) == len(resumed)
    for first, second in zip(straight, resumed, strict=True):
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.known, second.known)
        assert first.epoch == second.epoch


def test_counts_are_rounded_up_to_whole_batches() -> None:
    assert [len(stream(count)) for count in (1, 5, 6, 20, 21)] == [1, 1, 2, 4, 5]


def test_the_position_is_told_in_epochs() -> None:
    assert [batch.epoch for batch in stream(30, start=10)] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


def test_holes_differ_between_batches_and_within_them() -> None:
    known = torch.cat([batch.known for batch in stream(60)])
    assert known.shape == (60, 1, 8, 8)
    assert bool(((1 - known).sum((1, 2, 3)) == 9).all())
    assert len({tuple(hole.flatten().tolist()) for hole in known}) > 20  # of 36 places


def test_holes_depend_on_the_seed() -> None:
    assert not torch.equal(stream(5)[0].known, stream(5, seed=1)[0].known)
