"""Spatially adaptive normalisation and its residual block."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.spectral import spectral_norm


class Spade(nn.Module):
    """Instance norm whose scale and shift are convolved from a stack of maps.

    Args:
        channels: channels of the input.
        maps: channels of the stack.
        hidden: channels of the hidden layer; 128 in the paper.

    Shapes:
        (B, channels, H, W), maps (B, maps, h, w) -> (B, channels, H, W)
    Source: factorized sec 3
    """

    def __init__(self, *, channels: int, maps: int, hidden: int = 128) -> None:
        super().__init__()
        self.shared = nn.Conv2d(maps, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        size = x.shape[-2:]
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        hidden = F.relu(self.shared(maps))
        return F.instance_norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(nn.Module):
    """Residual block of two SPADE convolutions, spectral norm on its own convolutions only.

    Args:
        inputs, outputs: channels.
        maps: channels of the stack of maps.
        hidden: width of SPADE's own convolutions.

    Shapes:
        (B, inputs, H, W), maps (B, maps, h, w) -> (B, outputs, H, W)
    Source: factorized sec 3
    Differs: as in the official code, SPADE's convolutions and the decoder's first and last layer
        have no spectral norm (the paper puts it on every convolution)
    """

    def __init__(self, *, inputs: int, outputs: int, maps: int, hidden: int = 128) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_0 = Spade(channels=inputs, maps=maps, hidden=hidden)
        self.conv_0 = spectral_norm(nn.Conv2d(inputs, middle, 3, padding=1))
        self.norm_1 = Spade(channels=middle, maps=maps, hidden=hidden)
        self.conv_1 = spectral_norm(nn.Conv2d(middle, outputs, 3, padding=1))
        self.norm_s = self.conv_s = None
        if inputs != outputs:
            self.norm_s = Spade(channels=inputs, maps=maps, hidden=hidden)
            self.conv_s = spectral_norm(nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        shortcut = x
        if self.norm_s is not None and self.conv_s is not None:
            shortcut = self.conv_s(self.norm_s(x, maps))
        x = self.conv_0(F.leaky_relu(self.norm_0(x, maps), 0.2))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(x, maps), 0.2))
