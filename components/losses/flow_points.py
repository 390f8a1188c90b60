"""Landmarks must move like the optical flow around them: Lee et al.'s idea applied to points."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.warmup import Warmup
from components.ops.flow import sample
from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/flow_points")
class FlowPoints(nn.Module):
    """weight * mean over landmarks of |p + F(p) - p'|^2.

    p are the landmarks of the driving image, p' those of the source, F(p) the mean of the true flow
    from driving to source image in a Gaussian window around p. F(p) passes no gradient to p: it
    fixes the distance of the points, and p must not seek a place where the flow suits p'.

    Args:
        weight: factor.
        variance: variance of the window, as for FOMM's drawn landmarks; a standard deviation of 0.1
            is 3 of 64 pixels: most of a limb's width, enough to average noise but not other limbs.
        warmup: training steps over which the factor rises to ``weight``: landmarks are meaningless
            at first, and collapsing to still points is the easy way to follow small flow.

    Source: lee eq 6; lee sec 1.1
    Differs: the paper compares images inside windows; this form, from the official code of Zhang et
        al. 2018, constrains the motion of the landmarks themselves, the paper's stated aim
    """

    reads = ("landmarks", "source_landmarks", "batch.flow")

    def __init__(self, *, weight: float = 1.0, variance: float = 0.01, warmup: int = 0) -> None:
        super().__init__()
        self.weight, self.variance = weight, variance
        self.warmup = Warmup(warmup)

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        points = at_least_float32(need(outputs, "landmarks", "a pipeline with landmarks").xy)
        found = need(outputs, "source_landmarks", "pipelines/motion_transfer")
        flow = need(batch, "flow", "datasets/flow_pairs (data.train)")
        moved = points + sample(flow, points.detach(), self.variance)
        error = (moved - at_least_float32(found.xy)).square().sum(dim=-1)
        return self.weight * self.warmup() * error.mean()
