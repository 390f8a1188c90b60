"""Monkey-Net's detector: an image to logits of landmark maps."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.avgpool_hourglass import AvgpoolHourglass
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/monkeynet")
class MonkeyNet(nn.Module):
    """An hourglass on every ``stride``-th pixel of the image, then one 3x3 convolution.

    Args:
        num_landmarks: K.
        stride: image reduction factor; the sides of the image must be multiples of stride *
            2^depth.
        width: block expansion of the hourglass; 32 in the official code.
        max_width: maximum channels of a level.
        depth: number of levels of the hourglass.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, H / stride, W / stride)
    Range:
        input [0, 1]; output logits
    Source: monkeynet sec 3.1
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        stride: int = 1,
        width: int = 32,
        max_width: int = 1024,
        depth: int = 5,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.hourglass = AvgpoolHourglass(inputs=3, width=width, max_width=max_width, depth=depth)
        self.head = nn.Conv2d(self.hourglass.channels, num_landmarks, 3, padding=1)

    def forward(self, image: Tensor) -> Encoding:
        small = image[..., :: self.stride, :: self.stride]
        return Encoding(maps=self.head(self.hourglass(small)))
