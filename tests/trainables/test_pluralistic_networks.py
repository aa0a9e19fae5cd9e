import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.pluralistic_networks import Block, Inference, PluralisticNetwork, ShortLongAttention, drawn


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("scale", "side"), [(1.0, 8), (0.5, 4), (2.0, 16)])
def test_a_block_keeps_halves_or_doubles_the_side(scale: float, side: int) -> None:
    assert Block(3, 5, scale)(noise(2, 3, 8, 8)).shape == (2, 5, side, side)


def test_a_block_whose_convolutions_are_zero_is_its_shortcut() -> None:
    """Halving is the mean of 2x2 places, doubling repeats each place, and equal widths need no weights."""
    features = noise(2, 3, 8, 8)
    expected = {1.0: features, 0.5: functional.avg_pool2d(features, 2), 2.0: features.repeat_interleave(2, 2).repeat_interleave(2, 3)}
    for scale, shortcut in expected.items():
        block = Block(3, 3, scale)
        for weight in block.parameters():
            torch.nn.init.zeros_(weight)
        torch.testing.assert_close(block(features), shortcut)


def attention(attends: bool = True, decoded: int = 8, encoded: int = 6) -> ShortLongAttention:
    torch.manual_seed(0)
    return ShortLongAttention(decoded, encoded, attends)


def merged_input(layer: ShortLongAttention, decoded: Tensor, encoded: Tensor, known: Tensor) -> Tensor:
    """What the last block of the attention is given."""
    seen: list[Tensor] = []
    handle = layer.merge.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    layer(decoded, encoded, known)
    handle.remove()
    return seen[0]


def test_attention_place_by_place() -> None:
    layer = attention()
    with torch.no_grad():
        layer.short_share.fill_(0.7)
        layer.long_share.fill_(0.4)
    decoded, encoded = noise(2, 8, 4, 4), noise(2, 6, 4, 4, seed=1)
    known = torch.ones(2, 1, 8, 8)
    known[:, :, 2:6, 3:8] = 0
    found = merged_input(layer, decoded, encoded, known)
    key = layer.key.weight.detach()[:, :, 0, 0]
    assert layer.key.bias is not None
    for image in range(2):
        places = [(row, column) for row in range(4) for column in range(4)]
        keys = {place: key @ decoded[image, :, place[0], place[1]] + layer.key.bias.detach() for place in places}
        for row, column in places:
            products = torch.stack([keys[row, column] @ keys[other] for other in places])
            looks = products.exp() / products.exp().sum()
            share = known[image, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean()
            short = sum(look * decoded[image, :, r, c] for look, (r, c) in zip(looks, places, strict=True))
            long = sum(look * encoded[image, :, r, c] for look, (r, c) in zip(looks, places, strict=True))
            expected = [decoded[image, :, row, column] + 0.7 * short, share * encoded[image, :, row, column] + 0.4 * (1 - share) * long]
            torch.testing.assert_close(found[image, :, row, column], torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_attention_starts_without_effect_and_is_left_out_by_the_knob() -> None:
    decoded, encoded, known = noise(2, 8, 4, 4), noise(2, 6, 4, 4, seed=1), torch.ones(2, 1, 8, 8)
    known[:, :, :4] = 0
    expected = torch.cat([decoded, functional.avg_pool2d(known, 2) * encoded], 1)
    for attends in (True, False):
        torch.testing.assert_close(merged_input(attention(attends), decoded, encoded, known), expected)
    assert {name.partition(".")[0] for name, _ in attention(False).named_parameters()} == {"merge"}


def test_an_inference_gives_a_bounded_gaussian_at_each_place() -> None:
    torch.manual_seed(0)
    mean, log_variance = Inference(8, 5)(1e4 * noise(2, 8, 4, 4))
    assert mean.shape == log_variance.shape == (2, 5, 4, 4)
    assert float(log_variance.detach().abs().max()) <= 6
    assert float(mean.detach().abs().max()) > 6


def test_draws_by_hand() -> None:
    found = drawn(torch.tensor([1.0, -2.0]), torch.log(torch.tensor([4.0, 0.25])), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([7.0, -1.5]))


def built(halvings: int = 3, attends: bool = True) -> PluralisticNetwork:
    torch.manual_seed(0)
    return PluralisticNetwork(4, 6, halvings, attends)


def partial(image_px: int = 32) -> tuple[Tensor, Tensor]:
    image, known = noise(2, 3, image_px, image_px), torch.ones(2, 1, image_px, image_px)
    known[:, :, 8:24, 8:24] = 0
    return torch.cat([image * known, known], 1), torch.cat([image * (1 - known), 1 - known], 1)


@pytest.mark.parametrize(("image_px", "halvings"), [(16, 2), (32, 3), (48, 3), (64, 4)])
@pytest.mark.parametrize("attends", [True, False])
def test_shapes(image_px: int, halvings: int, attends: bool) -> None:
    visible, hidden = partial(image_px)
    reconstructed, generated, posterior, prior = built(halvings, attends)(visible, hidden)
    assert reconstructed.shape == generated.shape == (2, 3, image_px, image_px)
    coarsest = image_px // 2**halvings
    assert {part.shape for part in (*posterior, *prior)} == {(2, 6, coarsest, coarsest)}
    widths = [maps.shape[1] for maps in built(halvings).features(visible)]
    assert widths == [4, 8, 16, 16, 16][: halvings + 1]


def test_the_posterior_sees_the_hole_alone_and_the_prior_the_rest_alone() -> None:
    network = built()
    visible, hidden = partial()
    with torch.no_grad():
        _, _, posterior, prior = network(visible, hidden)
        _, _, other_posterior, other_prior = network(visible, -hidden)
        _, _, third_posterior, third_prior = network(-visible, hidden)
    assert torch.equal(prior[0], other_prior[0])
    assert torch.equal(posterior[0], third_posterior[0])
    assert not torch.equal(posterior[0], other_posterior[0])
    assert not torch.equal(prior[0], third_prior[0])


def test_the_noise_is_torchs_and_the_two_paths_have_their_own() -> None:
    network = built()
    visible, hidden = partial()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            results.append(network(visible, hidden)[:2])
    for path in range(2):
        assert torch.equal(results[0][path], results[1][path])
        assert not torch.equal(results[0][path], results[2][path])
    with torch.no_grad():
        network.prior.load_state_dict(network.posterior.state_dict())
        reconstructed, generated, _, _ = network(visible, visible)  # equal Gaussians, so that only their noise differs
    assert not torch.equal(reconstructed, generated)
