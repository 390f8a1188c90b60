"""The factorized model's appearance encoder: one vector per part, from maps and pose features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from components.layers.blocks import init_xavier
from components.layers.unet import AdditiveUNet
from components.ops.parts import pool_parts
from registry.contract import Encoding, Pose, need
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/part_appearance")
class PartAppearance(nn.Module):
    """U-Net of one level over the source's part maps and first pose features, pooled per part.

    Args:
        num_landmarks: K.
        features: channels of the pose encoder's first block.
        out_channels: D.
        first: width of the first block; 0 for twice the input channels.
        widths: of the decoder stages.
        reduction: ``mean`` over the map (official code) or ``sum`` (paper).

    Shapes:
        image (B, 3, H, W), its Pose -> Encoding with codes (B, K, D)
    Source: factorized eq 1; factorized eq 4
    Differs: as the official code, it never sees pixels
    """

    fills = ("codes",)
    needs_pose = True

    def __init__(
        self,
        *,
        num_landmarks: int,
        features: int = 24,
        out_channels: int = 32,
        first: int = 0,
        widths: Sequence[int] = (64,),
        reduction: Literal["sum", "mean"] = "mean",
    ) -> None:
        super().__init__()
        inputs = num_landmarks + features
        self.net = AdditiveUNet(
            inputs=inputs, first=first, downs=1, widths=widths, outputs=out_channels
        )
        self.reduction = reduction
        init_xavier(self)

    def forward(self, image: Tensor, pose: Pose) -> Encoding:
        prob = need(pose.landmarks, "prob", "a bottleneck that reads maps")
        features = need(pose.encoding, "features", "encoders/unet")
        appearance, _ = self.net(torch.cat((prob.to(features.dtype), features), dim=1))
        return Encoding(codes=pool_parts(prob, appearance, self.reduction))
