"""The factorized model's pose encoder: an image to one map of logits per landmark."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from components.layers.blocks import init_xavier
from components.layers.plain_unet import PlainUNet
from components.layers.unet import AdditiveUNet
from registry.contract import Encoding
from registry.roles import ENCODERS


@ENCODERS.register_module("encoders/unet")
class UNet(nn.Module):
    """U-Net of four levels down and three up.

    Args:
        num_landmarks: K.
        first: width of the first convolution, a quarter of its block's output; 6 in the official
            code.
        widths: widths of the decoder stages.
        downs: widths of the downsampling modules of one convolution and a pooling, (64, 128, 256,
            512), for the U-Net of the paper's text; None for that of the official code, set by
            ``first``.

    Shapes:
        (B, 3, H, W) -> Encoding with maps (B, K, H/2, W/2), features (B, 4 first, H/2, W/2) of the
        first block, or (B, downs[0], H, W) of the first module
    Range:
        input [0, 1], mapped to [-1, 1] inside; output logits
    Source: factorized eq 3; factorized sec A
    """

    fills = ("maps", "features")

    def __init__(
        self,
        *,
        num_landmarks: int,
        first: int = 6,
        widths: Sequence[int] = (512, 256, 128),
        downs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.net = (
            AdditiveUNet(inputs=3, first=first, downs=4, widths=widths, outputs=num_landmarks)
            if downs is None
            else PlainUNet(inputs=3, downs=downs, widths=widths, outputs=num_landmarks)
        )
        init_xavier(self)

    def forward(self, image: Tensor) -> Encoding:
        logits, features = self.net(2 * image - 1)
        return Encoding(maps=logits, features=features)
