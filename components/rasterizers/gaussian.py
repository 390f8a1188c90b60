"""One map per landmark, shaped by its covariance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.ops.gaussians import draw_gaussians
from components.ops.grid import Grid
from registry.contract import Landmarks
from registry.roles import RASTERIZERS


@RASTERIZERS.register_module("rasterizers/gaussian")
class Gaussian(nn.Module):
    """Landmarks to maps, 1 at each mean.

    Args:
        image_size: height and width of the maps.
        kernel: ``rational`` 1 / (1 + m) (factorized, Lorenz) or ``exponential`` exp(-m), m the
            squared Mahalanobis distance.
        variance: of landmarks without a covariance, in every direction.
        grid: convention of the maps' coordinates; ``left_edge`` in the official code.

    Shapes:
        Landmarks with xy (B, K, 2) and maybe cov (B, K, 2, 2) -> (B, K, H, W)
    Range:
        (0, 1]
    Source: factorized eq 2
    """

    def __init__(
        self,
        *,
        image_size: int,
        kernel: Literal["rational", "exponential"] = "rational",
        variance: float = 0.01,
        grid: Grid = "half_pixel",
    ) -> None:
        super().__init__()
        self.image_size, self.kernel = image_size, kernel
        self.variance, self.grid = variance, grid

    def forward(self, landmarks: Landmarks) -> Tensor:
        cov, size = landmarks.cov, self.image_size
        if cov is None:
            cov = self.variance * torch.eye(2).to(landmarks.xy).expand(*landmarks.xy.shape, 2)
        return draw_gaussians(landmarks.xy, cov, size, size, self.kernel, self.grid)
