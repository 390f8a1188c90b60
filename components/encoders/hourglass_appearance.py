"""Lorenz et al.'s appearance encoder: one vector per part, from the trunk and the part maps."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.hourglass import hourglass_head, init_xavier_normal
from components.ops.parts import pool_parts
from registry.contract import Encoding, Pose, need
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/hourglass_appearance")
class HourglassAppearance(nn.Module):
    """Part maps added to the pose encoder's trunk, a feature hourglass with two poolings, pooling.

    Args:
        num_landmarks: K.
        features: channels of the pose encoder's trunk and of this network.
        out_channels: D.

    Shapes:
        image (B, 3, H, W), its Pose -> Encoding with codes (B, K, D)
    Source: lorenz sec 3; lorenz sec 4
    """

    fills = ("codes",)
    needs_pose = True

    def __init__(self, *, num_landmarks: int, features: int = 256, out_channels: int = 64) -> None:
        super().__init__()
        self.merge = nn.Conv2d(num_landmarks, features, 1, bias=False)
        head = nn.Conv2d(features, out_channels, 1, bias=False)
        self.net = nn.Sequential(*hourglass_head(features, depth=1), head)
        init_xavier_normal(self)

    def forward(self, image: Tensor, pose: Pose) -> Encoding:
        prob = need(pose.landmarks, "prob", "a bottleneck that reads maps")
        trunk = need(pose.encoding, "features", "encoders/residual_hourglass")
        found = self.net(trunk + self.merge(prob.to(trunk.dtype)))
        return Encoding(codes=pool_parts(prob, found, "sum"))
