"""The patch critic of FOMM and Monkey-Net, which also returns the features of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.spectral import spectral_norm
from components.ops.antialias import reduce
from registry.contract import Judgement
from registry.roles import CRITICS


@CRITICS.register_module("critics/feature_patch")
class FeaturePatch(nn.Module):
    """Blocks of convolution 4x4 without padding, instance norm, leaky ReLU, pooling by 2.

    Args:
        widths: channels of the blocks.
        num_landmarks: K, the number of drawn maps it sees in addition to the image; 0 for none.
        pool_last: also pool after the last block (Monkey-Net).
        spectral: spectral normalisation of all convolutions.
        scales: number of scales 1, 1/2, 1/4 ..., each with its own weights.

    Shapes:
        image (B, 3, H, W), condition: drawn landmarks (B, K, H, W), if K > 0
        -> Judgement with one score (B, 1, h, w) per scale, features: one (B, width, i, j) per block
        of each scale; 256 -> 126, 61, 29, 26 with four blocks
    Range:
        input [0, 1]; output linear (least squares)
    Source: fomm sec B; monkeynet sec 3
    Differs: as in both official codes, no norm in the first block; at smaller scales drawn maps are
        reduced like the image; FOMM redraws them (its configs have one scale)
    """

    fills = ("features",)

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        num_landmarks: int = 0,
        pool_last: bool = False,
        spectral: bool = False,
        scales: int = 1,
    ) -> None:
        super().__init__()
        convs = [nn.Conv2d(a, b, 4) for a, b in pairwise((3 + num_landmarks, *widths))]
        last = nn.Conv2d(widths[-1], 1, 1)
        self.convs = nn.ModuleList(spectral_norm(c) if spectral else c for c in convs)
        norms = [nn.InstanceNorm2d(w, affine=True) for w in widths[1:]]
        self.norms = nn.ModuleList([nn.Identity(), *norms])
        self.last = spectral_norm(last) if spectral else last
        self.pools = len(widths) if pool_last else len(widths) - 1
        self.num_landmarks, self.conditional = num_landmarks, num_landmarks > 0
        self.further = nn.ModuleList(
            FeaturePatch(
                widths=widths, num_landmarks=num_landmarks, pool_last=pool_last, spectral=spectral
            )
            for _ in range(scales - 1)
        )

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Judgement:
        given = 0 if condition is None else condition.shape[1]
        if given != self.num_landmarks:
            raise ValueError(
                f"critics/feature_patch: {given} drawn landmarks, but num_landmarks is "
                f"{self.num_landmarks}. The pipeline's rasterizer draws them: set both or neither."
            )
        x = image if condition is None else torch.cat((image, condition), dim=1)
        smaller = [
            critic(reduce(image, 2**i), None if condition is None else reduce(condition, 2**i))
            for i, critic in enumerate(self.further, start=1)
        ]
        features = []
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = F.leaky_relu(norm(conv(x)), 0.2)
            if i < self.pools:
                x = F.avg_pool2d(x, 2)
            features.append(x)
        return Judgement(
            scores=(self.last(x), *(score for found in smaller for score in found.scores)),
            features=(*features, *(feature for found in smaller for feature in found.features)),
        )
