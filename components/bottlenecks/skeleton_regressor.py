"""KeypointGAN's eta: reads keypoints from a picture of a skeleton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from components.ops.grid import Grid
from components.ops.soft_argmax import separable_soft_argmax, soft_argmax
from registry.contract import Landmarks, need
from registry.protocols import Encoder
from registry.roles import BOTTLENECKS

if TYPE_CHECKING:
    from registry.testing.examples import Example


@BOTTLENECKS.register_module("bottlenecks/skeleton_regressor")
class SkeletonRegressor(nn.Module):
    """Pose image to K maps to K points.

    Args:
        encoder: pose image (B, 1, H, W) to logits (B, K, h, w); ``encoders/stem`` in the paper.
        grid: coordinate convention of the map; ``corners`` in the official code.
        softmax: how a map becomes a distribution: one softmax per axis of the mean over the other
            (``separable``, official code) or one over the whole map (``spatial``, paper).

    Shapes:
        maps (B, 1, H, W), a pose image -> Landmarks with xy (B, K, 2), without score:
        the spread of its maps was found not to predict errors, so pipelines/reconstruction
        compares pictures instead
    Range:
        input about [-1, 1]; output inside the map's outermost pixel centres
    Source: keypointgan eq 3; keypointgan fig 19; keypointgan sec F.2
    Differs: as in the official code, one input channel and instance norm (the table prints three
        and batch norm); both are arguments of the encoder
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        grid: Grid = "half_pixel",
        softmax: Literal["separable", "spatial"] = "separable",
    ) -> None:
        super().__init__()
        if encoder.in_channels != 1:
            raise ValueError(
                "the encoder must read a one-channel pose image; pass takes='pose_image' to "
                "encoders/stem."
            )
        self.encoder = encoder
        self.grid = grid
        self.read = soft_argmax if softmax == "spatial" else separable_soft_argmax

    def forward(self, maps: Tensor) -> Landmarks:
        logits = need(self.encoder(maps), "maps")
        return Landmarks(xy=self.read(logits, self.grid))

    def example(self, make: Example) -> tuple[Tensor, ...]:
        return (make.maps(1, stride=1),)
