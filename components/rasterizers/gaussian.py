"""One map per landmark, shaped by its covariance."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.ops.gaussians import draw_gaussians
from components.ops.grid import Grid
from registry.contract import Landmarks, need
from registry.roles import RASTERIZERS


@RASTERIZERS.register_module("rasterizers/gaussian")
class Gaussian(nn.Module):
    """Landmarks with covariances to maps, 1 at each mean.

    Args:
        image_size: height and width of the maps.
        kernel: ``rational`` 1 / (1 + m) (factorized, Lorenz) or ``exponential`` exp(-m), m the
            squared Mahalanobis distance.
        grid: convention of the maps' coordinates; ``left_edge`` in the official code.

    Shapes:
        Landmarks with xy (B, K, 2), cov (B, K, 2, 2) -> (B, K, H, W)
    Range:
        (0, 1]
    Source: factorized eq 2
    """

    def __init__(
        self,
        *,
        image_size: int,
        kernel: Literal["rational", "exponential"] = "rational",
        grid: Grid = "half_pixel",
    ) -> None:
        super().__init__()
        self.image_size, self.kernel, self.grid = image_size, kernel, grid

    def forward(self, landmarks: Landmarks) -> Tensor:
        cov = need(landmarks, "cov", "a bottleneck with covariances")
        size = self.image_size
        return draw_gaussians(landmarks.xy, cov, size, size, self.kernel, self.grid)
