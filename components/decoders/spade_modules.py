"""The foreground decoder as the factorized paper describes it: SPADE modules and one layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from components.layers.blocks import init_xavier
from components.layers.spade import SpadeBlock
from components.layers.spectral import spectral_norm
from components.ops.parts import spread_parts
from registry.contract import Appearance, need
from registry.roles import DECODERS


@DECODERS.register_module("decoders/spade_modules")
class SpadeModules(nn.Module):
    """Start from the reduced appearance; each module is one SPADE block and an upsampling.

    Args:
        num_landmarks: K.
        appearance_channels: D of the part vectors.
        widths: channels of the modules; each doubles the size, starting from the image size
            divided by 2^len(widths).
        hidden: width of SPADE's own convolutions.

    Shapes:
        drawn (B, K, H, W), appearance.codes (B, K, D) -> (B, 3, H, W)
    Range:
        output linear, mapped from the network's [-1, 1] to [0, 1]
    Source: factorized eq 6; factorized sec A
    Differs: the text has modules of "convolution-ReLU-upsample" and names SPADE as the
        architecture, so a module is SPADE's residual block, with its leaky ReLU, and bilinear
        upsampling. Every convolution is spectrally normalised, including SPADE's own
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        appearance_channels: int = 32,
        widths: Sequence[int] = (256, 256, 128, 64),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SpadeBlock(inputs=a, outputs=b, maps=num_landmarks, hidden=hidden)
            for a, b in pairwise((appearance_channels, *widths))
        )
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)
        for layer in [*self.modules()]:
            if isinstance(layer, nn.Conv2d) and not parametrize.is_parametrized(layer):
                spectral_norm(layer)
        init_xavier(self)

    def forward(self, drawn: Tensor, appearance: Appearance) -> Tensor:
        codes = need(appearance, "codes", "an encoder of part appearance")
        step = 2 ** len(self.blocks)
        x = spread_parts(codes, drawn[..., ::step, ::step])  # nearest, as decoders/spade reduces it
        for block in self.blocks:
            x = block(x, drawn)
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return (self.last(F.leaky_relu(x, 0.2)) + 1) / 2
