"""Picture grids: the same images side by side as input, as each fill and as the truth, with the error under each fill; grids of samples."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from trainables.data import Mask, to_tensor
from trainables.metrics import measure
from trainables.session import EVALUATION_SEED, Fill

LEAST_TILE_PX = 128
SAMPLES_A_ROW = 8
GAP_PX = 6
LINE_PX = 18
HOLE_GREY = 0.5


def picture_grid(images: np.ndarray, mask: Mask, fills: Mapping[str, Fill], *, fills_only: bool = False) -> Image.Image:
    """Draws the grid.

    Args:
        images: (N, H, W, 3) uint8, one row each.
        mask: where the holes are; the same as in an evaluation of the same images.
        fills: by name, (image, known) -> filled, one column each.
        fills_only: leave input and truth out and paint the known pixels grey: what the models made, and no pixel of the images.

    Returns:
        An RGB picture: a header, then rows of input, fills (with `psnr_hole` and `l2_hole` below) and truth. Small images are enlarged by a
        whole factor without smoothing.
    """
    size = images.shape[1]
    scale = max(1, LEAST_TILE_PX // size)
    tile = size * scale
    truth = to_tensor(images, torch.device("cpu"))
    known = mask.sample(len(images), size, np.random.default_rng([EVALUATION_SEED, 0]))
    columns: list[tuple[str, Tensor, list[str]]] = []
    for name, fill in fills.items():
        filled = fill(truth, known)
        values = measure(filled, truth, known)
        captions = [f"{psnr:.1f} dB  L2 {l2:.2f}" for psnr, l2 in zip(values["psnr_hole"], values["l2_hole"], strict=True)]
        columns.append((name, filled * (1 - known) + HOLE_GREY * known if fills_only else filled, captions))
    if not fills_only:
        columns = [("input", truth * known + HOLE_GREY * (1 - known), []), *columns, ("truth", truth, [])]
    width = GAP_PX + len(columns) * (tile + GAP_PX)
    height = LINE_PX + GAP_PX + len(images) * (tile + LINE_PX + GAP_PX)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (name, pictures, captions) in enumerate(columns):
        left = GAP_PX + column * (tile + GAP_PX)
        draw.text((left, GAP_PX // 2), _fitted(name, tile, draw, font), fill="black", font=font)
        for row, picture in enumerate(pictures):
            top = LINE_PX + GAP_PX + row * (tile + LINE_PX + GAP_PX)
            sheet.paste(_tile(picture, tile), (left, top))
            if captions:
                draw.text((left, top + tile), captions[row], fill="dimgray", font=font)
    return sheet


def sample_grid(samples: Tensor) -> Image.Image:
    """Generated images, (N, 3, H, W) float32 in [0, 1], in rows of at most `SAMPLES_A_ROW`; small ones enlarged as in `picture_grid`."""
    tile = samples.shape[-1] * max(1, LEAST_TILE_PX // samples.shape[-1])
    rows = math.ceil(len(samples) / SAMPLES_A_ROW)
    step = tile + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + min(len(samples), SAMPLES_A_ROW) * step, GAP_PX + rows * step), "white")
    for place, picture in enumerate(samples):
        row, column = divmod(place, SAMPLES_A_ROW)
        sheet.paste(_tile(picture, tile), (GAP_PX + column * step, GAP_PX + row * step))
    return sheet


def _tile(picture: Tensor, side_px: int) -> Image.Image:
    """(3, H, W) in [0, 1] as a picture of that side."""
    pixels = (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    return Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.NEAREST)


def _fitted(name: str, width_px: int, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """A heading that fits its column; a long one loses its beginning, since the ends of names tell them apart."""
    shown = name
    while draw.textlength(shown, font=font) > width_px:
        shown = "..." + shown.removeprefix("...")[1:]
    return shown
