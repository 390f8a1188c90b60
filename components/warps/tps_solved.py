"""Thin-plate sampler of Lorenz et al.: eight control points, a spline solved through them."""

from __future__ import annotations

import torch
from torch import Tensor

from components.ops.randomness import ItemRandom
from components.ops.tps import Spline, affine_matrix, fit
from registry.roles import WARPS


@WARPS.register_module("warps/tps_solved")
class TpsSolved:
    """Four outer and four inner points: displaced, scaled about a point, rotated about another.

    Args:
        displacement: maximum extra shift of a point's destination.
        scale: mean scale, varied by +- 5 % separately for each axis.
        rotation: maximum angle, radians.
        offset: maximum coordinate of the centre of scaling or rotation.

    Shapes:
        seeds (B,) -> Spline of B
    Source: lorenz sec 3
    Differs: the control points themselves are not jittered: a batch shares one linear system
    """

    def __init__(
        self,
        *,
        displacement: float = 0.05,
        scale: float = 0.8,
        rotation: float = 0.1,
        offset: float = 0.15,
    ) -> None:
        self.displacement, self.scale = displacement, scale
        self.rotation, self.offset = rotation, offset

    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Spline:
        random = ItemRandom(seeds, stream, device)
        signs = torch.tensor([(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)], device=device)
        control = torch.cat((0.5 * signs, 0.2 * signs))
        moved = control + random.uniform(-self.displacement, self.displacement, 8, 2)
        size = random.uniform(0.95 * self.scale, 1.05 * self.scale, 1, 2)
        angle = random.uniform(-self.rotation, self.rotation)
        first, second = random.uniform(-self.offset, self.offset, 2, 1, 2).unbind(dim=1)
        moved = size * (moved - first) + first - second
        matrix = affine_matrix(angle, torch.ones_like(second[:, 0]), second[:, 0])
        return fit(control, moved @ matrix[..., :2].transpose(1, 2) + matrix[:, None, :, 2])
