"""Optical flow: fields of displacements, and their means around points.

Legend: B batch, K points, h w size of the field. A displacement is (x, y) in contract units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.gaussians import circular, mahalanobis
from components.ops.grid import at_least_float32


def to_contract(flow: Tensor) -> Tensor:
    """Convert displacements from pixels of the field to contract units (the image is 2 wide).

    Shapes:
        (B, 2, h, w) -> (B, 2, h, w)
    """
    height, width = flow.shape[-2:]
    return flow * torch.tensor([2 / width, 2 / height]).to(flow)[:, None, None]


def windows(xy: Tensor, variance: float, height: int, width: int) -> Tensor:
    """Return exp(-0.5 |z - xy|^2 / variance) at every pixel z, divided by its sum.

    Finite for any point, even far outside the map.

    Shapes:
        (B, K, 2) -> (B, K, height, width)
    Source: lee eq 6
    """
    xy = at_least_float32(xy)
    distance = mahalanobis(xy, circular(xy, variance), height, width, "half_pixel")
    return (-0.5 * distance).flatten(2).softmax(dim=-1).view_as(distance)


def sample(flow: Tensor, xy: Tensor, variance: float) -> Tensor:
    """Return the mean flow in a Gaussian window around each point.

    Shapes:
        flow (B, 2, h, w), xy (B, K, 2) -> (B, K, 2)
    Source: lee eq 6
    """
    flow = at_least_float32(flow)
    window = windows(xy, variance, *flow.shape[-2:])
    # no matrix product: autocast would run it in bfloat16
    return (window[:, :, None] * flow[:, None]).sum(dim=(-2, -1))
