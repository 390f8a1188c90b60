"""Lorenz et al.'s decoder: part maps at every scale, appearance at the three coarsest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.hourglass import init_xavier_normal
from components.ops.parts import spread_parts
from registry.contract import Appearance, need
from registry.roles import DECODERS


@DECODERS.register_module("decoders/multiscale_parts")
class MultiscaleParts(nn.Module):
    """Start from the coarsest encoding, double the map per stage and join the next encoding.

    The coarsest scale (4 x 4) has the maps of parts 0, 1 and their appearance; the next the maps of
    parts 0 to 3 and the appearance of 2, 3; the third all maps and the appearance of the other
    parts; finer scales only the maps. Every appearance vector thus enters at exactly one scale.

    Args:
        num_landmarks: K, at least 4.
        appearance_channels: D of the part vectors.
        widths: widths of each stage's convolution and transposed convolution, coarse to fine; one
            stage per doubling: five lead from 4 x 4 to 128 x 128.

    Shapes:
        drawn (B, K, H, W), appearance.codes (B, K, D) -> (B, 3, H, W)
    Range:
        drawn (0, 1]; output [0, 1] by a sigmoid
    Source: lorenz sec 3; lorenz sec 4
    Differs: a scale's maps are the full ones interpolated at its pixel centres; the official code
        redraws each on a corner-aligned grid. As in the paper, appearance spreads over the given
        maps, shaped by the covariance; the official code always spreads it over circles
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        appearance_channels: int = 64,
        widths: Sequence[Sequence[int]] = (
            *((512, 512), (512, 256), (256, 256), (256, 128), (128, 64)),
        ),
    ) -> None:
        super().__init__()
        if num_landmarks < 4:
            raise ValueError(
                f"decoders/multiscale_parts: num_landmarks must be at least 4, not {num_landmarks}."
            )
        k, d = num_landmarks, appearance_channels
        # number of part maps, and parts whose appearance is spread, coarsest scale first
        self.maps = (2, 4, *(k,) * (len(widths) - 1))
        self.spread = ((0, 2), (2, 4), (4, k))
        sizes = [n + d * (i < 3) for i, n in enumerate(self.maps)]  # channels of the encodings
        inputs = sizes[0]
        self.stages = nn.ModuleList()
        for (a, b), size in zip(widths, sizes[1:]):
            layers = [
                nn.ZeroPad2d((1, 2, 1, 2)),
                nn.Conv2d(inputs, a, 4, bias=False),
                *(nn.BatchNorm2d(a, momentum=0.01, eps=1e-3), nn.ReLU()),
                *(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.ReLU()),
            ]
            self.stages.append(nn.Sequential(*layers))
            inputs = b + size
        self.last = nn.Sequential(nn.ZeroPad2d((2, 3, 2, 3)), nn.Conv2d(inputs, 3, 6))
        init_xavier_normal(self)

    def forward(self, drawn: Tensor, appearance: Appearance) -> Tensor:
        codes = need(appearance, "codes", "an encoder of part appearance")
        x = self._encoding(drawn, codes, 0)
        for scale, stage in enumerate(self.stages, start=1):
            encoding = self._encoding(drawn, codes, scale)
            height, width = encoding.shape[-2:]  # half of the next scale's, rounded up
            x = torch.cat((stage(x)[..., :height, :width], encoding), dim=1)
        return self.last(x).sigmoid()

    def _encoding(self, drawn: Tensor, codes: Tensor, scale: int) -> Tensor:
        step = 2 ** (len(self.stages) - scale)
        size = [-(-side // step) for side in drawn.shape[-2:]]
        maps = F.interpolate(drawn, size=size, mode="bilinear", align_corners=False)
        shown = maps[:, : self.maps[scale]]
        if scale >= len(self.spread):
            return shown
        first, end = self.spread[scale]
        return torch.cat((shown, spread_parts(codes[:, first:end], maps[:, first:end])), dim=1)
