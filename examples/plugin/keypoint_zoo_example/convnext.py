"""ConvNeXt blocks at one resolution, for images and for drawn poses."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from registry import ENCODERS
from registry.contract import Encoding


class Block(nn.Module):
    """Mix neighbours per channel, then channels per pixel, and add the result to the input.

    Shapes:
        (B, width, h, w) -> the same
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.spread(x).permute(0, 2, 3, 1))
        return x + mixed.permute(0, 3, 1, 2)


@ENCODERS.register_module("encoders/example/convnext")
class ConvNext(nn.Module):
    """ConvNeXt blocks on the patches of an image or of a pose image.

    Args:
        takes: ``image``, three channels in [0, 1], mapped to [-1, 1] inside; or ``pose_image``, one
            channel in [-1, 1].
        out_channels: channels of the map.
        width: channels of every block.
        depth: number of blocks; each extends the view by three patches in every direction.
        patch: side of a patch in pixels.

    Shapes:
        (B, 3 or 1, H, W) -> Encoding with maps (B, out_channels, H/patch, W/patch)
    Range:
        output linear
    Source: convnext fig 4
    Differs: one resolution instead of four; no layer scale, no stochastic depth
    """

    def __init__(
        self,
        *,
        takes: Literal["image", "pose_image"] = "image",
        out_channels: int,
        width: int = 32,
        depth: int = 4,
        patch: int = 2,
    ) -> None:
        super().__init__()
        self.in_channels = 3 if takes == "image" else 1
        self.out_channels = out_channels
        self.patches = nn.Conv2d(self.in_channels, width, patch, patch)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, image: Tensor) -> Encoding:
        x = 2 * image - 1 if self.in_channels == 3 else image
        return Encoding(maps=self.head(self.blocks(self.patches(x))))
