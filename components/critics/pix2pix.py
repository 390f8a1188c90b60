"""The factorized model's critic on KTH: pix2pixHD's patch critic at several scales."""

from __future__ import annotations

from torch import Tensor, nn

from components.layers.blocks import init_xavier
from registry.contract import Judgement
from registry.roles import CRITICS


@CRITICS.register_module("critics/pix2pix")
class Pix2Pix(nn.Module):
    """One patch critic per scale, separate weights; each score judges a patch of an image.

    Args:
        width: channels of the first layer; 64 in the official code.
        scales: number of scales 1, 1/2, 1/4 ...

    Shapes:
        (B, 3, H, W) -> Judgement with one score (B, 1, h, w) per scale; 128 -> 19, 11
    Range:
        input [0, 1], mapped to [-1, 1] inside; output linear (least squares)
    Source: factorized sec D
    Differs: as in the official code, the critic does not see the landmarks
    """

    def __init__(self, *, width: int = 64, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_patch_critic(width) for _ in range(scales))
        # padding is not counted in the mean
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        init_xavier(self)

    def forward(self, image: Tensor) -> Judgement:
        image, scores = 2 * image - 1, []
        for critic in self.scales:
            scores.append(critic(image))
            image = self.halve(image)
        return Judgement(scores=tuple(scores))


def _patch_critic(width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 2), nn.LeakyReLU(0.2)]
    for outputs, stride in ((2 * width, 2), (4 * width, 2), (8 * width, 1)):
        layers += [
            nn.Conv2d(width, outputs, 4, stride, 2),
            nn.InstanceNorm2d(outputs),
            nn.LeakyReLU(0.2),
        ]
        width = outputs
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 2))
