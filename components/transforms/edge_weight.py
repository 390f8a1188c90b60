"""IMM's loss mask: pixels near the border of an image do not count."""

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

    Of 128 pixels, 10 on each side have weight 0; the next 20 form the ramp 0.5 + 0.5 tanh(t / 0.4),
    t from -1 to 1.

    Shapes:
        Batch, seeds (B,) -> Batch with weight (B, 1, H, W)
    Source: imm sec 4
    """

    fills = ("weight",)

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        target = need(batch, "target", "the training dataset (data.train)")
        across, down = (self._strip(size, target) for size in (target.shape[-1], target.shape[-2]))
        weight = (down[:, None] * across).expand(len(target), 1, -1, -1)
        return replace(batch, weight=weight)

    @staticmethod
    def _strip(size: int, like: Tensor) -> Tensor:
        margin, steps = round(10 / 128 * size), round(20 / 128 * size)
        up = 0.5 + 0.5 * torch.tanh(axis(steps, "corners", like) / 0.4)
        strip = like.new_ones(size, dtype=up.dtype)
        strip[:margin], strip[margin : margin + steps] = 0, up
        return strip * strip.flip(0)
