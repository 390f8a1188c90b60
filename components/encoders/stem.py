"""The trunk of IMM and KeypointGAN: four levels, each halving the map and doubling the channels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.layers.blocks import Norm, conv_norm_relu, init_normal
from registry.contract import Encoding
from registry.roles import ENCODERS


def stem_levels(inputs: int, width: int, norm: Norm) -> nn.ModuleList:
    """Return the four levels: conv7 + conv3 at full size, then three times (conv3 stride 2, conv3).

    Shapes:
        (B, inputs, H, W) -> widths w, 2w, 4w, 8w at H, H/2, H/4, H/8
    """
    levels = [
        [
            *conv_norm_relu(inputs, width, kernel=7, norm=norm),
            *conv_norm_relu(width, width, norm=norm),
        ]
    ]
    for i in range(3):
        c = width * 2**i
        down = conv_norm_relu(c, 2 * c, stride=2, norm=norm)
        levels.append([*down, *conv_norm_relu(2 * c, 2 * c, norm=norm)])
    return nn.ModuleList(nn.Sequential(*level) for level in levels)


@ENCODERS.register_module("encoders/stem")
class Stem(nn.Module):
    """Image (or pose image) to a map at an eighth of its size.

    Args:
        takes: ``image``, three channels in [0, 1], mapped to [-1, 1] inside; or ``pose_image``, one
            channel in [-1, 1].
        out_channels: channels of the map; 8 * width in the papers.
        width: channels of the first level; 32 in the papers.
        norm: normalisation of every convolution but the last.

    Shapes:
        (B, 3 or 1, H, W) -> Encoding with maps (B, out_channels, H/8, W/8)
    Range:
        output linear
    Source: keypointgan fig 18; keypointgan fig 19; imm sec 3
    Differs: none
    """

    def __init__(
        self,
        *,
        takes: Literal["image", "pose_image"] = "image",
        out_channels: int = 256,
        width: int = 32,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.in_channels = 3 if takes == "image" else 1
        self.out_channels = out_channels
        self.levels = stem_levels(self.in_channels, width, norm)
        self.head = nn.Conv2d(8 * width, out_channels, 1, bias=norm != "batch")
        init_normal(self)

    def forward(self, image: Tensor) -> Encoding:
        x = 2 * image - 1 if self.in_channels == 3 else image
        for level in self.levels:
            x = level(x)
        return Encoding(maps=self.head(x))
