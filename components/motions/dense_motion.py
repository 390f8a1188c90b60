"""The first order motion model's dense motion: local affine motions and their pixel weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.avgpool_hourglass import AvgpoolHourglass
from components.ops.affine import inverse, product
from components.ops.antialias import reduce
from components.ops.gaussians import circular, draw_gaussians
from components.ops.grid import Grid, at_least_float32, axis, plane
from components.ops.warp import warp
from registry.contract import Landmarks, Motion
from registry.roles import MOTIONS


@MOTIONS.register_module("motions/dense_motion")
class DenseMotion(nn.Module):
    """Combine the motions of all landmarks and of a still background with an hourglass's weights.

    Args:
        num_landmarks: K.
        stride: image reduction factor; the sides of the image must be multiples of stride *
            2^depth.
        width: block expansion of the hourglass; 64 in the official code.
        max_width: maximum channels of a level.
        depth: number of levels of the hourglass.
        variance: variance of the drawn landmarks.
        occlusion: also predict which pixels are occluded in the source.
        grid: coordinate convention; ``corners`` in the official code.
        align_corners: convention of the sampler.

    Shapes:
        source (B, 3, H, W), Landmarks of driving, Landmarks of source
        -> Motion with grid (B, h, w, 2), weights (B, K + 1, h, w), visibility (B, 1, h, w) or
        None, drawn (B, K, h, w); h = H / stride
    Source: fomm eq 4; fomm eq 6; fomm eq 7; fomm sec 3.2; fomm sec B
    """

    fills = ("weights", "visibility", "drawn")

    def __init__(
        self,
        *,
        num_landmarks: int,
        stride: int = 4,
        width: int = 64,
        max_width: int = 1024,
        depth: int = 5,
        variance: float = 0.01,
        occlusion: bool = True,
        grid: Grid = "half_pixel",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.variance = stride, variance
        self.grid, self.align_corners = grid, align_corners
        self.hourglass = AvgpoolHourglass(
            inputs=4 * (num_landmarks + 1), width=width, max_width=max_width, depth=depth
        )
        self.mask = nn.Conv2d(self.hourglass.channels, num_landmarks + 1, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.channels, 1, 7, padding=3) if occlusion else None

    def forward(self, source: Tensor, landmarks: Landmarks, source_landmarks: Landmarks) -> Motion:
        small = reduce(source, self.stride)
        height, width = small.shape[-2:]
        drawn = self._draw(landmarks, small) - self._draw(source_landmarks, small)
        motions = local_motions(landmarks, source_landmarks, height, width, self.grid)
        # all moved copies in one tall image: the source itself is not copied
        moved = warp(small, motions.flatten(1, 2), align_corners=self.align_corners)
        moved = moved.unflatten(2, (-1, height))  # (B, 3, K + 1, h, w)
        shown = F.pad(drawn, (0, 0, 0, 0, 1, 0))  # nothing for the background
        seen = torch.cat((shown[:, None], moved), dim=1).transpose(1, 2)
        features = self.hourglass(seen.flatten(1, 2))
        weights = at_least_float32(self.mask(features)).softmax(dim=1)
        return Motion(
            grid=(weights[..., None] * motions).sum(dim=1),
            weights=weights,
            visibility=None
            if self.occlusion is None
            else at_least_float32(self.occlusion(features)).sigmoid(),
            drawn=drawn,
        )

    def _draw(self, landmarks: Landmarks, like: Tensor) -> Tensor:
        spread = circular(landmarks.xy, 2 * self.variance)
        height, width = like.shape[-2:]
        return draw_gaussians(landmarks.xy, spread, height, width, "exponential", self.grid)


def local_motions(
    landmarks: Landmarks, source_landmarks: Landmarks, height: int, width: int, grid: Grid
) -> Tensor:
    """Return where each pixel comes from: without motion, then with each landmark's motion.

    T_k(z) = p_k^S + J_k^S (J_k^D)^-1 (z - p_k^D), D driving, S source; without affine maps a shift.

    Shapes:
        -> (B, K + 1, height, width, 2)
    Source: fomm eq 4; lee eq 1; lee eq 2; lee eq 3
    Differs: Lee et al. print the inverse in equation 1 as an index, and the whole product of
        equation 2 in place of J_k in equation 3
    """
    xy, source_xy = at_least_float32(landmarks.xy), at_least_float32(source_landmarks.xy)
    dx = axis(width, grid, xy) - xy[..., 0, None, None]  # (B, K, 1, w)
    dy = axis(height, grid, xy)[:, None] - xy[..., 1, None, None]  # (B, K, h, 1)
    if landmarks.affine is None or source_landmarks.affine is None:
        offsets = torch.stack(torch.broadcast_tensors(dx, dy), dim=-1)
    else:
        m = product(source_landmarks.affine, inverse(landmarks.affine))[..., None, None]
        rows = [m[:, :, i, 0] * dx + m[:, :, i, 1] * dy for i in (0, 1)]
        offsets = torch.stack(rows, dim=-1)
    moved = source_xy[:, :, None, None] + offsets
    still = plane(height, width, grid, xy).expand(xy.shape[0], 1, -1, -1, -1)
    return torch.cat((still, moved), dim=1)
