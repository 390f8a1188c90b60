"""Gaussians of landmarks: reading mean and covariance off a map, drawing them as maps.

Legend: B batch, K landmarks, h w size of the maps read, H W size of the maps drawn.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.ops.grid import Grid, at_least_float32, axis


def spatial_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return maps that sum to 1.

    Shapes:
        (B, K, h, w) -> (B, K, h, w)
    Source: factorized sec 3
    """
    flat = at_least_float32(logits).flatten(2) / temperature
    return flat.softmax(dim=-1).view_as(logits)


def moments(prob: Tensor, grid: Grid = "half_pixel") -> tuple[Tensor, Tensor]:
    """Return mean and covariance of maps that sum to 1, (x, y) order.

    Shapes:
        (B, K, h, w) -> (B, K, 2), (B, K, 2, 2)
    Source: factorized sec 3
    """
    prob = at_least_float32(prob)
    height, width = prob.shape[-2:]
    x, y = axis(width, grid, prob), axis(height, grid, prob)
    # per axis: sum over the other axis, then the first two moments; only xy needs the whole map.
    # No matrix products: autocast would run them in bfloat16
    over_y, over_x = prob.sum(dim=-2), prob.sum(dim=-1)
    mean_x, mean_y = (over_y * x).sum(dim=-1), (over_x * y).sum(dim=-1)
    var_x = (over_y * x.square()).sum(dim=-1) - mean_x.square()
    var_y = (over_x * y.square()).sum(dim=-1) - mean_y.square()
    cross = ((prob * x).sum(dim=-1) * y).sum(dim=-1) - mean_x * mean_y
    mean = torch.stack((mean_x, mean_y), dim=-1)
    cov = torch.stack((var_x, cross, cross, var_y), dim=-1).unflatten(-1, (2, 2))
    return mean, cov


def smaller_eigenvalue(cov: Tensor) -> Tensor:
    """Return the smaller eigenvalue of symmetric matrices.

    Shapes:
        (..., 2, 2) -> (...)
    """
    a, b, d = cov[..., 0, 0], cov[..., 0, 1], cov[..., 1, 1]
    return (a + d) / 2 - (((a - d) / 2).square() + b.square() + 1e-20).sqrt()


def positive_definite(cov: Tensor, floor: float = 1e-6) -> Tensor:
    """Raise the smaller eigenvalue to ``floor`` where it is below; leave other matrices unchanged.

    Shapes:
        (..., 2, 2) -> (..., 2, 2)
    """
    lift = (floor - smaller_eigenvalue(cov)).clamp_min(0)
    return cov + lift[..., None, None] * torch.eye(2, dtype=cov.dtype, device=cov.device)


def circular(xy: Tensor, variance: float) -> Tensor:
    """Return covariances with the same variance in every direction, for every landmark.

    Shapes:
        (B, K, 2) -> (B, K, 2, 2)
    """
    eye = torch.eye(2, dtype=xy.dtype, device=xy.device)
    return variance * eye.expand(*xy.shape, 2)


def mahalanobis(xy: Tensor, cov: Tensor, height: int, width: int, grid: Grid) -> Tensor:
    """Return (z - xy)^T cov^-1 (z - xy) for every pixel z, by the explicit inverse.

    Shapes:
        xy (B, K, 2), cov (B, K, 2, 2) -> (B, K, H, W)
    """
    xy, cov = at_least_float32(xy), at_least_float32(cov)
    a, b, d = (cov[..., i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    det = a * d - b * b
    dx = axis(width, grid, xy) - xy[..., 0, None, None]  # (B, K, 1, W)
    dy = axis(height, grid, xy)[:, None] - xy[..., 1, None, None]  # (B, K, H, 1)
    return (d / det) * dx * dx - (2 * b / det) * dx * dy + (a / det) * dy * dy


def draw_gaussians(
    xy: Tensor,
    cov: Tensor,
    height: int,
    width: int,
    kernel: Literal["rational", "exponential"] = "rational",
    grid: Grid = "half_pixel",
) -> Tensor:
    """Draw one map per landmark, 1 at its mean: 1 / (1 + m) or exp(-m).

    m is the squared Mahalanobis distance.

    Shapes:
        xy (B, K, 2), cov (B, K, 2, 2) -> (B, K, H, W)
    Range:
        (0, 1]
    Source: factorized eq 2; lorenz sec 3; imm eq 4
    """
    m = mahalanobis(xy, cov, height, width, grid)
    return 1 / (1 + m) if kernel == "rational" else torch.exp(-m)


def normalise(maps: Tensor, by: float | Literal["sum"]) -> Tensor:
    """Divide maps by a number, or each by its sum.

    Shapes:
        (B, K, H, W) -> (B, K, H, W)
    """
    return maps / (maps.sum(dim=(-2, -1), keepdim=True).clamp_min(1e-12) if by == "sum" else by)
