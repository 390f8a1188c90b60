"""Least-squares GAN, the critic's side."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/critic")
class Critic(nn.Module):
    """mean over scales of (mean (real - 1)^2 + mean fake^2) / 2.

    Args:
        scores: which critic's scores of the outputs.

    Source: keypointgan eq 5
    Differs: labels are the other way round (real 1), as in the official code
    """

    def __init__(self, *, scores: Literal["pose_critic", "image_critic"] = "pose_critic") -> None:
        super().__init__()
        self.scores = scores

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        scores = need(outputs, self.scores, "a pipeline with a prior or a critic, given data.prior")
        terms = [
            ((real.float() - 1).square().mean() + fake.float().square().mean()) / 2
            for real, fake in zip(scores.real, scores.fake)
        ]
        return sum(terms) / len(terms)
