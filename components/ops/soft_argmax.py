"""Reading points from maps."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.gaussians import moments, spatial_softmax
from components.ops.grid import Grid, at_least_float32, axis


def separable_soft_argmax(logits: Tensor, grid: Grid = "half_pixel") -> Tensor:
    """Return the points of :func:`separable_moments`.

    Shapes:
        (B, K, h, w) -> (B, K, 2), order (x, y)
    """
    return separable_moments(logits, grid)[0]


def separable_moments(logits: Tensor, grid: Grid = "half_pixel") -> tuple[Tensor, Tensor]:
    """Read one point per map, each axis from the mean of the logits over the other axis.

    Shapes:
        (B, K, h, w) -> (B, K, 2), order (x, y); variance along x plus along y (B, K), no gradient
    Range:
        inside the interval of ``grid``
    Source: keypointgan sec F.2; imm eq 3
    Differs: none; this is not the expectation of a 2-D softmax
    """
    logits = at_least_float32(logits)
    height, width = logits.shape[-2:]
    prob_x = logits.mean(dim=-2).softmax(dim=-1)  # (B, K, w)
    prob_y = logits.mean(dim=-1).softmax(dim=-1)  # (B, K, h)
    over_x, over_y = axis(width, grid, logits), axis(height, grid, logits)
    x = (prob_x * over_x).sum(dim=-1)
    y = (prob_y * over_y).sum(dim=-1)
    at = torch.stack((x, y), dim=-1)
    squares = (prob_x * over_x**2).sum(dim=-1) + (prob_y * over_y**2).sum(dim=-1)
    return at, (squares - at.square().sum(dim=-1)).detach()


def soft_argmax(logits: Tensor, grid: Grid = "half_pixel") -> Tensor:
    """Read one point per map: the expectation of a softmax over the whole map.

    Shapes:
        (B, K, h, w) -> (B, K, 2), order (x, y)
    Range:
        inside the interval of ``grid``
    Source: keypointgan sec F.2; imm eq 3
    Differs: none from the papers' text; the official codes have ``separable_soft_argmax``
    """
    return moments(spatial_softmax(logits), grid)[0]
