"""The U-Net as the factorized paper describes it: modules of one convolution, skips joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import conv_norm_relu


class PlainUNet(nn.Module):
    """Modules of convolution, instance norm, ReLU and max pooling; then the same, upsampled.

    Args:
        inputs: input channels.
        downs: channels of the modules that halve the map.
        widths: channels of the modules that double it; each is joined to the features of the same
            size before pooling.
        outputs: channels of the last 1x1 convolution.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H / 2^(len(downs) - len(widths)), ...)
    Source: factorized sec A
    Differs: none; the text does not specify the kernels (here 3x3), the pooling and upsampling
        (max, bilinear) or the last layer
    """

    def __init__(
        self, *, inputs: int, downs: Sequence[int], widths: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels = inputs
        for width in downs:
            self.down.append(nn.Sequential(*conv_norm_relu(channels, width, norm="instance")))
            channels = width
        for width, skip in zip(widths, reversed(downs)):
            self.up.append(nn.Sequential(*conv_norm_relu(channels, width, norm="instance")))
            channels = width + skip
        self.head = nn.Conv2d(channels, outputs, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the first module's features, before pooling."""
        found = []
        x = image
        for down in self.down:
            found.append(down(x))
            x = F.max_pool2d(found[-1], 2)
        for up, skip in zip(self.up, reversed(found)):
            x = F.interpolate(up(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = torch.cat((x, skip), dim=1)
        return self.head(x), found[0]
