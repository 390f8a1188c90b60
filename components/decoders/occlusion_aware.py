"""The first order motion model's generator: moves, masks and repairs features of the source."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.avgpool_hourglass import Down, Residual, Up
from components.ops.grid import at_least_float32
from components.ops.warp import warp
from registry.contract import Motion, need
from registry.roles import DECODERS


@DECODERS.register_module("decoders/occlusion_aware")
class OcclusionAware(nn.Module):
    """Two levels down, features moved and masked where the source is occluded, blocks, two up.

    Args:
        width: channels at image size, doubled at each level down.
        max_width: maximum channels of a level.
        downs: number of levels; the sides of the image must be multiples of 2^downs.
        blocks: residual blocks on the moved features.
        align_corners: convention of the sampler.
        blend: use the moved source itself where it is visible, and let the network paint only the
            rest; a short training can then concentrate on motion.

    Shapes:
        source (B, 3, H, W), Motion with grid (B, h, w, 2), visibility (B, 1, h, w) or None
        -> (B, 3, H, W)
    Range:
        [0, 1]
    Source: fomm eq 8; fomm eq 9; fomm sec 3.2; fomm sec B
    Differs: ``blend`` is ours; the official network paints every pixel
    """

    def __init__(
        self,
        *,
        width: int = 64,
        max_width: int = 512,
        downs: int = 2,
        blocks: int = 6,
        align_corners: bool = False,
        blend: bool = False,
    ) -> None:
        super().__init__()
        widths = [min(max_width, width * 2**i) for i in range(downs + 1)]
        self.first = nn.Conv2d(3, width, 7, padding=3)
        self.norm = nn.BatchNorm2d(width)
        self.downs = nn.ModuleList(Down(a, b) for a, b in pairwise(widths))
        self.blocks = nn.Sequential(*(Residual(widths[-1]) for _ in range(blocks)))
        self.ups = nn.Sequential(*(Up(a, b) for a, b in pairwise(widths[::-1])))
        self.last = nn.Conv2d(width, 3, 7, padding=3)
        self.align_corners, self.blend = align_corners, blend

    def forward(self, source: Tensor, motion: Motion) -> Tensor:
        return self.decode(self.encode(source), motion)

    def encode(self, source: Tensor) -> list[Tensor]:
        """Return what is moved: features, and the image itself if ``blend``.

        Shapes:
            (B, 3, H, W) -> (B, C, H / 2^downs, W / 2^downs), maybe (B, 3, H, W)
        """
        x = F.relu(self.norm(self.first(source)))
        for down in self.downs:
            x = down(x)
        return [x, source] if self.blend else [x]

    def decode(self, features: list[Tensor], motion: Motion) -> Tensor:
        """Return the image decoded from moved features.

        Shapes:
            result of ``encode``, Motion -> (B, 3, H, W)
        """
        x = self.deform(features[0], motion)
        if motion.visibility is not None:
            x = x * _resize(motion.visibility, x)
        x = self.last(self.ups(self.blocks(x)))
        painted = at_least_float32(x).sigmoid()
        if not self.blend:
            return painted
        visibility = need(motion, "visibility", "motions/dense_motion with occlusion=True")
        shown = _resize(visibility, painted)
        return shown * self.deform(features[1], motion) + (1 - shown) * painted

    def deform(self, source: Tensor, motion: Motion) -> Tensor:
        """Return an image or a map, moved but not repainted.

        Shapes:
            (B, C, i, j), Motion -> (B, C, i, j)
        Source: lee eq 4
        """
        grid = _resize(motion.grid.permute(0, 3, 1, 2), source).permute(0, 2, 3, 1)
        return warp(source, grid, align_corners=self.align_corners)


def _resize(image: Tensor, like: Tensor) -> Tensor:
    """Resize ``image`` to the size of ``like``."""
    size = like.shape[-2:]
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
