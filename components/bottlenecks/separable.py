"""IMM's bottleneck: each map becomes one point, each axis read on its own."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import Grid
from components.ops.score import concentration
from components.ops.soft_argmax import separable_moments
from registry.contract import Landmarks
from registry.roles import BOTTLENECKS


@BOTTLENECKS.register_module("bottlenecks/separable")
class Separable(nn.Module):
    """Mean over the other axis, softmax, expectation.

    Args:
        grid: coordinate convention of the map; ``corners`` in the official code.

    Shapes:
        maps (B, K, h, w) of logits -> Landmarks with xy (B, K, 2) and score
    Range:
        inside the map's outermost pixel centres; scores in (0, 1]: how much of the two
        softmaxes lies in one place; not calibrated
    Source: imm eq 3
    Differs: order (x, y); the official code has (y, x)
    """

    fills = ("score",)

    def __init__(self, *, grid: Grid = "half_pixel") -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor) -> Landmarks:
        xy, variance = separable_moments(maps, self.grid)
        return Landmarks(xy=xy, score=concentration(variance))
