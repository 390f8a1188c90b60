"""KeypointGAN's beta: draws the skeleton of a set of keypoints, differentiably."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from components.ops.grid import Grid
from components.ops.segments import nearest_squared_distance, squared_distances
from registry.contract import Landmarks
from registry.roles import RASTERIZERS


@RASTERIZERS.register_module("rasterizers/skeleton")
class Skeleton(nn.Module):
    """Draw keypoints as one picture of their limbs, brightest on the limb.

    Args:
        edges: limbs, pairs of landmark numbers; (k, k) draws point k alone.
        image_size: height and width of the picture.
        sigma: fall-off; a limb's value is exp(-d^2 / sigma^2), or exp(-d / sigma^2) if not squared.
        squared: use the squared distance (paper) or the distance (official code).
        reduction: how limbs are combined; ``max`` is exact, with memory independent of the edges.
        grid: coordinate convention of the picture; ``corners`` in the official code.

    Shapes:
        Landmarks with xy (B, K, 2) -> (B, 1, H, W)
    Range:
        [-1, 1] for max, mean and softmax; ``sum`` may exceed 1
    Source: keypointgan eq 2
    Differs: ``squared=False`` is the official code's distance (the default, since published numbers
        and regressors come from it)
    """

    blank = -1.0

    def __init__(
        self,
        *,
        edges: Sequence[Sequence[int]],
        image_size: int,
        sigma: float = 0.2,
        squared: bool = False,
        reduction: Literal["max", "mean", "sum", "softmax"] = "max",
        grid: Grid = "half_pixel",
    ) -> None:
        super().__init__()
        if not edges:
            raise ValueError("edges is empty; set at least one limb, for example edges=((0, 1),).")
        self.limbs = [tuple(edge) for edge in edges]
        self.image_size = image_size
        self.sigma = sigma
        self.squared = squared
        self.reduction = reduction
        self.grid = grid

    def forward(self, landmarks: Landmarks) -> Tensor:
        size, xy = self.image_size, landmarks.xy
        if max(map(max, self.limbs)) >= xy.shape[1]:
            raise ValueError(
                f"edges name landmark {max(map(max, self.limbs))}, but there are only "
                f"{xy.shape[1]} landmarks."
            )
        if self.reduction == "max":
            near = nearest_squared_distance(xy, self.limbs, size, size, self.grid)
            value = self._profile(near)[:, None]
        else:
            limbs = self._profile(squared_distances(xy, self.limbs, size, size, self.grid))
            if self.reduction == "softmax":
                value = (limbs.softmax(dim=1) * limbs).sum(dim=1, keepdim=True)
            else:
                value = getattr(torch, self.reduction)(limbs, dim=1, keepdim=True)
        return 2 * value - 1

    def edges(self) -> Tensor:
        """Return 1 for each drawn limb (N, N), with N one more than the highest landmark."""
        count = 1 + max(map(max, self.limbs))
        strengths = torch.zeros(count, count)
        a, b = zip(*self.limbs)
        strengths[a, b] = strengths[b, a] = 1
        return strengths

    def _profile(self, d2: Tensor) -> Tensor:
        distance = d2 if self.squared else (d2 + 1e-6).sqrt()
        return torch.exp(-distance / self.sigma**2)
