"""Hourglasses of pre-activation residual blocks, joined by sums."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Three times (batch norm, ReLU, convolution): 1x1 to half the width, 3x3, 1x1; plus its input.

    Args:
        inputs, outputs: channels; if they differ, the input passes through a 1x1 convolution.

    Shapes:
        (B, inputs, H, W) -> (B, outputs, H, W)
    Source: lorenz sec 3
    """

    def __init__(self, *, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        layers: list[nn.Module] = []
        for a, b, kernel in ((inputs, half, 1), (half, half, 3), (half, outputs, 1)):
            conv = nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False)
            layers += [nn.BatchNorm2d(a), nn.ReLU(), conv]
        self.main = nn.Sequential(*layers)
        same = inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        return self.skip(x) + self.main(x)


class Hourglass(nn.Module):
    """Residual blocks on maps halved ``depth`` + 1 times, each level added to the one above.

    Args:
        channels: channels of every block.
        depth: n in the paper's code: 4 for the part hourglass, 1 for the feature hourglass.

    Shapes:
        (B, channels, H, W) -> (B, channels, H, W)
    Source: lorenz sec 3
    Differs: odd sides are rounded up before halving; the official code accepts only multiples of
        2^(depth + 1)
    """

    def __init__(self, *, channels: int, depth: int) -> None:
        super().__init__()
        self.above = ResidualBlock(inputs=channels, outputs=channels)
        self.before = ResidualBlock(inputs=channels, outputs=channels)
        self.below: nn.Module = (
            Hourglass(channels=channels, depth=depth - 1)
            if depth
            else ResidualBlock(inputs=channels, outputs=channels)
        )
        self.after = ResidualBlock(inputs=channels, outputs=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the summed levels."""
        low = self.before(F.max_pool2d(x, 2, ceil_mode=True))
        low = self.after(self.below(low))
        low = F.interpolate(low, scale_factor=2, mode="nearest")
        return self.above(x) + low[..., : x.shape[-2], : x.shape[-1]]


def hourglass_head(channels: int, depth: int) -> list[nn.Module]:
    """Return an hourglass, dropout and one 1x1 convolution with batch norm and ReLU.

    Shapes:
        (B, channels, H, W) -> (B, channels, H, W)
    Source: lorenz sec 3
    """
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    return [
        *(Hourglass(channels=channels, depth=depth), nn.Dropout(0.2)),
        *(conv, nn.BatchNorm2d(channels), nn.ReLU()),
    ]


def init_xavier_normal(module: nn.Module) -> None:
    """Draw convolution weights from Xavier's normal distribution; biases are zero.

    Source: lorenz sec 4
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
