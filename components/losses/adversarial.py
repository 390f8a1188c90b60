"""Least-squares GAN, the generator's side."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/adversarial")
class Adversarial(nn.Module):
    """weight * mean over scales of mean (score of the generated sample - 1)^2.

    Args:
        scores: field of the outputs that holds the critic's scores.
        weight: factor; 10 in KeypointGAN, 1 in the factorized model.
        reduction: over scales; the factorized model takes their sum.

    Source: keypointgan eq 6; factorized sec D
    Differs: as in the official code, adversarial and perceptual terms have the same weight (the
        paper writes 10 to 1)
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
        terms = [(at_least_float32(score) - 1).square().mean() for score in scores.generator]
        total = cast(Tensor, sum(terms))
        return self.weight * total / (len(terms) if self.reduction == "mean" else 1)
