"""Local affine maps of landmarks: 2x2 matrices, without matrix products, which autocast rounds."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.grid import Grid, at_least_float32, axis, plane
from registry.contract import Landmarks


def inverse(matrix: Tensor) -> Tensor:
    """Return the inverses, by the explicit formula.

    Shapes:
        (..., 2, 2) -> (..., 2, 2)

    Example:
        >>> inverse(torch.tensor([[2.0, 1.0], [0.0, 4.0]]))
        tensor([[ 0.5000, -0.1250],
                [ 0.0000,  0.2500]])
    """
    (a, b), (c, d) = ([row[..., 0], row[..., 1]] for row in at_least_float32(matrix).unbind(-2))
    adjugate = torch.stack((d, -b, -c, a), dim=-1).unflatten(-1, (2, 2))
    return adjugate / (a * d - b * c)[..., None, None]


def product(first: Tensor, second: Tensor) -> Tensor:
    """Return first @ second.

    Shapes:
        (..., 2, 2), (..., 2, 2) -> (..., 2, 2)
    """
    first, second = at_least_float32(first), at_least_float32(second)
    return (first[..., None] * second[..., None, :, :]).sum(dim=-2)


def local_motions(
    landmarks: Landmarks, source_landmarks: Landmarks, height: int, width: int, grid: Grid
) -> Tensor:
    """Return where each pixel comes from by the motion of nothing, then of each landmark.

    T_k(z) = p_k^S + J_k^S (J_k^D)^-1 (z - p_k^D), D driving, S source; without affine maps a shift.

    Shapes:
        -> (B, K + 1, height, width, 2)
    Source: fomm eq 4
    """
    xy, source_xy = at_least_float32(landmarks.xy), at_least_float32(source_landmarks.xy)
    dx = axis(width, grid, xy) - xy[..., 0, None, None]  # (B, K, 1, w)
    dy = axis(height, grid, xy)[:, None] - xy[..., 1, None, None]  # (B, K, h, 1)
    if landmarks.affine is None or source_landmarks.affine is None:
        offsets = torch.stack(torch.broadcast_tensors(dx, dy), dim=-1)
    else:
        m = product(source_landmarks.affine, inverse(landmarks.affine))[..., None, None]
        rows = [m[:, :, i, 0] * dx + m[:, :, i, 1] * dy for i in (0, 1)]
        offsets = torch.stack(rows, dim=-1)
    moved = source_xy[:, :, None, None] + offsets
    still = plane(height, width, grid, xy).expand(len(xy), 1, -1, -1, -1)
    return torch.cat((still, moved), dim=1)
