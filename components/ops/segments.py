"""Line segments: distances to them, and drawings made from these distances.

Legend: B batch, K points, E edges, H W map size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from components.ops.grid import Grid, at_least_float32, axis

_SHORTEST = 1e-6  # squared length below which a segment is a point


def squared_distances(
    xy: Tensor, edges: Sequence[Sequence[int]], height: int, width: int, grid: Grid = "half_pixel"
) -> Tensor:
    """Return the squared distance of every pixel to every segment.

    Shapes:
        xy (B, K, 2) -> (B, E, H, W)
    Source: keypointgan eq 2
    """
    xy = at_least_float32(xy)
    start, end = _ends(xy, edges)  # (B, E, 2)
    a, b = start[..., None, None, :], end[..., None, None, :]
    x, y = axis(width, grid, xy), axis(height, grid, xy)[:, None]
    return _to_segment(a[..., 0], a[..., 1], b[..., 0], b[..., 1], x, y)


def nearest_squared_distance(
    xy: Tensor, edges: Sequence[Sequence[int]], height: int, width: int, grid: Grid = "half_pixel"
) -> Tensor:
    """Return the squared distance of every pixel to its nearest segment, exact gradients included.

    The nearest segment is found one edge at a time without gradients, then only its distance is
    recomputed with gradients: memory does not grow with the number of edges, and the result is
    exact, since the minimum has the (sub)gradient of its argument.

    Shapes:
        xy (B, K, 2) -> (B, H, W)
    Source: keypointgan eq 2
    Differs: where several segments are equally near, the first in ``edges`` gets the gradient
    """
    xy = at_least_float32(xy)
    start, end = _ends(xy, edges)
    x, y = axis(width, grid, xy), axis(height, grid, xy)[:, None]
    with torch.no_grad():
        best = xy.new_full((xy.shape[0], height, width), float("inf"))
        nearest = torch.zeros_like(best, dtype=torch.long)
        for edge in range(len(edges)):
            a, b = start[:, edge, None, None], end[:, edge, None, None]  # (B, 1, 1, 2)
            d2 = _to_segment(a[..., 0], a[..., 1], b[..., 0], b[..., 1], x, y)
            nearest.masked_fill_(d2 < best, edge)
            torch.minimum(best, d2, out=best)
    ends = torch.cat((start, end), dim=-1)  # (B, E, 4)
    index = nearest.flatten(1)[..., None].expand(-1, -1, 4)
    ax, ay, bx, by = ends.gather(1, index).unflatten(1, (height, width)).unbind(-1)
    return _to_segment(ax, ay, bx, by, x, y)


def _ends(xy: Tensor, edges: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    index = torch.as_tensor(edges, device=xy.device)
    return xy[:, index[:, 0]], xy[:, index[:, 1]]


def _to_segment(ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return squared distances of points (x, y) to segments a-b; x and y are separate planes."""
    dx, dy = bx - ax, by - ay
    scale = 1 / (dx * dx + dy * dy).clamp_min(_SHORTEST)
    t = (((x - ax) * dx + (y - ay) * dy) * scale).clamp(0, 1)
    rx, ry = ax + t * dx - x, ay + t * dy - y
    return rx * rx + ry * ry
