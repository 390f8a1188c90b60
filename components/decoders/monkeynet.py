"""Monkey-Net's generator: a U-Net whose skip connections are all moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.avgpool_hourglass import AvgpoolHourglass, Residual
from components.ops.grid import at_least_float32
from components.ops.warp import warp
from registry.contract import Motion, need
from registry.roles import DECODERS


@DECODERS.register_module("decoders/monkeynet")
class MonkeyNet(nn.Module):
    """The encoder sees the source, the decoder its moved features and how landmarks moved.

    Args:
        num_landmarks: K.
        width: block expansion of the U-Net; 32 in the official code.
        max_width: maximum channels of a level.
        depth: number of levels; the sides of the image must be multiples of 2^depth.
        blocks: residual blocks after the U-Net.
        resize: how motion and drawn landmarks are resized to a level; ``bilinear`` in the
            official VoxCeleb configuration.
        align_corners: convention of the sampler.

    Shapes:
        source (B, 3, H, W), Motion with grid (B, h, w, 2) and drawn (B, K, h, w) -> (B, 3, H, W)
    Range:
        [0, 1]
    Source: monkeynet fig 3; monkeynet sec 3.2
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        width: int = 32,
        max_width: int = 1024,
        depth: int = 5,
        blocks: int = 4,
        resize: Literal["nearest", "bilinear"] = "nearest",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.resize, self.align_corners = resize, align_corners
        self.unet = AvgpoolHourglass(
            inputs=3, width=width, max_width=max_width, depth=depth, extra=num_landmarks
        )
        channels = self.unet.channels
        self.refine = nn.Sequential(*(Residual(channels) for _ in range(blocks)))
        self.last = nn.Conv2d(channels, 3, 1)

    def forward(self, source: Tensor, motion: Motion) -> Tensor:
        return self.decode(self.encode(source), motion)

    def encode(self, source: Tensor) -> list[Tensor]:
        """Return the features to move, the source itself first.

        Shapes:
            (B, 3, H, W) -> 1 + depth of (B, C, H / 2^i, W / 2^i)
        """
        return self.unet.down(source)

    def decode(self, features: Sequence[Tensor], motion: Motion) -> Tensor:
        """Return the image decoded from moved features.

        Shapes:
            1 + depth of (B, C, H / 2^i, W / 2^i), Motion -> (B, 3, H, W)
        """
        drawn = need(motion, "drawn", "the motion (motions/monkeynet)")
        skips = [
            torch.cat((self.deform(level, motion), self._resized(drawn, level)), dim=1)
            for level in features
        ]
        x = self.last(self.refine(self.unet.up(skips)))
        return at_least_float32(x).sigmoid()

    def deform(self, source: Tensor, motion: Motion) -> Tensor:
        """Return an image or a map, moved but not repainted.

        Shapes:
            (B, C, i, j), Motion -> (B, C, i, j)
        """
        grid = self._resized(motion.grid.movedim(-1, 1), source).movedim(1, -1)
        return warp(source, grid, align_corners=self.align_corners)

    def _resized(self, image: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(image, size=like.shape[-2:], mode=self.resize)
