"""The factorized model's appearance encoder: one vector per part, from maps and pose features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import init_xavier
from components.layers.plain_unet import PlainUNet
from components.layers.unet import AdditiveUNet
from components.ops.parts import pool_parts
from registry.contract import Encoding, Pose, need
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/part_appearance")
class PartAppearance(nn.Module):
    """One-level U-Net over the source's part maps and pose features or pixels, pooled per part.

    Args:
        num_landmarks: K.
        features: channels of the pose encoder's first block, an input in addition to the maps; 0
            replaces them by the image, averaged to the size of the maps, as in the paper.
        out_channels: D.
        first: width of the first block; 0 for twice the input channels.
        widths: widths of the decoder stages.
        downs: width of the downsampling module, for the U-Net of the paper's text; None for that
            of the official code, set by ``first``.
        reduction: ``mean`` over the map (official code) or ``sum`` (paper).

    Shapes:
        image (B, 3, H, W), its Pose -> Encoding with codes (B, K, D)
    Source: factorized eq 1; factorized eq 4
    Differs: as in the official code, it never sees pixels unless ``features`` is 0
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
        downs: Sequence[int] | None = None,
        reduction: Literal["sum", "mean"] = "mean",
    ) -> None:
        super().__init__()
        self.pixels = not features
        inputs = num_landmarks + (features or 3)
        self.net = (
            AdditiveUNet(inputs=inputs, first=first, downs=1, widths=widths, outputs=out_channels)
            if downs is None
            else PlainUNet(inputs=inputs, downs=downs, widths=widths, outputs=out_channels)
        )
        self.reduction = reduction
        init_xavier(self)

    def forward(self, image: Tensor, pose: Pose) -> Encoding:
        prob = need(pose.landmarks, "prob", "a bottleneck that reads maps")
        if self.pixels:
            seen = 2 * F.interpolate(image, prob.shape[-2:], mode="area") - 1
        else:
            seen = need(pose.encoding, "features", "encoders/unet")
        appearance, _ = self.net(torch.cat((prob.to(seen.dtype), seen), dim=1))
        return Encoding(codes=pool_parts(prob, appearance, self.reduction))
