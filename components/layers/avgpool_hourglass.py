"""Convolution blocks and the hourglass that FOMM and Monkey-Net share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Down(nn.Module):
    """Convolution 3x3, batch norm, ReLU, average pooling by 2.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H / 2, W / 2)
    Source: fomm sec B; monkeynet sec 3
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features."""
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class Up(nn.Module):
    """Nearest-neighbour upsampling by 2, convolution 3x3, batch norm, ReLU.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, 2 H, 2 W)
    Source: fomm sec B; monkeynet sec 3
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the upsampled features."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Twice (batch norm, ReLU, convolution 3x3), plus its input.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    Source: fomm sec B; monkeynet sec 3
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class AvgpoolHourglass(nn.Module):
    """Levels of Down, then of Up, each joined with the features of its size on the way down.

    Args:
        inputs: channels of the input, which is also the last to be joined.
        width: block expansion; level i has width * 2^(i + 1) channels, at most ``max_width``.
        max_width: maximum channels of a level.
        depth: number of levels; the sides of the input must be multiples of 2^depth.
        extra: channels that the caller adds to every skip between ``down`` and ``up``.

    Attributes:
        channels: channels of the output.

    Shapes:
        (B, inputs, H, W) -> (B, width + inputs, H, W)
    Source: fomm sec B; monkeynet sec 3
    """

    def __init__(
        self, *, inputs: int, width: int, max_width: int, depth: int, extra: int = 0
    ) -> None:
        super().__init__()
        widths = [inputs, *(min(max_width, width * 2 ** (i + 1)) for i in range(depth))]
        below = [min(max_width, width * 2**i) for i in range(depth)]  # outputs of each Up
        self.downs = nn.ModuleList(Down(a, b) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(
            Up(widths[i + 1] * (1 if i == depth - 1 else 2) + extra, below[i])
            for i in reversed(range(depth))
        )
        self.channels = below[0] + inputs + extra

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined features."""
        return self.up(self.down(x))

    def down(self, x: Tensor) -> list[Tensor]:
        """Return the input and the features of every level, largest first.

        Raises:
            ValueError: the sides are not multiples of 2^depth.
        """
        step = 2 ** len(self.downs)
        if any(side % step for side in x.shape[-2:]):
            raise ValueError(
                f"an hourglass of depth {len(self.downs)} needs maps whose sides are multiples of "
                f"{step}, got {tuple(x.shape[-2:])}. Change image_size, stride or depth."
            )
        skips = [x]
        for down in self.downs:
            skips.append(down(skips[-1]))
        return skips

    def up(self, skips: Sequence[Tensor]) -> Tensor:
        """Return the joined features, given the result of :meth:`down` plus any extra channels."""
        *skips, x = skips
        for up, skip in zip(self.ups, reversed(skips)):
            x = torch.cat((up(x), skip), dim=1)
        return x
