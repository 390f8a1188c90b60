"""KeypointGAN's and IMM's decoder Psi: from a pose and an appearance to an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.layers.blocks import conv_norm_relu, init_normal, upsample2
from registry.contract import Appearance, need
from registry.protocols import Encoder
from registry.roles import DECODERS


@DECODERS.register_module("decoders/conditional")
class Conditional(nn.Module):
    """Encode the drawn pose, join it with the appearance map, climb to full size without skips.

    Args:
        pose_encoder: drawn pose to a map (B, C, H/8, W/8); ``encoders/stem`` in the paper.
        appearance_channels: channels of the appearance map; 0 for the unconditional decoder of the
            CycleGAN ablation.
        width: channels at full size; 32 in the paper.

    Shapes:
        drawn (B, C, H, W), appearance.image (B, D, H/8, W/8) or None -> (B, 3, H, W)
    Range:
        drawn [-1, 1]; output linear, mapped from the network's [-1, 1] to [0, 1]
    Source: keypointgan eq 1; keypointgan fig 18; imm sec 3
    Differs: 3 output channels where the table prints 32
    """

    def __init__(
        self,
        *,
        pose_encoder: Encoder,
        appearance_channels: int = 256,
        width: int = 32,
    ) -> None:
        super().__init__()
        if pose_encoder.out_channels is None:
            raise ValueError(
                "the pose_encoder must have an attribute out_channels, as encoders/stem does."
            )
        layers: list[nn.Module] = []
        inputs = pose_encoder.out_channels + appearance_channels
        for c in (8 * width, 4 * width, 2 * width):
            layers += [*conv_norm_relu(inputs, c), *conv_norm_relu(c, c), upsample2()]
            inputs = c
        layers += [*conv_norm_relu(inputs, width), nn.Conv2d(width, 3, 3, padding=1)]
        self.climb = nn.Sequential(*layers)
        init_normal(self.climb)
        self.pose_encoder = pose_encoder

    def forward(self, drawn: Tensor, appearance: Appearance | None = None) -> Tensor:
        x = need(self.pose_encoder(drawn), "maps")
        if appearance is not None:
            x = torch.cat((x, need(appearance, "image", "an image encoder")), dim=1)
        return (self.climb(x) + 1) / 2
