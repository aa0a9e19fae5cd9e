import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from trainables.data import Mask
from trainables.pconv_losses import composite, gram, hole_loss, perceptual_loss, style_loss, total_variation_loss, valid_loss

SHAPES = ((4, 6, 5), (8, 3, 3))  # of two layers' features


def images(seed: int, px: int = 12, count: int = 3) -> Tensor:
    return torch.rand(count, 3, px, px, generator=torch.Generator().manual_seed(seed))


def strokes(px: int = 12, count: int = 3) -> Tensor:
    return Mask("strokes").sample(count, px, np.random.default_rng(0))


def features(seed: int, count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=generator).clamp(min=0) for shape in SHAPES]


def test_composite_is_the_truth_where_it_is_known_and_passes_the_gradient_of_the_hole() -> None:
    output, image, known = (3 * images(0) - 1).requires_grad_(), images(1), strokes()
    composited = composite(output, image, known)
    hole = known.expand_as(image) == 0
    assert torch.equal(composited[~hole], image[~hole])
    assert torch.equal(composited[hole], output[hole])  # outside [0, 1] too
    composited.sum().backward()
    assert output.grad is not None
    assert torch.equal(output.grad, hole.float())


def test_valid_and_hole_loss_divide_by_the_whole_image() -> None:
    output, image, known = images(0), images(1), strokes()
    error = np.abs(output.numpy() - image.numpy())
    mask = known.numpy()
    np.testing.assert_allclose(valid_loss(output, image, known), (mask * error).sum((1, 2, 3)) / (3 * 12 * 12), rtol=1e-5)
    np.testing.assert_allclose(hole_loss(output, image, known), ((1 - mask) * error).sum((1, 2, 3)) / (3 * 12 * 12), rtol=1e-5)
    whole = valid_loss(output, image, known) + hole_loss(output, image, known)
    torch.testing.assert_close(whole, (output - image).abs().mean((1, 2, 3)))


def test_perceptual_loss_adds_output_and_composite_over_the_layers() -> None:
    output, composited, truth = features(0), features(1), features(2)
    expected = np.zeros(3)
    for mine in (output, composited):
        for level, true in zip(mine, truth, strict=True):
            expected += np.abs(level.numpy() - true.numpy()).reshape(3, -1).mean(1)
    np.testing.assert_allclose(perceptual_loss(output, composited, truth), expected, rtol=1e-5)


def test_a_gram_matrix_by_hand() -> None:
    """Channels (1, 2) and (3, 0) over two pixels: products 5, 3 and 9, divided by C H W = 4."""
    value = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(gram(value), torch.tensor([[[5.0, 3.0], [3.0, 9.0]]]) / 4)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_style_loss_compares_gram_matrices(memory_format: torch.memory_format) -> None:
    output, composited, truth = features(0), features(1), features(2)
    expected = np.zeros(3)
    for mine in (output, composited):
        for level, true in zip(mine, truth, strict=True):
            channels, high, wide = level.shape[1:]
            for index in range(3):
                first, second = (each[index].double().numpy().reshape(channels, -1) for each in (level, true))
                difference = first @ first.T - second @ second.T
                expected[index] += np.abs(difference / (channels * high * wide)).sum() / channels**2
    arranged = [[level.contiguous(memory_format=memory_format) for level in each] for each in (output, composited, truth)]
    np.testing.assert_allclose(style_loss(*arranged), expected, rtol=1e-4)


def test_style_does_not_depend_on_where_things_are() -> None:
    truth = features(0)
    moved = [level.flip(-1).roll(1, -2) for level in truth]
    assert float(style_loss(moved, moved, truth).max()) < 1e-6
    assert float(perceptual_loss(moved, moved, truth).min()) > 0.1


def test_total_variation_counts_steps_in_the_hole_and_one_pixel_around_it() -> None:
    image, known = images(0), strokes()
    values = image.double().numpy()
    expected = np.zeros(3)
    for index in range(3):
        region = binary_dilation(known[index, 0].numpy() == 0, np.ones((3, 3)))
        for row in range(12):
            for column in range(12):
                for other in ((row + 1, column), (row, column + 1)):
                    if max(other) < 12 and region[row, column] and region[other]:
                        expected[index] += np.abs(values[index, :, row, column] - values[index, :, other[0], other[1]]).sum()
    np.testing.assert_allclose(total_variation_loss(image, known), expected / (3 * 12 * 12), rtol=1e-5)


def test_total_variation_has_the_gradient_of_equation_11_as_it_is_printed() -> None:
    """Printed: what lies outside the region is 0 before the steps are taken. Only constants differ."""
    output, image, known = images(0).double().requires_grad_(), images(1).double(), strokes().double()
    (mine,) = torch.autograd.grad(total_variation_loss(composite(output, image, known), known).sum(), output)
    region = torch.stack([torch.from_numpy(binary_dilation(each[0].numpy() == 0, np.ones((3, 3)))) for each in known])[:, None]
    shown = region * composite(output, image, known)
    printed = (shown.diff(dim=2).abs().sum() + shown.diff(dim=3).abs().sum()) / image[0].numel()
    (expected,) = torch.autograd.grad(printed, output)
    torch.testing.assert_close(mine, expected)


def test_a_perfect_output_costs_nothing_but_its_own_variation() -> None:
    image, known, truth = images(0), strokes(), features(0)
    for loss in (valid_loss, hole_loss):
        assert torch.equal(loss(image, image, known), torch.zeros(3))
    for compare in (perceptual_loss, style_loss):
        assert torch.equal(compare(truth, truth, truth), torch.zeros(3))
    assert float(total_variation_loss(torch.full_like(image, 0.5), known).max()) == 0
