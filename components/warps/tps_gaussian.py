"""Thin-plate sampler of IMM and KeypointGAN: Gaussian affine part and Gaussian coefficients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from components.ops.tps import Spline, affine_matrix, control_grid
from registry.roles import WARPS


@WARPS.register_module("warps/tps_gaussian")
class TpsGaussian:
    """10 x 10 control points: coefficients N(0, warp_sd[0]), a random half also N(0, warp_sd[1]).

    Args:
        rotation_sd: degrees.
        scale_sd: of the scale around 1.
        translation_sd: in the spline's coordinates.
        warp_sd: of all coefficients, and of the random half.
        canvas: 2 samples from the image padded by half its size on each side (KeypointGAN).

    Shapes:
        seeds (B,) -> Spline of B
    Source: keypointgan sec 3.2; imm sec 3
    Differs: every sample is new; the official code reuses 1000 cached grids. It also puts the
        outermost pixel centres at -1 and 1; here they are half a pixel inside. On its own numbers
        (48 pixels, padded) the two differ by at most 0.06 pixels along an axis, in the corners, and
        by 0.36 if it samples with torch's later default, align_corners=False
    """

    def __init__(
        self,
        *,
        rotation_sd: float = 5.0,
        scale_sd: float = 0.05,
        translation_sd: float = 0.05,
        warp_sd: tuple[float, float] = (0.0005, 0.005),
        canvas: float = 2.0,
    ) -> None:
        self.rotation_sd, self.scale_sd, self.translation_sd = rotation_sd, scale_sd, translation_sd
        self.warp_sd, self.canvas = warp_sd, canvas

    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Spline:
        random = ItemRandom(seeds, stream, device)
        angle = random.normal() * math.radians(self.rotation_sd)
        scale = 1 + random.normal(1).expand(-1, 2) * self.scale_sd
        shift = random.normal(2) * self.translation_sd
        half = (random.uniform(0, 1, 100, 1) < 0.5).float()
        weight = (
            random.normal(100, 2) * self.warp_sd[0] + half * random.normal(100, 2) * self.warp_sd[1]
        )
        control = control_grid(10).to(device).expand_as(weight)
        return Spline(control, weight, affine_matrix(angle, scale, shift), canvas=self.canvas)
