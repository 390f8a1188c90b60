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
    """The stem, then a decoder that upsamples with skip connections.

    Args:
        width: channels at full resolution; 32 in the paper.
        merge: join each skip through a 1x1 convolution without norm or bias (official code);
            False: only concatenate skips, with two convolutions at full resolution before the
            last (the paper's table).

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, 1, H, W); H and W divisible by 8
    Range:
        input [0, 1], mapped to [-1, 1] inside; output linear, trained towards the rasterizer's
        [-1, 1]
    Source: keypointgan eq 1; keypointgan fig 17
    Differs: as in the official code unless ``merge`` is False
    """

    out_channels = 1

    def __init__(self, *, width: int = 32, merge: bool = True) -> None:
        super().__init__()
        self.levels = stem_levels(3, width, "batch")
        wide = 8 * width
        self.neck = nn.Conv2d(wide, wide, 1, bias=False)
        self.merge, self.climb = nn.ModuleList(), nn.ModuleList()
        self.climb.append(nn.Sequential(*conv_norm_relu(wide, wide), *conv_norm_relu(wide, wide)))
        for c in (4 * width, 2 * width, width):
            self.merge.append(nn.Conv2d(3 * c, 2 * c, 1, bias=False) if merge else nn.Identity())
            layers = conv_norm_relu(2 * c if merge else 3 * c, c)
            if c > width or not merge:
                layers += conv_norm_relu(c, c)
            if c == width:
                layers.append(nn.Conv2d(width, 1, 3, padding=1))
            self.climb.append(nn.Sequential(*layers))
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
