"""Confidence of landmarks: scores in (0, 1], for comparing images and points of one model.

Scores are not probabilities of being right, and a threshold for one model does not carry over to
another. 0 is reserved for points that were not found, as usual in keypoint tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.grid import at_least_float32, axis

LEAST = 1e-4
EVEN = 2 / 3  # variance, both axes together, of a uniform map
WINDOW = 0.07  # standard deviation of the window around a landmark; the image is 2 wide


def concentration(variance: Tensor) -> Tensor:
    """Return how concentrated a map is: 1 - its spread / that of a uniform map.

    Args:
        variance: variance of the map's probability along x plus along y.

    Shapes:
        (B, K) -> (B, K)
    Range:
        1 for a single pixel, 0.0001 for a uniform map and for one in two far corners; no gradient
    """
    spread = (at_least_float32(variance.detach()).clamp_min(0) / EVEN).sqrt()
    return (1 - spread).clamp_min(LEAST)


def agreement(xy: Tensor, pose_image: Tensor, drawn: Tensor) -> Tensor:
    """Return how well the skeleton drawn from landmarks fits the pose image around each of them.

    It is 1 - the mean absolute difference under a Gaussian window around the landmark.

    Shapes:
        xy (B, K, 2), pose_image (B, 1, H, W), drawn (B, 1, H, W) -> (B, K)
    Range:
        pictures in [-1, 1]; 1 where they agree, 0.0001 where they differ by half the range or more;
        no gradient
    """
    xy = at_least_float32(xy.detach())
    apart = (pose_image.detach() - drawn.detach()).abs().clamp_max(1).to(xy)[:, 0, None]
    height, width = apart.shape[-2:]
    x, y = axis(width, "half_pixel", xy), axis(height, "half_pixel", xy)
    over_x = torch.softmax(-((x - xy[..., :1]) ** 2) / (2 * WINDOW**2), dim=-1)  # (B, K, W)
    over_y = torch.softmax(-((y - xy[..., 1:]) ** 2) / (2 * WINDOW**2), dim=-1)
    rows = (apart * over_x[:, :, None]).sum(dim=-1)  # (B, K, H)
    return (1 - (rows * over_y).sum(dim=-1)).clamp_min(LEAST)
