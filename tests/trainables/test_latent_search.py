import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.latent_search import Descent, contextual_loss, importance_weights, search, starting_points

LATENT, PIXELS = 3, 12
GENTLE = Descent(steps=400, step=0.01, momentum=0.5, bound=1.0)


def linear_generator() -> Tensor:
    """G(z) = A z with orthonormal columns; (PIXELS, LATENT)."""
    values = torch.randn(PIXELS, LATENT, generator=torch.Generator().manual_seed(3))
    return torch.linalg.qr(values)[0]


def starts(images: int, restarts: int = 1, latent: int = LATENT, bound: float = 1.0) -> Tensor:
    return starting_points(restarts, latent, bound)[:, None].expand(-1, images, -1)


# --- the descent


def test_a_linear_generators_optimum_is_found() -> None:
    """Squared distance to A z*, two images with a z* of their own inside the bounds."""
    matrix, truth = linear_generator(), torch.tensor([[0.3, -0.7, 0.1], [-0.2, 0.5, 0.9]])
    images = truth @ matrix.T
    found = search(lambda z: ((z @ matrix.T - images) ** 2).sum(1), starts(2), GENTLE)
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)


def test_the_absolute_error_of_known_pixels_alone_finds_it_too() -> None:
    """The source's contextual loss with a third of the pixels hidden; whatever stands there changes nothing."""
    matrix, truth = linear_generator(), torch.tensor([[0.3, -0.7, 0.1]])
    known = torch.tensor([1.0, 1.0, 0.0] * 4)
    found = []
    for hidden in (0.0, 9.0):
        image = torch.where(known > 0, truth @ matrix.T, hidden)
        found.append(search(lambda z, y=image: (known * (z @ matrix.T - y).abs()).sum(1), starts(1), Descent(2000, 1e-3, 0.5, 1.0)))
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], truth, atol=0.01, rtol=0)


def test_an_optimum_outside_the_bounds_is_met_at_the_bounds() -> None:
    target = torch.tensor([[3.0, -0.25, -3.0]])
    for bound in (0.5, 1.0):
        found = search(lambda z: ((z - target) ** 2).sum(1), starts(1, bound=bound), Descent(400, 0.01, 0.5, bound))
        torch.testing.assert_close(found, torch.tensor([[bound, -0.25, -bound]]), atol=2e-3, rtol=0)


def test_every_visited_point_lies_within_the_bounds() -> None:
    seen: list[Tensor] = []

    def steep(latent: Tensor) -> Tensor:
        seen.append(latent.detach().clone())
        return 100 * (latent.sum(1) - 2) ** 2

    search(steep, starts(4, restarts=2, bound=0.7), Descent(20, 0.1, 0.9, 0.7))
    assert len(seen) == 2 * 21
    assert max(float(latent.abs().max()) for latent in seen) == pytest.approx(0.7)


def test_each_move_is_that_of_the_formula() -> None:
    """v = m v - s g, z = clip(z + v), on g = 2 (z - t), one number at a time."""
    seen: list[float] = []

    def loss(latent: Tensor) -> Tensor:
        seen.append(float(latent.detach()))
        return ((latent - 0.4) ** 2).sum(1)

    search(loss, torch.tensor([[[-0.9]]]), Descent(12, 0.3, 0.8, 1.0))
    latent, velocity, expected = -0.9, 0.0, []
    for _ in range(13):
        expected.append(latent)
        velocity = 0.8 * velocity - 0.3 * 2 * (latent - 0.4)
        latent = min(1.0, max(-1.0, latent + velocity))
    assert seen == pytest.approx(expected, abs=1e-6)


def test_the_best_visited_point_counts_not_the_last() -> None:
    """Momentum 0.95 overshoots: after 5 moves z is far behind the optimum that it passed."""
    visited: list[float] = []

    def loss(latent: Tensor) -> Tensor:
        visited.append(float(latent.detach()))
        return (latent**2).sum(1)

    found = float(search(loss, torch.tensor([[[-0.8]]]), Descent(5, 0.1, 0.95, 1.0)))
    assert found == min(visited, key=abs) != visited[-1]


