"""Thin-plate sampler of FOMM: L1 kernel, the same coefficient for x and y."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from components.ops.tps import Spline, control_grid
from registry.roles import WARPS


@WARPS.register_module("warps/tps_l1")
class TpsL1:
    """5 x 5 control points; all six affine entries and all coefficients are Gaussian.

    Args:
        affine_sd: of the affine entries around the identity.
        warp_sd: of the coefficients.

    Shapes:
        seeds (B,) -> Spline of B
    Source: fomm sec 3.3
    """

    def __init__(self, *, affine_sd: float = 0.05, warp_sd: float = 0.005) -> None:
        self.affine_sd, self.warp_sd = affine_sd, warp_sd

    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Spline:
        random = ItemRandom(seeds, stream, device)
        affine = torch.eye(2, 3, device=device) + random.normal(2, 3) * self.affine_sd
        weight = (random.normal(25, 1) * self.warp_sd).expand(-1, -1, 2)
        control = control_grid(5).to(device).expand_as(weight)
        return Spline(control, weight, affine, kernel="l1")
