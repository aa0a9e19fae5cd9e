"""The five terms that a partial-convolution U-Net is trained on, one value an image each.

Source: `maggiordomo`, section 3.2.2, equations 8 to 11. With the truth x, the output x_out and the composite x_comp, which is x where that
is known and x_out in the hole:

    valid, hole       mean |x_out - x| over the image, of its known pixels and of its hole alone
    perceptual        sum over VGG's layers of mean |F(x_out) - F(x)| + mean |F(x_comp) - F(x)|
    style             the same of the Gram matrices of the features
    total variation   mean |step| between neighbours in x_comp, of those inside the hole or within 1 px of it

Deviations:
  - Each norm is divided by the number of values, pixels times channels, where the document writes "number of pixels", and calls the result
    a mean.
  - K_l = C_l H_l W_l is "a normalization factor": Gram matrices are divided by it. Multiplied, the term would exceed all others a billion
    times; Liu et al. 2018 divide too.
  - Equation 11 sets what lies outside the region to 0 and takes the gradient then. The steps onto that 0 are constants, since the region's
    rim is known; they are left out, as in Liu et al. 2018. Neighbours at a corner count as within 1 px.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def composite(output: Tensor, image: Tensor, known: Tensor) -> Tensor:
    """The truth where it is known and the output in the hole; unlike `metrics.composite` a gradient flows at any value.

    Args:
        output: (B, 3, H, W) float32.
        image: (B, 3, H, W) float32 in [0, 1], the truth.
        known: (B, 1, H, W) float32, 1 = known.
    """
    return torch.where(known > 0.5, image, output)


def valid_loss(output: Tensor, image: Tensor, known: Tensor) -> Tensor:
    """Absolute error of the known pixels, over the number of values of the image; (B,). Arguments as in `composite`."""
    return ((output - image).abs() * known).mean((1, 2, 3))


def hole_loss(output: Tensor, image: Tensor, known: Tensor) -> Tensor:
    """Absolute error of the hole, over the number of values of the image; (B,). Arguments as in `composite`."""
    return ((output - image).abs() * (1 - known)).mean((1, 2, 3))


def perceptual_loss(output: Sequence[Tensor], composited: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Equation 8.

    Args:
        output: features of the output, one (B, C, H, W) a layer.
        composited: features of the composite.
        truth: features of the truth.

    Returns:
        (B,) float32.
    """
    terms = [
        (features.float() - true.float()).abs().mean((1, 2, 3))
        for features_of in (output, composited)
        for features, true in zip(features_of, truth, strict=True)
    ]
    return torch.stack(terms).sum(0)


def style_loss(output: Sequence[Tensor], composited: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Equations 9 and 10, added; arguments and result as in `perceptual_loss`."""
    true_grams = [gram(true) for true in truth]
    terms = [
        (gram(features) - true_gram).abs().mean((1, 2))
        for features_of in (output, composited)
        for features, true_gram in zip(features_of, true_grams, strict=True)
    ]
    return torch.stack(terms).sum(0)


def gram(features: Tensor) -> Tensor:
    """Products of every two channels, summed over the pixels and divided by C H W: (B, C, H, W) -> (B, C, C) float32."""
    pixels = features.float().permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C): no copy where features are channels-last in memory
    return pixels.transpose(1, 2) @ pixels / (pixels.shape[1] * pixels.shape[2])


def total_variation_loss(composited: Tensor, known: Tensor) -> Tensor:
    """Equation 11.

    Args:
        composited: (B, 3, H, W) float32.
        known: (B, 1, H, W) float32, 1 = known.

    Returns:
        (B,) float32.
    """
    region = functional.max_pool2d(1 - known, 3, stride=1, padding=1)  # the hole and 1 px around it
    down = (composited[:, :, 1:] - composited[:, :, :-1]).abs() * region[:, :, 1:] * region[:, :, :-1]
    across = (composited[:, :, :, 1:] - composited[:, :, :, :-1]).abs() * region[:, :, :, 1:] * region[:, :, :, :-1]
    return (down.sum((1, 2, 3)) + across.sum((1, 2, 3))) / composited[0].numel()
