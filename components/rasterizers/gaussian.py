"""One map per landmark, shaped by its covariance."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.ops.gaussians import circular, draw_gaussians, normalise
from components.ops.grid import Grid
from registry.contract import Landmarks
from registry.roles import RASTERIZERS


@RASTERIZERS.register_module("rasterizers/gaussian")
class Gaussian(nn.Module):
    """Draw landmarks as maps with value 1 at each mean.

    Args:
        image_size: height and width of the image.
        stride: reduction factor of the maps; 8 in IMM.
        kernel: ``rational`` 1 / (1 + m) (factorized, Lorenz) or ``exponential`` exp(-m), with m the
            squared Mahalanobis distance.
        variance: variance of landmarks without a covariance, in every direction.
        scale: factor on the covariance; 1 / 0.64 in Lorenz et al., 2 in Monkey-Net.
        grid: coordinate convention of the maps; ``left_edge`` in the official code.
        normaliser: number that maps are divided by, or ``sum``: each by its sum; 100 or ``sum`` in
            Monkey-Net.

    Shapes:
        Landmarks with xy (B, K, 2) and maybe cov (B, K, 2, 2) -> (B, K, h, w), h = H / stride
    Range:
        (0, 1], divided by the normaliser
    Source: factorized eq 2; lorenz sec 3; imm eq 4; monkeynet eq 2
    """

    def __init__(
        self,
        *,
        image_size: int,
        stride: int = 1,
        kernel: Literal["rational", "exponential"] = "rational",
        variance: float = 0.01,
        scale: float = 1.0,
        grid: Grid = "half_pixel",
        normaliser: float | Literal["sum"] = 1.0,
    ) -> None:
        super().__init__()
        self.size, self.kernel = image_size // stride, kernel
        self.variance, self.scale, self.grid = variance, scale, grid
        self.normaliser = normaliser

    def forward(self, landmarks: Landmarks) -> Tensor:
        cov, size = landmarks.cov, self.size
        if cov is None:
            cov = circular(landmarks.xy, self.variance)
        drawn = draw_gaussians(landmarks.xy, self.scale * cov, size, size, self.kernel, self.grid)
        return normalise(drawn, self.normaliser)
