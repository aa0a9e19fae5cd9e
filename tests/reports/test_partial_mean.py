"""Figure 3 of maggiordomo: the filter against the convolutions of the models, and what the figure is to show."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from reports.partial_mean import FILE, FILTER_PX, SHOWN, draw_partial_mean, example, mean_filtered
from trainables.partial_conv import PartialConv2d


def test_it_is_the_convolution_that_the_unet_is_made_of() -> None:
    image, known = example()
    layer = PartialConv2d(1, 1, FILTER_PX, padding=FILTER_PX // 2, bias=False)
    torch.nn.init.constant_(layer.weight, 1 / FILTER_PX**2)
    channel = torch.from_numpy(image).permute(2, 0, 1)[:1, None].float()
    mask = torch.from_numpy(known)[None, None].float()
    with torch.no_grad():
        for times in (1, 2, 3):
            channel, mask = layer(channel, mask)
            shown, left = mean_filtered(image, known, times, partial=True)
            assert np.array_equal(mask[0, 0].numpy() > 0.5, left)
            assert np.abs(channel[0, 0].numpy() - shown[..., 0]).max() < 1e-5


def test_the_standard_filter_takes_what_is_unknown_for_black() -> None:
    image, known = example()
    visible = torch.from_numpy(np.where(known[..., None], image, 0)).permute(2, 0, 1)[:, None]
    expected = functional.avg_pool2d(visible, FILTER_PX, 1, FILTER_PX // 2)[:, 0].permute(1, 2, 0).numpy()
    shown, left = mean_filtered(image, known, 1, partial=False)
    assert np.abs(shown - expected).max() < 1e-12
    assert np.array_equal(left, known)


def test_a_constant_image_stays_and_its_holes_close() -> None:
    _, known = example()
    constant = np.full((*known.shape, 3), 0.5)
    shown, left = mean_filtered(constant, known, SHOWN[-1], partial=True)
    assert left.all()
    assert np.abs(shown - 0.5).max() < 1e-12


def test_the_figure_is_drawn_the_same_twice(tmp_path: Path) -> None:
    captions = [draw_partial_mean(tmp_path / name) for name in ("a", "b")]
    first, second = ((tmp_path / name / FILE).read_bytes() for name in ("a", "b"))
    assert (first, captions[0]) == (second, captions[1])
    with Image.open(tmp_path / "a" / FILE) as picture:
        assert picture.width >= 600
