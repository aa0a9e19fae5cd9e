"""The latent values whose generated image fits the known pixels of an image and looks real: completion by search.

    z_hat = argmin over z of contextual(z) + lambda * perceptual(z),    contextual(z) = || M . G(z) - M . y ||_1

The search is descent with momentum from fixed points: v = m * v - step * gradient, z = clip(z + v, -bound, bound). The best z that is
visited counts, over all steps and starts, so that more of either never makes a completion worse by its own measure.

All images of a batch are searched at once. The gradient of one does not depend on the others if the networks are in evaluation mode, and
every image has the same starting points, so its completion is the same in whatever batch it comes (up to the rounding of a convolution).

Source: `lsgan`, equation 2.6, sections 2.2.3.2 (clipping, learning rate, momentum, "an additional z_hat for each iteration"), 3.2.1 to
3.2.3. Yeh et al. 2017, "Semantic Image Inpainting with Deep Generative Models", for the weights of the known pixels.

Deviations:
  - The source speaks of an importance matrix that it does not define. `importance_weights` is Yeh et al.'s; the plain mask is that of
    equation 2.6.
  - What is clipped, and at which values, is not given: the latent values here, at the range that they are drawn from in training.
  - The starting points are not given.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

START_SEED = 2018

LatentLoss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Descent:
    """How the search moves.

    Attributes:
        steps: how many times z is moved.
        step: what the gradient is multiplied by.
        momentum: m, in [0, 1).
        bound: greatest size of a latent value.
    """

    steps: int
    step: float
    momentum: float
    bound: float


def starting_points(count: int, latent: int, bound: float) -> Tensor:
    """Where every search begins, uniform in [-bound, bound]; (count, latent) float32, the same at every call and the first ones of more."""
    generator = torch.Generator().manual_seed(START_SEED)
    return (torch.rand(count, latent, generator=generator) * 2 - 1) * bound


def search(loss: LatentLoss, starts: Tensor, descent: Descent) -> Tensor:
    """The best latent values of each image.

    Args:
        loss: (N, latent) -> (N,), where the loss of one row does not depend on the others. Runs with gradients on, even where the caller
            has them off; no gradient is kept in any weight.
        starts: (R, N, latent) float32, R starting points for each of N images.
        descent: how to move.

    Returns:
        (N, latent) float32 within the bound.
    """
    best, least = starts[0].clone(), torch.full(starts.shape[1:2], torch.inf, device=starts.device)
    for start in starts:
        latent, velocity = start.clone(), torch.zeros_like(start)
        for step in range(descent.steps + 1):
            values, slope = _value_and_slope(loss, latent, with_slope=step < descent.steps)
            better = values < least
            best, least = torch.where(better[:, None], latent, best), torch.where(better, values, least)
            if slope is not None:
                velocity = descent.momentum * velocity - descent.step * slope
                latent = (latent + velocity).clamp(-descent.bound, descent.bound)
    return best


def _value_and_slope(loss: LatentLoss, latent: Tensor, *, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """(N,) losses and, where asked for, their gradient (N, latent)."""
    with torch.set_grad_enabled(with_slope):
        point = latent.detach().requires_grad_(with_slope)
        values = loss(point)
        slope = torch.autograd.grad(values.sum(), point)[0] if with_slope else None
    return values.detach(), slope


def contextual_loss(generated: Tensor, image: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of absolute differences over pixels and channels.

    Args:
        generated: (B, 3, H, W).
        image: the same shape; counts only where the weights are not 0.
        weights: (B, 1, H, W), 0 in the hole.

    Returns:
        (B,)
    """
    return (weights * (generated - image).abs()).sum((1, 2, 3))


def importance_weights(known: Tensor, window_px: int) -> Tensor:
    """How much each known pixel says about the hole.

    Args:
        known: (B, 1, H, W) float32, 1 = known.
        window_px: side of the window around a pixel, odd; 0 gives the mask itself.

    Returns:
        (B, 1, H, W) float32: 0 in the hole; elsewhere the share of hole pixels among the pixels of the image in the window.
    """
    if window_px == 0:
        return known
    return known * functional.avg_pool2d(1 - known, window_px, stride=1, padding=window_px // 2, count_include_pad=False)
