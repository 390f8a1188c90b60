"""FOMM's equivariance of points: those of a warped view, mapped back, match the original's."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/equivariance_points")
class EquivariancePoints(nn.Module):
    """weight * mean |p - T(p')|.

    p are the landmarks of the driving image, p' those of its warped view; T maps the view to the
    image.

    Args:
        weight: factor.

    Source: fomm sec 3.3
    """

    reads = ("landmarks", "warped_landmarks", "batch.warp")

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        view = need(outputs, "warped_landmarks", "transforms/second_view")
        warp = need(batch, "warp", "transforms/second_view")
        landmarks = need(outputs, "landmarks", "a pipeline with landmarks")
        carried = warp(at_least_float32(view.xy))
        return self.weight * (at_least_float32(landmarks.xy) - carried).abs().mean()
