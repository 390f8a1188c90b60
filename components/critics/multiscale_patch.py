"""The patch critic of CycleGAN at several scales: KeypointGAN's D_Y."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.blocks import init_normal
from registry.contract import Judgement
from registry.roles import CRITICS


@CRITICS.register_module("critics/multiscale_patch")
class MultiscalePatch(nn.Module):
    """One patch critic per scale, separate weights; each score judges a patch.

    Args:
        in_channels: 1 for pose images, 3 for images.
        width: channels of the first layer; 64 in the paper.
        first_norm: instance norm on the first layer too, as in the paper's table.
        scales: number of scales 1, 1/2, 1/4 ...; an input below 24 pixels at any scale is an error.

    Shapes:
        (B, in_channels, H, W) -> Judgement with one score (B, 1, h, w) per scale; 128 -> 14, 6, 2
    Range:
        input [-1, 1]; output linear (least squares)
    Source: keypointgan eq 5; keypointgan fig 20
    Differs: as in the official code, no norm on the first layer unless ``first_norm``
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: int = 64,
        scales: int = 3,
        first_norm: bool = False,
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            _patch_critic(in_channels, width, first_norm) for _ in range(scales)
        )
        init_normal(self)

    def forward(self, image: Tensor) -> Judgement:
        smallest = min(image.shape[-2:]) // 2 ** (len(self.scales) - 1)
        if smallest < 24:
            raise ValueError(
                f"{len(self.scales)} scales reduce a {image.shape[-1]}-pixel image to {smallest} "
                "pixels; a patch critic needs at least 24. Use fewer scales."
            )
        scores = []
        for i, critic in enumerate(self.scales):
            small = (
                image
                if i == 0
                else F.interpolate(image, scale_factor=0.5**i, mode="bilinear", align_corners=False)
            )
            scores.append(critic(small))
        return Judgement(scores=tuple(scores))


def _patch_critic(inputs: int, width: int, first_norm: bool) -> nn.Sequential:
    first = [nn.InstanceNorm2d(width)] if first_norm else []
    layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), *first, nn.LeakyReLU(0.2)]
    for outputs, stride in ((2 * width, 2), (4 * width, 2), (8 * width, 1)):
        layers += [
            nn.Conv2d(width, outputs, 4, stride, 1),
            nn.InstanceNorm2d(outputs),
            nn.LeakyReLU(0.2),
        ]
        width = outputs
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))
