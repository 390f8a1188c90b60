"""The first order motion model's bottleneck: a point and a local affine map per landmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from components.ops.gaussians import moments, spatial_softmax
from components.ops.grid import Grid, at_least_float32
from components.ops.score import concentration
from registry.contract import Landmarks
from registry.roles import BOTTLENECKS

if TYPE_CHECKING:
    from registry.testing.examples import Example


@BOTTLENECKS.register_module("bottlenecks/affine")
class Affine(nn.Module):
    """Softmax of the logits, then the means of the coordinates and of the matrices under it.

    Args:
        num_landmarks: K.
        temperature: softmax temperature.
        grid: coordinate convention of the map; ``corners`` in the official code.

    Shapes:
        (B, 5 K, h, w) or (B, K + 4, h, w), K logits then one matrix per landmark or one for all
        -> Landmarks with xy, affine, score and prob (B, K, h, w); (B, K, h, w) -> without affine
    Range:
        scores in (0, 1]: how much of a map lies in one place; not calibrated
    Source: fomm sec 3.1; fomm sec B
    """

    fills = ("affine", "prob", "score")

    def __init__(
        self, *, num_landmarks: int, temperature: float = 0.1, grid: Grid = "half_pixel"
    ) -> None:
        super().__init__()
        self.num_landmarks, self.temperature, self.grid = num_landmarks, temperature, grid

    def forward(self, maps: Tensor) -> Landmarks:
        logits, entries = maps[:, : self.num_landmarks], maps[:, self.num_landmarks :]
        prob = spatial_softmax(logits, self.temperature)
        xy, cov = moments(prob, self.grid)
        score = concentration(cov[..., 0, 0] + cov[..., 1, 1])
        if not entries.shape[1]:
            return Landmarks(xy=xy, score=score, prob=prob)
        matrices = at_least_float32(entries).unflatten(1, (-1, 2, 2))  # (B, K or 1, 2, 2, h, w)
        affine = (prob[:, :, None, None] * matrices).sum(dim=(-2, -1))
        return Landmarks(xy=xy, affine=affine, score=score, prob=prob)

    def example(self, make: Example) -> tuple[Tensor, ...]:
        return (make.maps(5 * self.num_landmarks),)
