"""The first order motion model's detector: an image to maps of landmarks and local affine maps."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from components.layers.avgpool_hourglass import AvgpoolHourglass
from components.ops.antialias import reduce
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/keypoint_hourglass")
class KeypointHourglass(nn.Module):
    """An hourglass on the reduced image, then one 7x7 convolution for all maps.

    Args:
        num_landmarks: K.
        stride: image reduction factor; the sides of the image must be multiples of stride *
            2^depth.
        width: block expansion of the hourglass; 32 in the official code.
        max_width: maximum channels of a level.
        depth: number of levels of the hourglass.
        padding: padding of the last convolution; 3 keeps the size, 0 (as published) loses 6 pixels.
        jacobian: local affine maps for ``each`` landmark, a ``single`` one for all, or None.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K + M, h, w), h = H / stride - 6 + 2 padding
        with M = 4 K for ``each``, 4 for ``single``, 0 for None
    Range:
        input [0, 1]; output K maps of logits, then the matrices row by row, the identity at first
    Source: fomm sec 3.1; fomm sec B
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        stride: int = 4,
        width: int = 32,
        max_width: int = 1024,
        depth: int = 5,
        padding: int = 0,
        jacobian: Literal["each", "single"] | None = "each",
    ) -> None:
        super().__init__()
        self.stride = stride
        self.hourglass = AvgpoolHourglass(inputs=3, width=width, max_width=max_width, depth=depth)
        matrices = {"each": num_landmarks, "single": 1, None: 0}[jacobian]
        self.head = nn.Conv2d(
            self.hourglass.channels, num_landmarks + 4 * matrices, 7, padding=padding
        )
        with torch.no_grad():
            self.head.weight[num_landmarks:] = 0
            bias = cast(Tensor, self.head.bias)
            bias[num_landmarks:] = torch.eye(2).flatten().repeat(matrices)

    def forward(self, image: Tensor) -> Encoding:
        return Encoding(maps=self.head(self.hourglass(reduce(image, self.stride))))
