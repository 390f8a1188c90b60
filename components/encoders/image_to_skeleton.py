"""KeypointGAN's image encoder Phi: an image to a picture of its skeleton, aligned with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.encoders.stem import stem_levels
from components.layers.blocks import conv_norm_relu, init_normal, upsample2
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/image_to_skeleton")
class ImageToSkeleton(nn.Module):
    """The stem, then a decoder that climbs back with skip connections.

    Args:
        width: channels at full resolution; 32 in the paper.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, 1, H, W); H and W divisible by 8
    Range:
        input [0, 1], mapped to [-1, 1] inside; output linear, trained towards the rasterizer's
        [-1, 1]
    Source: keypointgan eq 1; keypointgan fig 17
    Differs: as the official code, skips are merged by a 1x1 convolution without norm or bias, and
        the table's second 32-wide convolution at full size is not there
    """

    out_channels = 1

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        self.levels = stem_levels(3, width, "batch")
        wide = 8 * width
        self.neck = nn.Conv2d(wide, wide, 1, bias=False)
        self.merge, self.climb = nn.ModuleList(), nn.ModuleList()
        self.climb.append(nn.Sequential(*conv_norm_relu(wide, wide), *conv_norm_relu(wide, wide)))
        for c in (4 * width, 2 * width):
            self.merge.append(nn.Conv2d(3 * c, 2 * c, 1, bias=False))
            self.climb.append(nn.Sequential(*conv_norm_relu(2 * c, c), *conv_norm_relu(c, c)))
        self.merge.append(nn.Conv2d(3 * width, 2 * width, 1, bias=False))
        last = nn.Conv2d(width, 1, 3, padding=1)
        self.climb.append(nn.Sequential(*conv_norm_relu(2 * width, width), last))
        self.up = upsample2()
        init_normal(self)

    def forward(self, image: Tensor) -> Encoding:
        x, skips = 2 * image - 1, []
        for level in self.levels:
            x = level(x)
            skips.append(x)  # full, 1/2, 1/4, 1/8
        x = self.climb[0](self.neck(skips.pop()))
        for merge, climb in zip(self.merge, self.climb[1:]):
            x = climb(merge(torch.cat((self.up(x), skips.pop()), dim=1)))
        return Encoding(maps=x)
