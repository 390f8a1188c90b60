"""KeypointGAN's image term of the regressor: drawing its points must restore its input."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/redraw")
class Redraw(nn.Module):
    """weight * mean (beta(eta(y)) - y)^2, y held fixed.

    Args:
        weight: factor; 0.1 in paper and code.

    Source: keypointgan sec F.2
    """

    reads = ("redrawn", "pose_image")

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        redrawn = need(outputs, "redrawn", "a reconstruction pipeline with bottleneck_apart=True")
        difference = at_least_float32(redrawn - need(outputs, "pose_image").detach())
        return self.weight * difference.square().mean()
