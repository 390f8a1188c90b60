"""Pixel reconstruction: mean absolute difference from the target."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/pixel")
class Pixel(nn.Module):
    """weight * mean |image - target|.

    Args:
        of: which image: the render, or the moved source before any repainting.
        weight: factor.

    Source: monkeynet sec 3.4
    """

    def __init__(
        self, *, of: Literal["render", "deformed"] = "render", weight: float = 1.0
    ) -> None:
        super().__init__()
        self.of, self.weight, self.reads = of, weight, (of, "batch.target")

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        image = need(outputs, self.of, "a pipeline with a decoder")
        target = need(batch, "target", "the training dataset (data.train)")
        return self.weight * (at_least_float32(image) - target).abs().mean()
