"""FOMM's equivariance of local maps: those of a warped view turn and stretch with the warp."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.ops.affine import inverse, product
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/equivariance_jacobian")
class EquivarianceJacobian(nn.Module):
    """weight * mean |1 - J^-1 (dT/dp at p') J'|.

    J are the local affine maps of the driving image's landmarks; J' and p' the maps and positions
    of the landmarks of its warped view; T maps the view to the image.

    Args:
        weight: factor.

    Source: fomm eq 12; fomm sec 3.3
    """

    reads = ("landmarks.affine", "warped_landmarks", "batch.warp")

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        view = need(outputs, "warped_landmarks", "transforms/second_view")
        warp = need(batch, "warp", "transforms/second_view")
        landmarks = need(outputs, "landmarks", "a pipeline with landmarks")
        affine, moved = (
            need(found, "affine", "a bottleneck that reads local maps, as bottlenecks/affine")
            for found in (landmarks, view)
        )
        carried = product(warp.slope(at_least_float32(view.xy)), moved)
        difference = product(inverse(affine), carried)
        difference = difference - torch.eye(2, dtype=difference.dtype, device=difference.device)
        return self.weight * difference.abs().mean()
