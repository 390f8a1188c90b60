"""Push foreground masks towards 0 and 1, which the factorized paper leaves to future work."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/mask_entropy")
class MaskEntropy(nn.Module):
    """weight * mean over pixels of the mask's entropy in bits, -m log2 m - (1 - m) log2 (1 - m).

    Args:
        weight: factor.

    Shapes:
        outputs.layers.mask (B, 1, H, W) -> scalar
    Range:
        from 0 for a binary mask to ``weight`` for a mask of 1/2
    Source: factorized sec 4.3; factorized sec 5
    Differs: ours; the paper names no method, and none of its configurations has this term
    """

    reads = ("layers.mask",)

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        layers = need(outputs, "layers", "a pipeline with a compositor")
        mask = at_least_float32(need(layers, "mask", "compositors/mask_blend"))
        # the slope at 0 and 1 is infinite; there the clamp's is 0
        m = mask.clamp(1e-6, 1 - 1e-6)
        return -self.weight * (m * m.log2() + (1 - m) * (1 - m).log2()).mean()
