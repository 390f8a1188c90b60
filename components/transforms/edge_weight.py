"""IMM's loss mask: what happens near the border of an image does not count."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from components.ops.grid import axis
from registry.contract import Batch, need
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/edge_weight")
class EdgeWeight:
    """Set the weight to 0 in a margin and 1 in the middle, with a smooth ramp between them.

    Put it before the warp: ``transforms/tps_pair`` warps the weight with its target.

    Args:
        margin: width of the part with weight 0, as a fraction of the side; 10 of 128 pixels.
        ramp: width of the ramp; 20 of 128 pixels.
        softness: of the ramp 0.5 + 0.5 tanh(t / softness), t from -1 to 1.

    Shapes:
        Batch, seeds (B,) -> Batch with weight (B, 1, H, W)
    Source: imm sec 4
    """

    def __init__(
        self, *, margin: float = 10 / 128, ramp: float = 20 / 128, softness: float = 0.4
    ) -> None:
        self.margin, self.ramp, self.softness = margin, ramp, softness

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        target = need(batch, "target", "the training dataset (data.train)")
        across, down = (self._strip(size, target) for size in (target.shape[-1], target.shape[-2]))
        weight = (down[:, None] * across).expand(len(target), 1, -1, -1)
        return replace(batch, weight=weight)

    def _strip(self, size: int, like: Tensor) -> Tensor:
        margin, steps = round(self.margin * size), round(self.ramp * size)
        up = 0.5 + 0.5 * torch.tanh(axis(steps, "corners", like) / self.softness)
        strip = like.new_ones(size, dtype=up.dtype)
        strip[:margin], strip[margin : margin + steps] = 0, up
        return strip * strip.flip(0)
