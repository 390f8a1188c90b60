"""The factorized model's bottleneck: each map becomes the Gaussian with its moments."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from components.ops.gaussians import moments, positive_definite, spatial_softmax
from components.ops.grid import Grid
from components.ops.score import concentration
from registry.contract import Landmarks
from registry.roles import BOTTLENECKS


@BOTTLENECKS.register_module("bottlenecks/gaussian")
class Gaussian(nn.Module):
    """Softmax, then mean and covariance.

    Args:
        covariance: ``fitted`` to the map, ``fixed`` to ``variance``, or ``circular``: the mean
            variance of the fitted one in every direction.
        variance: of the fixed covariance; 0.008 in the official BBC configuration.
        temperature: of the softmax.
        grid: convention of the map's coordinates; ``left_edge`` in the official code.

    Shapes:
        maps (B, K, h, w) of logits -> Landmarks with xy, cov, score and prob (B, K, h, w)
    Range:
        covariances are positive definite for any input: eigenvalues are at least 1e-6;
        scores in (0, 1]: how much of a map, not of its Gaussian, lies in one place; not calibrated
    Source: factorized sec 3; factorized sec 4.1
    Differs: a stable softmax, and the floor on eigenvalues; the official code overflows and can
        return singular matrices
    """

    fills = ("cov", "prob", "score")

    def __init__(
        self,
        *,
        covariance: Literal["fitted", "fixed", "circular"] = "fitted",
        variance: float = 0.008,
        temperature: float = 1.0,
        grid: Grid = "half_pixel",
    ) -> None:
        super().__init__()
        self.covariance, self.variance = covariance, variance
        self.temperature, self.grid = temperature, grid

    def forward(self, maps: Tensor) -> Landmarks:
        prob = spatial_softmax(maps, self.temperature)
        xy, cov = moments(prob, self.grid)
        score = concentration(cov[..., 0, 0] + cov[..., 1, 1])
        if self.covariance != "fitted":
            eye = torch.eye(2, dtype=cov.dtype, device=cov.device).expand_as(cov)
            spread = cov.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
            cov = eye * (self.variance if self.covariance == "fixed" else spread)
        return Landmarks(xy=xy, cov=positive_definite(cov), score=score, prob=prob)
