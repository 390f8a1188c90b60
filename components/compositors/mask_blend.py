"""The factorized model's compositor: foreground over a background filled in from the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import init_xavier
from components.layers.plain_unet import PlainUNet
from components.layers.unet import AdditiveUNet
from components.ops.grid import at_least_float32
from registry.contract import Layers
from registry.roles import COMPOSITORS


@COMPOSITORS.register_module("compositors/mask_blend")
class MaskBlend(nn.Module):
    """x = m x_fg + (1 - m) x_bg, x_bg = BackgroundNet((1 - m') x'), masks from the drawn maps.

    Args:
        num_landmarks: K.
        first: width of the first convolution of both nets, a quarter of the block's output width.
        mask_widths: decoder widths of the mask net; with two stages the mask has half the
            resolution, with one a quarter, upsampled bilinearly.
        background_widths: decoder widths of the background net.
        mask_downs, background_downs: widths of the downsampling modules, (32, 32, 32) and
            (32, 64, 128), for the U-Nets of the paper's text; None for those of the official
            code, set by ``first``.
        mask_bias: initial logit of the mask; 0.1 in the official code. Well below zero, the
            background net sees the whole source at first. Near zero, a region can stay masked in
            both images for good: the source is hidden there, so its background never improves.
        residual: the background net corrects the visible source instead of repainting it.

    Shapes:
        foreground (B, 3, H, W), drawn (B, K, H, W), source (B, 3, H, W), source_drawn (B, K, H, W)
        -> image (B, 3, H, W), Layers
    Range:
        images about [0, 1], may overshoot; mask (0, 1)
    Source: factorized eq 5; factorized eq 6; factorized eq 7
    Differs: the official code's low-resolution mask is a quarter, the paper's half; ``residual``
        and any ``mask_bias`` other than 0.1 are ours
    """

    fills = ("mask",)

    def __init__(
        self,
        *,
        num_landmarks: int,
        first: int = 32,
        mask_widths: Sequence[int] = (32, 32, 32),
        background_widths: Sequence[int] = (32, 64, 128),
        mask_downs: Sequence[int] | None = None,
        background_downs: Sequence[int] | None = None,
        mask_bias: float = 0.1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.mask_net = (
            AdditiveUNet(inputs=num_landmarks, first=first, downs=3, widths=mask_widths, outputs=1)
            if mask_downs is None
            else PlainUNet(inputs=num_landmarks, downs=mask_downs, widths=mask_widths, outputs=1)
        )
        self.background_net = (
            AdditiveUNet(inputs=3, first=first, downs=3, widths=background_widths, outputs=3)
            if background_downs is None
            else PlainUNet(inputs=3, downs=background_downs, widths=background_widths, outputs=3)
        )
        init_xavier(self)
        nn.init.constant_(cast(Tensor, self.mask_net.head.bias), mask_bias)
        self.residual = residual

    def forward(
        self, foreground: Tensor, drawn: Tensor, source: Tensor, source_drawn: Tensor
    ) -> tuple[Tensor, Layers]:
        # both masks in one call: half the launches, the same numbers (instance norm is per image)
        mask, source_mask = self.mask(torch.cat((drawn, source_drawn))).unflatten(0, (2, -1))
        # the network's black is -1, so what is masked out is grey: (1 - m') x' in its own range
        visible = (1 - source_mask) * (2 * source - 1)
        background = self.background_net(visible)[0]
        if self.residual:
            background = background + visible
        background = (background + 1) / 2
        image = mask * foreground + (1 - mask) * background
        return image, Layers(foreground=foreground, background=background, mask=mask)

    def mask(self, drawn: Tensor) -> Tensor:
        """Return the foreground mask of drawn maps.

        Shapes:
            (B, K, H, W) -> (B, 1, H, W)
        """
        logits, _ = self.mask_net(drawn)
        if logits.shape[-2:] != drawn.shape[-2:]:
            logits = F.interpolate(
                logits, size=drawn.shape[-2:], mode="bilinear", align_corners=False
            )
        return at_least_float32(logits).sigmoid()
