"""CycleGAN's second cycle: pose, rendered image, pose again."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/prior_cycle")
class PriorCycle(nn.Module):
    """weight * mean |Phi(Psi(y_bar, x')) - y_bar|.

    Args:
        weight: factor; 10 is CycleGAN's.

    Source: keypointgan sec F.3
    Differs: the paper does not name the norm; L1 is CycleGAN's
    """

    reads = ("prior_cycle", "prior_drawn")

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        cycle = need(outputs, "prior_cycle", "a reconstruction pipeline with prior_cycle=True")
        return self.weight * at_least_float32(cycle - need(outputs, "prior_drawn")).abs().mean()
