"""The factorized model's foreground decoder: part maps shape it, spread part vectors colour it."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import init_xavier
from components.layers.spade import SpadeBlock
from components.ops.parts import spread_parts
from registry.contract import Appearance, need
from registry.roles import DECODERS


@DECODERS.register_module("decoders/spade")
class Spade(nn.Module):
    """Start from the appearance at 1/16 and 1/8 of the size, upsample in SPADE blocks.

    Args:
        num_landmarks: K.
        appearance_channels: D of the part vectors.
        width: 64 in the paper; blocks have 4, 4, 4, 2, 1 and 1/2 times as many channels.
        hidden: width of SPADE's own convolutions; 128 in the paper.
        tanh: keep the image in [0, 1], as the SPADE generator this derives from does; the official
            code does not. Without bounds, a faint mask over colours far outside the range paints as
            well as a full one, and the mask says little.

    Shapes:
        drawn (B, K, H, W), appearance.codes (B, K, D) -> (B, 3, H, W)
    Range:
        output linear (bounded with ``tanh``), mapped from the network's [-1, 1] to [0, 1]
    Source: factorized eq 6; factorized sec 3; factorized sec 4
    Differs: as in the official code, two starting scales, no output nonlinearity but for ``tanh``.
        The appearance is spread only where the nearest-neighbour resize reads it; results are equal
    """

    def __init__(
        self,
        *,
        num_landmarks: int,
        appearance_channels: int = 32,
        width: int = 64,
        hidden: int = 128,
        tanh: bool = False,
    ) -> None:
        super().__init__()
        k, w = num_landmarks, width
        self.start = nn.Conv2d(appearance_channels, 4 * w, 3, padding=1)
        self.head = SpadeBlock(inputs=4 * w, outputs=4 * w, maps=k, hidden=hidden)
        self.middle = nn.ModuleList(
            SpadeBlock(inputs=4 * w, outputs=4 * w, maps=k, hidden=hidden) for _ in range(2)
        )
        sizes = (4 * w, 2 * w, w, w // 2)
        self.climb = nn.ModuleList(
            SpadeBlock(inputs=a, outputs=b, maps=k, hidden=hidden) for a, b in pairwise(sizes)
        )
        self.last = nn.Conv2d(w // 2, 3, 3, padding=1)
        self.tanh = tanh
        init_xavier(self)

    def forward(self, drawn: Tensor, appearance: Appearance) -> Tensor:
        codes = need(appearance, "codes", "an encoder of part appearance")
        coarse, fine = (
            self.head(self.start(spread_parts(codes, drawn[..., ::step, ::step])), drawn)
            for step in (16, 8)
        )
        x = 0.5 * self._up(coarse) + 0.5 * fine
        for block in self.middle:
            x = block(x, drawn)
        for block in self.climb:
            x = block(self._up(x), drawn)
        x = self.last(F.leaky_relu(x, 0.2))
        return ((x.tanh() if self.tanh else x) + 1) / 2

    @staticmethod
    def _up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
