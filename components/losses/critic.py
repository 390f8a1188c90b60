"""Least-squares GAN, the critic's side."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/critic")
class Critic(nn.Module):
    """weight * mean over scales of (mean (real - 1)^2 + mean fake^2) / 2.

    Args:
        scores: field of the outputs that holds the critic's scores.
        weight: factor; 2 in FOMM and Monkey-Net, which do not halve.
        reduction: over scales; the factorized model takes their sum.

    Source: keypointgan eq 5; factorized sec D
    Differs: labels are reversed (real 1), as in the official code
    """

    def __init__(
        self,
        *,
        scores: Literal["pose_critic", "image_critic"] = "pose_critic",
        weight: float = 1.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.scores, self.weight, self.reduction = scores, weight, reduction
        self.reads = (scores,)

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        scores = need(outputs, self.scores, "a pipeline with a prior or a critic, given data.prior")
        real, fake = map(at_least_float32, scores.real), map(at_least_float32, scores.fake)
        terms = [((r - 1).square().mean() + f.square().mean()) / 2 for r, f in zip(real, fake)]
        total = cast(Tensor, sum(terms))
        return self.weight * total / (len(terms) if self.reduction == "mean" else 1)
