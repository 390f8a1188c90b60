"""Lorenz et al.'s part encoder: an image to one map of logits per part."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.layers.hourglass import ResidualBlock, hourglass_head, init_xavier_normal
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/residual_hourglass")
class ResidualHourglass(nn.Module):
    """Trunk to 1/2 or 1/4 of the size, part hourglass with five poolings, 1x1 convolution to maps.

    Args:
        num_landmarks: K.
        stride: stride of the maps: 4 for 256 pixels, 2 for 128, so that maps have 64.
        width: channels of the hourglass; 256 in the paper.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, h, w), features (B, width, h, w), h = H / stride
    Range:
        input [0, 1]; output logits
    Source: lorenz sec 3; lorenz sec 4
    Differs: each call has its own batch statistics; the official code passes both views of a pair
        as one batch. Trunk channels follow ``width``; in the official code some are fixed
    """

    fills = ("maps", "features")

    def __init__(self, *, num_landmarks: int, stride: Literal[2, 4] = 2, width: int = 256) -> None:
        super().__init__()
        first, half = width // 4, width // 2
        layers: list[nn.Module] = [
            nn.Conv2d(3, first, 6, stride=2, padding=2, bias=False),
            *(nn.BatchNorm2d(first), nn.ReLU()),
        ]
        if stride == 4:
            layers += [
                *(ResidualBlock(inputs=first, outputs=half), nn.MaxPool2d(2)),
                ResidualBlock(inputs=half, outputs=half),
            ]
            first = half
        self.trunk = nn.Sequential(*layers, ResidualBlock(inputs=first, outputs=width))
        head = nn.Conv2d(width, num_landmarks, 1, bias=False)
        self.parts = nn.Sequential(*hourglass_head(width, depth=4), head)
        init_xavier_normal(self)

    def forward(self, image: Tensor) -> Encoding:
        features = self.trunk(image)
        return Encoding(maps=self.parts(features), features=features)
