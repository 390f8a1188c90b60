"""KeypointGAN's eta: reads keypoints from a picture of a skeleton."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import Grid
from components.ops.soft_argmax import separable_soft_argmax
from registry.contract import Landmarks
from registry.roles import BOTTLENECKS


@BOTTLENECKS.register_module("bottlenecks/skeleton_regressor")
class SkeletonRegressor(nn.Module):
    """Pose image to K maps to K points.

    Args:
        encoder: pose image (B, 1, H, W) to logits (B, K, h, w); ``encoders/stem`` in the paper.
        grid: convention of the map's coordinates; ``corners`` in the official code.

    Shapes:
        (B, 1, H, W) -> Landmarks with xy (B, K, 2)
    Range:
        input about [-1, 1]; output inside the map's outermost pixel centres
    Source: keypointgan eq 3; keypointgan fig 19; keypointgan sec F.2
    Differs: as the official code, one input channel and instance norm (the table prints three and
        batch norm); both are arguments of the encoder
    """

    def __init__(self, *, encoder: nn.Module, grid: Grid = "half_pixel") -> None:
        super().__init__()
        self.encoder = encoder
        self.grid = grid

    def forward(self, pose_image: Tensor) -> Landmarks:
        return Landmarks(xy=separable_soft_argmax(self.encoder(pose_image), self.grid))
