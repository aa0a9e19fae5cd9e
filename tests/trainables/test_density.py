import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import Mask
from trainables.density import COLOURS, Decoding, DensityModel, fill_in_raster_order, to_image, to_levels
from trainables.errors import ConfigError
from trainables.pixel_cnn import PixelCnn, PixelCnnConfig

ZEROS = torch.zeros(2, dtype=torch.float64)


def test_levels_are_kept_through_an_image() -> None:
    values = torch.arange(256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_levels(to_image(values)), values)
    assert torch.equal(to_levels(torch.tensor([0.0, 0.4, 0.6, 1.0]), levels=2), torch.tensor([0, 0, 1, 1]))


def test_argmax_and_mean_worked_out_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.1, 0.1, 0.3], [0.1, 0.1, 0.1, 0.7]])  # means 1.2 and 2.4
    assert Decoding("argmax").choose(probabilities.log(), ZEROS).tolist() == [0, 3]
    assert Decoding("mean").choose(probabilities.log(), ZEROS).tolist() == [1, 2]


def test_sampling_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.5, 0.25, 0.25]).log().expand(5, 3)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.76, 0.999], dtype=torch.float64)
    assert Decoding("sample").choose(logits, uniform).tolist() == [0, 0, 1, 2, 2]


def test_temperature_squares_the_odds_at_one_half() -> None:
    logits = torch.tensor([0.8, 0.2]).log().expand(2, 2)  # 0.64 : 0.04, so 16 / 17 at temperature 1/2
    uniform = torch.tensor([15.9 / 17, 16.1 / 17], dtype=torch.float64)
    assert Decoding("sample", 0.5).choose(logits, uniform).tolist() == [0, 1]


def test_a_level_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf], [-math.inf, 0.0, -math.inf]])
    assert Decoding("sample").choose(logits, torch.tensor([0.0, 1 - 1e-12], dtype=torch.float64)).tolist() == [1, 1]


def test_random_numbers_belong_to_the_image_not_to_its_batch() -> None:
    values = torch.randint(256, (3, COLOURS, 6, 6), generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(3, 6, 6, dtype=torch.bool)
    hole[:, 2:4, 2:4] = True
    rule = Decoding("sample", seed=5)
    together = rule.uniforms(values, hole)
    assert torch.equal(rule.uniforms(values[2:], hole[2:]), together[2:])
    other = values.masked_fill(hole[:, None], 9)  # the hole's content is not read
    assert torch.equal(rule.uniforms(other, hole), together)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(Decoding("sample", seed=6).uniforms(values, hole), together)


@pytest.mark.parametrize(("rule", "temperature", "word"), [("median", 1.0, "argmax, mean, sample"), ("sample", 0.0, "above 0")])
def test_settings_that_cannot_be(rule: str, temperature: float, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Decoding(rule, temperature)  # type: ignore[arg-type]


class Recorder:
    """Predicts the number of the call, and notes what it was asked for."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.asked: list[tuple[int, int, int, list[int]]] = []

    def __call__(self, row: int, column: int, colour: int, images: Tensor) -> Tensor:
        self.asked.append((row, column, colour, images.tolist()))
        logits = torch.zeros(len(images), 256)
        logits[:, len(self.asked)] = 1
        return logits


def test_holes_are_filled_in_raster_order_each_image_its_own() -> None:
    values = torch.full((2, COLOURS, 3, 3), 200)
    hole = torch.zeros(2, 3, 3, dtype=torch.bool)
    hole[0, 0, 2] = hole[0, 1, 0] = hole[1, 1, 0] = True
    reader = Recorder(values)
    fill_in_raster_order(reader, values, hole, Decoding())
    assert reader.asked == [
        *[(0, 2, colour, [0]) for colour in range(COLOURS)],
        *[(1, 0, colour, [0, 1]) for colour in range(COLOURS)],
    ]
    assert values[0, :, 0, 2].tolist() == [1, 2, 3]
    assert values[:, :, 1, 0].tolist() == [[4, 5, 6], [4, 5, 6]]
    assert int((values == 200).sum()) == 2 * 27 - 9


def model(decoding: str = "argmax") -> DensityModel:
    torch.manual_seed(0)
    return PixelCnn(PixelCnnConfig(filters=8, hidden=8, depth=1, decoding=decoding), 16, Mask("centre", 4))  # type: ignore[arg-type]


def test_bits_a_dimension_of_a_uniform_model_are_eight() -> None:
    built = model()
    for weight in built.network.parameters():
        torch.nn.init.zeros_(weight)
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    assert built.measure_split(images, torch.device("cpu")) == {"bits_per_dim": pytest.approx(8.0, abs=1e-5)}


def test_sampling_leaves_the_global_generator_alone_and_repeats_itself() -> None:
    built = model("sample")
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    known = built.mask.sample(3, 16, np.random.default_rng(0))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = built.fill(image, known)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(built.fill(image, known), first)
    assert torch.equal(built.fill(image[1:2], known[1:2]), first[1:2])
