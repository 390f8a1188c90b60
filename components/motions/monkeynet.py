"""Monkey-Net's dense motion: each pixel combines the landmarks' shifts and corrects them."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.avgpool_hourglass import AvgpoolHourglass
from components.ops.gaussians import draw_gaussians, normalise
from components.ops.grid import Grid, at_least_float32, plane
from components.ops.warp import warp
from registry.contract import Landmarks, Motion, need
from registry.roles import MOTIONS


@MOTIONS.register_module("motions/monkeynet")
class MonkeyNet(nn.Module):
    """Combine the weighted shifts of all landmarks and a still background; add a free correction.

    Initially the background has most of the weight, and nothing depends on the position.

    Args:
        num_landmarks: K.
        stride: subsampling stride of the source; the sides of the image must be
            multiples of stride * 2^depth.
        width: block expansion of the hourglass; 32 in the official code.
        max_width: maximum channels of a level.
        depth: number of levels of the hourglass.
        group_blocks: grouped convolutions before it, one group per landmark.
        normaliser: number that drawn landmarks are divided by, or ``sum``: each by its sum.
        grid: coordinate convention; ``corners`` in the official code.
        align_corners: convention of the sampler.

    Shapes:
        source (B, 3, H, W), Landmarks of driving, Landmarks of source, both with cov
        -> Motion with grid (B, h, w, 2), weights (B, K + 1, h, w), drawn (B, K, h, w);
        h = H / stride
    Source: monkeynet eq 2; monkeynet eq 3; monkeynet eq 4; monkeynet sec 3.3
    Differs: the official code's leaky ReLU after a ReLU, which changes nothing, is left out
    """

    fills = ("weights", "drawn")

    def __init__(
        self,
        *,
        num_landmarks: int,
        stride: int = 1,
        width: int = 32,
        max_width: int = 1024,
        depth: int = 5,
        group_blocks: int = 2,
        normaliser: float | Literal["sum"] = 100.0,
        grid: Grid = "half_pixel",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.normaliser = stride, normaliser
        self.grid, self.align_corners = grid, align_corners
        count = num_landmarks + 1
        inputs = 4 * count  # for each, its map and the source moved by it
        blocks = [
            (nn.Conv2d(inputs, inputs, 1, groups=count), nn.BatchNorm2d(inputs), nn.ReLU())
            for _ in range(group_blocks)
        ]
        self.groups = nn.Sequential(*(nn.Sequential(*block) for block in blocks))
        self.hourglass = AvgpoolHourglass(
            inputs=inputs, width=width, max_width=max_width, depth=depth
        )
        self.head = nn.Conv2d(self.hourglass.channels, count + 2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        bias = cast(Tensor, self.head.bias)
        nn.init.zeros_(bias)
        nn.init.constant_(bias[:1], 2.0)  # the background first

    def forward(self, source: Tensor, landmarks: Landmarks, source_landmarks: Landmarks) -> Motion:
        small = source[..., :: self.stride, :: self.stride]
        height, width = small.shape[-2:]
        drawn = self._draw(landmarks, small) - self._draw(source_landmarks, small)
        shifts = F.pad(source_landmarks.xy - landmarks.xy, (0, 0, 1, 0))  # 0 for the background
        shifts = at_least_float32(shifts)[:, :, None, None]  # (B, K + 1, 1, 1, 2)
        still = plane(height, width, self.grid, shifts)
        # all moved copies in one tall image: the source itself is not copied
        moved = warp(small, (still + shifts).flatten(1, 2), align_corners=self.align_corners)
        moved = moved.unflatten(2, (-1, height))  # (B, 3, K + 1, h, w)
        shown = F.pad(drawn, (0, 0, 0, 0, 1, 0))[:, None]
        seen = torch.cat((shown, moved), dim=1).transpose(1, 2).flatten(1, 2)
        found = at_least_float32(self.head(self.hourglass(self.groups(seen))))
        weights = found[:, :-2].softmax(dim=1)
        relative = (weights[..., None] * shifts).sum(dim=1) + found[:, -2:].movedim(1, -1)
        return Motion(grid=still + relative, weights=weights, drawn=drawn)

    def _draw(self, landmarks: Landmarks, like: Tensor) -> Tensor:
        cov = 2 * need(landmarks, "cov", "a bottleneck such as bottlenecks/monkeynet")
        height, width = like.shape[-2:]
        maps = draw_gaussians(landmarks.xy, cov, height, width, "exponential", self.grid)
        return normalise(maps, self.normaliser)
