"""The factorized model without a mask: foreground and background are added."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.layers.blocks import init_xavier
from components.layers.unet import AdditiveUNet
from registry.contract import Layers
from registry.roles import COMPOSITORS


@COMPOSITORS.register_module("compositors/add")
class Add(nn.Module):
    """x = x_fg + x_bg in the network's [-1, 1], x_bg = BackgroundNet(x').

    Args:
        first: width of the first block; 32 in the paper.
        background_widths: decoder widths of the background net.

    Shapes:
        foreground (B, 3, H, W), drawn, source (B, 3, H, W), source_drawn
        -> image (B, 3, H, W), Layers
    Range:
        images [0, 1]
    Source: factorized table 2
    Differs: the paper's No Mask row; the official code has no path for it
    """

    def __init__(
        self, *, first: int = 32, background_widths: Sequence[int] = (32, 64, 128)
    ) -> None:
        super().__init__()
        self.background_net = AdditiveUNet(
            inputs=3, first=first, downs=3, widths=background_widths, outputs=3
        )
        init_xavier(self)

    def forward(
        self, foreground: Tensor, drawn: Tensor, source: Tensor, source_drawn: Tensor
    ) -> tuple[Tensor, Layers]:
        background = (self.background_net(2 * source - 1)[0] + 1) / 2
        return foreground + background - 0.5, Layers(foreground=foreground, background=background)
