"""Thin-plate sampler of the factorized model: control points rotated, stretched, then shifted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from components.ops.tps import Spline, control_grid, fit
from registry.roles import WARPS


@WARPS.register_module("warps/tps_uniform")
class TpsUniform:
    """10 x 10 control points rotated and stretched about a random pivot, then shifted uniformly.

    Args:
        point_range: maximum shift of a point per axis; 2 of 128 pixels.
        rotation: maximum angle, radians.
        scale: minimum and maximum stretch, separately for x and y.
        pivot_range: maximum shift of the pivot per axis; 10 of 128 pixels.

    Shapes:
        seeds (B,) -> Spline of B
    Source: factorized sec 3
    Differs: only the diagonal of the matrix is stretched, as in the official code
    """

    def __init__(
        self,
        *,
        point_range: float = 2 / 64,
        rotation: float = math.pi / 8,
        scale: tuple[float, float] = (1.05, 1.15),
        pivot_range: float = 10 / 64,
    ) -> None:
        self.point_range, self.rotation = point_range, rotation
        self.scale, self.pivot_range = scale, pivot_range

    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Spline:
        random = ItemRandom(seeds, stream, device)
        # points at pixels 10 ... 118 of 128; the official pivot is half of the last, pixel 59
        control = control_grid(10, extent=54 / 64).to(device) + 0.5 / 64
        shift = random.uniform(-self.point_range, self.point_range, 100, 2)
        angle = random.uniform(-self.rotation, self.rotation)
        stretch = random.uniform(*self.scale, 2)
        pivot = 59.5 / 64 - 1 + random.uniform(-self.pivot_range, self.pivot_range, 1, 2)
        cos, sin = angle.cos(), angle.sin()
        matrix = torch.stack((stretch[:, 0] * cos, -sin, sin, stretch[:, 1] * cos), dim=-1)
        moved = (control - pivot) @ matrix.unflatten(-1, (2, 2)) + pivot
        return fit(control, moved + shift)
