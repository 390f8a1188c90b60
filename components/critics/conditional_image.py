"""KeypointGAN's D_X: judges a whole image, given another image of the same object."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.layers.blocks import init_normal
from registry.contract import Judgement
from registry.roles import CRITICS


@CRITICS.register_module("critics/conditional_image")
class ConditionalImage(nn.Module):
    """Two branches with shared weights (candidate, condition), joined, then one score.

    Args:
        width: channels of the first layer; 16 in the paper.
        image_size: side of the images; 128 in the paper.
        conditional: look at the condition; False omits the second branch.

    Shapes:
        image (B, 3, H, W), condition (B, 3, H, W) -> Judgement with one score (B, 1, 1, 1)
    Range:
        input [0, 1], mapped to [-1, 1] inside; output linear (least squares)
    Source: keypointgan sec F.3; keypointgan fig 21
    Differs: there is no official code; a last kernel of image_size / 32 instead of 4 keeps the
        single score at other image sizes. The paper does not mention a pool of earlier fakes: the
        pipeline's ``prior_image_history`` keeps one, as the official code does for D_Y
    """

    def __init__(self, *, width: int = 16, image_size: int = 128, conditional: bool = True) -> None:
        super().__init__()
        w = width
        pool = nn.AvgPool2d(2)
        self.branch = nn.Sequential(
            *_block(3, w), *_block(w, 2 * w), *_block(2 * w, 2 * w), pool,
            *_block(2 * w, 4 * w), *_block(4 * w, 4 * w), pool,
            *_block(4 * w, 8 * w), *_block(8 * w, 8 * w, 1), pool,
            *_block(8 * w, 16 * w), *_block(16 * w, 16 * w, 1), pool,
        )  # fmt: skip
        joined, wide = 16 * w * (2 if conditional else 1), 32 * w
        self.joint = nn.Sequential(
            *_block(joined, wide, 1), *_block(wide, wide), *_block(wide, wide), pool,
            *_block(wide, wide), *_block(wide, wide, 1),
            # on its 1x1 output instance norm would return zero
            nn.Conv2d(wide, wide, image_size // 32), nn.LeakyReLU(0.2), nn.Conv2d(wide, 1, 1),
        )  # fmt: skip
        self.conditional = conditional
        init_normal(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Judgement:
        x = self.branch(2 * image - 1)
        if self.conditional:
            if condition is None:
                raise ValueError(
                    "a conditional critic needs a condition image; pass one or conditional=False."
                )
            x = torch.cat((x, self.branch(2 * condition - 1)), dim=1)
        return Judgement(scores=(self.joint(x),))


def _block(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return [conv, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2)]