def test_the_best_start_of_each_image_counts() -> None:
    """Two valleys, at -0.5 and 0.5; which one is deeper differs between the images."""
    deeper = torch.tensor([[-1.0], [1.0]])

    def loss(latent: Tensor) -> Tensor:
        return ((latent**2 - 0.25) ** 2 - 0.05 * deeper * latent).sum(1)

    both = torch.tensor([[[-0.4], [-0.4]], [[0.4], [0.4]]])
    found = search(loss, both, Descent(300, 0.05, 0.5, 1.0))
    assert found.flatten().tolist() == pytest.approx([-0.55, 0.55], abs=0.05)
    for start, expected in ((both[:1], [-0.55, -0.45]), (both[1:], [0.45, 0.55])):
        assert search(loss, start, Descent(300, 0.05, 0.5, 1.0)).flatten().tolist() == pytest.approx(expected, abs=0.05)


def test_a_loss_that_is_never_finite_gives_the_first_start() -> None:
    found = search(lambda z: z.sum(1) * torch.nan, starts(2), Descent(3, 0.1, 0.5, 1.0))
    assert torch.equal(found, starts(2)[0])


# --- batches and gradients


class Layers(nn.Module):
    """A small generator with batch norm and dropout, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(
            nn.Linear(LATENT, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(16, PIXELS), nn.Tanh()
        )
        self.layers(torch.rand(8, LATENT))  # running statistics other than the initial ones
        self.eval()

    def forward(self, latent: Tensor) -> Tensor:
        output: Tensor = self.layers(latent)
        return output


def test_images_are_searched_together_as_one_by_one() -> None:
    generator, images = Layers(), torch.rand(5, PIXELS, generator=torch.Generator().manual_seed(1)) * 2 - 1
    descent = Descent(60, 0.02, 0.9, 1.0)

    def searched(part: Tensor) -> Tensor:
        return search(lambda z: (generator(z) - part).abs().sum(1), starts(len(part), restarts=2), descent)

    together = searched(images)
    torch.testing.assert_close(together, torch.cat([searched(image[None]) for image in images]), atol=1e-4, rtol=0)
    torch.testing.assert_close(together[[3, 1]], searched(images[[3, 1]]), atol=1e-4, rtol=0)
    assert len({tuple(row.tolist()) for row in together.round(decimals=3)}) == 5


def test_it_searches_where_gradients_are_off_and_leaves_none_in_weights() -> None:
    generator, image = Layers(), torch.zeros(1, PIXELS)
    with torch.no_grad():
        found = search(lambda z: ((generator(z) - image) ** 2).sum(1), starts(1), Descent(50, 0.05, 0.5, 1.0))
        first, last = (float(((generator(z) - image) ** 2).sum()) for z in (starts(1)[0], found))
        assert not torch.is_grad_enabled()
    assert last < 0.7 * first
    assert not found.requires_grad
    assert all(weight.grad is None for weight in generator.parameters())


def test_starting_points_are_fixed_and_disturb_nothing() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    points = starting_points(6, 100, 0.5)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(points, starting_points(6, 100, 0.5))
    assert torch.equal(points[:2], starting_points(2, 100, 0.5))
    assert float(points.abs().max()) <= 0.5
    assert 0.2 < float(points.abs().mean()) < 0.3


# --- the losses over pixels


def test_the_contextual_loss_sums_over_known_pixels_and_channels() -> None:
    generated, image = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4)
    known = torch.ones(2, 1, 4, 4)
    known[1, :, :2] = 0
    image[1, :, :2] = 7  # in the hole
    assert contextual_loss(generated, image, known).tolist() == [0.5 * 48, 0.5 * 24]


def test_importance_by_hand() -> None:
    """5x5 pixels, a hole at (1, 1) and (1, 2), windows of 3x3 that are cut at the image's border."""
    known = torch.ones(1, 1, 5, 5)
    known[..., 1, 1:3] = 0
    expected = np.array(
        [
            [1 / 4, 2 / 6, 2 / 6, 1 / 6, 0],
            [1 / 6, 0, 0, 1 / 9, 0],
            [1 / 6, 2 / 9, 2 / 9, 1 / 9, 0],
            [0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
        ]
    )
    np.testing.assert_allclose(importance_weights(known, 3)[0, 0].numpy(), expected, atol=1e-6)


def test_importance_of_window_0_is_the_mask() -> None:
    known = (torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    assert torch.equal(importance_weights(known, 0), known)


@pytest.mark.parametrize("window_px", [3, 7, 15])
def test_importance_is_a_share_of_hole_pixels_near_by(window_px: int) -> None:
    known = (torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(2)) > 0.3).float()
    weights, reach = importance_weights(known, window_px), window_px // 2
    for image, row, column in ((0, 0, 0), (1, 4, 4), (2, 8, 3)):
        near = known[image, 0, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        assert float(weights[image, 0, row, column]) == pytest.approx(float(known[image, 0, row, column] * (1 - near).mean()), abs=1e-6)
