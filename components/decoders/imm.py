"""IMM's renderer: from landmark maps and image features to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.layers.tensorflow import TfUpsample2, init_truncated, tf_conv_norm_relu
from registry.contract import Appearance, need
from registry.roles import DECODERS

if TYPE_CHECKING:
    from registry.testing.examples import Example


@DECODERS.register_module("decoders/imm")
class Imm(nn.Module):
    """Join features and maps at an eighth of the size, climb to full size without skips.

    Args:
        num_landmarks: K.
        appearance_channels: channels of the appearance map.
        width: channels at full size; 32 in the paper.
        white: network output for white; 255 in the paper, but weights take long to grow that
            large, so use 1 in short runs.

    Shapes:
        drawn (B, K, H/8, W/8), appearance.image (B, D, H/8, W/8) -> (B, 3, H, W)
    Range:
        output linear, mapped from the network's 0..``white`` to [0, 1]
    Source: imm sec 3
    Differs: as in the official code, the last convolution has 9 channels of which 3 are used, so
        that its checkpoints fit
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        appearance_channels: int = 256,
        width: int = 32,
        white: float = 255.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = appearance_channels + num_landmarks
        for c in (8 * width, 4 * width, 2 * width):
            layers += [*tf_conv_norm_relu(inputs, c), *tf_conv_norm_relu(c, c), TfUpsample2()]
            inputs = c
        layers += [*tf_conv_norm_relu(inputs, width), nn.Conv2d(width, 9, 3, padding=1)]
        self.climb = nn.Sequential(*layers)
        self.white, self.num_landmarks, self.inputs = white, num_landmarks, appearance_channels
        init_truncated(self)

    def forward(self, drawn: Tensor, appearance: Appearance | None = None) -> Tensor:
        features = need(appearance, "image", "an image encoder (model.appearance_encoder)")
        x = self.climb(torch.cat((features, drawn.to(features.dtype)), dim=1))
        return x[:, :3] / self.white

    def example(self, make: Example) -> tuple[Any, ...]:
        return make.maps(self.num_landmarks), Appearance(image=make.maps(self.inputs))
