"""Figure 3 of `maggiordomo`, drawn anew: a mean filter applied again and again to an image with missing pixels, as a standard convolution
and as a partial one. Nothing is trained, so no run of the store is behind it.

Source: `maggiordomo`, section 3.2.1, equations 6 and 7 and Figure 3. The image and the holes are this project's; the source's are lost.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import uniform_filter

from reports.figures import panels_figure, styled

DOCUMENT, FILE = "maggiordomo", "maggiordomo-figure-3.webp"
TITLE = "Figure 3: a mean filter as standard and as partial convolution"
FILTER_PX, IMAGE_PX = 5, 128
SHOWN = (0, 1, 2, 4, 8, 16)
STROKES = (((20, 100), (60, 40), (110, 30)), ((40, 10), (50, 60), (95, 110)), ((5, 60), (35, 75)))
STROKE_PX = 12
QUALITY = 80


def mean_filtered(image: np.ndarray, known: np.ndarray, times: int, *, partial: bool) -> tuple[np.ndarray, np.ndarray]:
    """Applies the filter, with zeros beyond the edge.

    Args:
        image: (H, W, 3) float64 in [0, 1].
        known: (H, W) bool; what is unknown counts as 0 in a standard convolution.
        times: how often.
        partial: divide by the known pixels of a window alone, and let them grow.

    Returns:
        (H, W, 3), 0 where still unknown, and (H, W) bool.
    """
    shown = np.where(known[..., None], image, 0.0)
    for _ in range(times):
        shown = uniform_filter(shown, FILTER_PX, mode="constant", axes=(0, 1))
        if partial:
            share = uniform_filter(known.astype(float), FILTER_PX, mode="constant")
            known = share > 0.5 / FILTER_PX**2  # one pixel of the window at least
            shown = np.where(known[..., None], shown / np.where(known, share, 1.0)[..., None], 0.0)
    return shown, known


def example() -> tuple[np.ndarray, np.ndarray]:
    """An image of scikit-image, (H, W, 3) in [0, 1], and which of its pixels are known."""
    with files("skimage.data").joinpath("astronaut.png").open("rb") as file:
        image = Image.open(file).convert("RGB").resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BOX)
    holes = Image.new("L", image.size)
    for stroke in STROKES:
        ImageDraw.Draw(holes).line(stroke, fill=255, width=STROKE_PX)
    return np.asarray(image) / 255, np.asarray(holes) == 0


def draw_partial_mean(folder: Path) -> str:
    """Writes the figure into a folder; gives its caption."""
    image, known = example()
    with styled():
        figure = panels_figure(3.2)
        panels = figure.subplots(2, len(SHOWN))
        for row, partial, name in ((panels[0], False, "standard"), (panels[1], True, "partial")):
            for axes, times in zip(row, SHOWN, strict=True):
                shown, left = mean_filtered(image, known, times, partial=partial)
                axes.imshow(shown.clip(0, 1), interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                words = f"{int((~left).sum())} px unknown" if partial else f"edge {_edge(shown) / _edge(image):.0%} as bright"
                axes.set_xlabel(words, fontsize=6)
                axes.set_title({0: "input", 1: "once"}.get(times, f"{times} times"), fontsize=7)
            row[0].set_ylabel(name)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / FILE, format="webp", pil_kwargs={"quality": QUALITY})
    return (
        f"A {FILTER_PX}x{FILTER_PX} mean filter applied up to {SHOWN[-1]} times to an image with missing pixels. As a standard convolution "
        "it takes unknown pixels and the padding for black, which bleeds in; as a partial one it averages what is known, until no hole is "
        "left. Computed here, from a photograph of scikit-image; no run is behind it."
    )


def _edge(image: np.ndarray) -> float:
    """Mean brightness of the outermost pixels."""
    border = np.ones(image.shape[:2], bool)
    border[1:-1, 1:-1] = False
    return float(image[border].mean())
