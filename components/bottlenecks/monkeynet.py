"""Monkey-Net's bottleneck: each map becomes the Gaussian with its moments, never too thin."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.gaussians import moments, smaller_eigenvalue, spatial_softmax
from components.ops.grid import Grid
from components.ops.score import concentration
from registry.contract import Landmarks
from registry.roles import BOTTLENECKS

LIFT = 1e-7  # added to every cell of a map, so its sum is not exactly 1


@BOTTLENECKS.register_module("bottlenecks/monkeynet")
class MonkeyNet(nn.Module):
    """Softmax, then mean and covariance; a too thin covariance is scaled up as a whole.

    Args:
        temperature: softmax temperature.
        floor: minimum eigenvalue of a covariance.
        grid: coordinate convention of the map; ``corners`` in the official code.

    Shapes:
        maps (B, K, h, w) of logits -> Landmarks with xy, cov, score and prob (B, K, h, w)
    Range:
        eigenvalues of covariances are at least ``floor``; scores in (0, 1]: how much of a map
        lies in one place; not calibrated
    Source: monkeynet eq 1; monkeynet sec 3.1
    Differs: as in the official code, 1e-7 is added to the maps
    """

    fills = ("cov", "prob", "score")

    def __init__(
        self, *, temperature: float = 0.1, floor: float = 0.001, grid: Grid = "half_pixel"
    ) -> None:
        super().__init__()
        self.temperature, self.floor, self.grid = temperature, floor, grid

    def forward(self, maps: Tensor) -> Landmarks:
        prob = spatial_softmax(maps, self.temperature)
        xy, cov = moments(prob + LIFT, self.grid)
        # moments subtracts the squared mean once, as if the sum were 1
        excess = LIFT * prob.shape[-2] * prob.shape[-1]
        cov = cov + excess * xy[..., :, None] * xy[..., None, :]
        score = concentration(cov[..., 0, 0] + cov[..., 1, 1])
        least = smaller_eigenvalue(cov).clamp_min(1e-8)
        cov = cov * (least.clamp_min(self.floor) / least)[..., None, None]
        return Landmarks(xy=xy, cov=cov, score=score, prob=prob)
