"""Picture grids: the same images side by side as input, as each fill, and as the truth, with the error under each fill."""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from trainables.data import Mask, to_tensor
from trainables.metrics import measure
from trainables.session import EVALUATION_SEED, Fill

LEAST_TILE_PX = 128
GAP_PX = 6
LINE_PX = 18
HOLE_GREY = 0.5


def picture_grid(images: np.ndarray, mask: Mask, fills: Mapping[str, Fill]) -> Image.Image:
    """Draws the grid.

    Args:
        images: (N, H, W, 3) uint8, one row each.
        mask: where the holes are; the same as in an evaluation of the same images.
        fills: by name, (image, known) -> filled, one column each.

    Returns:
        An RGB picture: a header, then rows of input, fills (with `psnr_hole` and `l2_hole` below) and truth. Small images are enlarged by a
        whole factor without smoothing.
    """
    size = images.shape[1]
    scale = max(1, LEAST_TILE_PX // size)
    tile = size * scale
    truth = to_tensor(images, torch.device("cpu"))
    known = mask.sample(len(images), size, np.random.default_rng([EVALUATION_SEED, 0]))
    columns: list[tuple[str, Tensor, list[str]]] = [("input", truth * known + HOLE_GREY * (1 - known), [])]
    for name, fill in fills.items():
        filled = fill(truth, known)
        values = measure(filled, truth, known)
        captions = [f"{psnr:.1f} dB  L2 {l2:.2f}" for psnr, l2 in zip(values["psnr_hole"], values["l2_hole"], strict=True)]
        columns.append((name, filled, captions))
    columns.append(("truth", truth, []))
    width = GAP_PX + len(columns) * (tile + GAP_PX)
    height = LINE_PX + GAP_PX + len(images) * (tile + LINE_PX + GAP_PX)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (name, pictures, captions) in enumerate(columns):
        left = GAP_PX + column * (tile + GAP_PX)
        draw.text((left, GAP_PX // 2), _fitted(name, tile, draw, font), fill="black", font=font)
        for row, picture in enumerate(pictures):
            top = LINE_PX + GAP_PX + row * (tile + LINE_PX + GAP_PX)
            pixels = (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
            sheet.paste(Image.fromarray(pixels).resize((tile, tile), Image.Resampling.NEAREST), (left, top))
            if captions:
                draw.text((left, top + tile), captions[row], fill="dimgray", font=font)
    return sheet


def _fitted(name: str, width_px: int, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """A heading that fits its column; a long one loses its beginning, since the ends of names tell them apart."""
    shown = name
    while draw.textlength(shown, font=font) > width_px:
        shown = "..." + shown.removeprefix("...")[1:]
    return shown
