"""The regressor's point term: it must read back the points of a drawn prior pose."""

from __future__ import annotations

from torch import Tensor, nn

from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/prior_points")
class PriorPoints(nn.Module):
    """weight * mean (eta(beta(p)) - p)^2 over unpaired prior poses p.

    Args:
        weight: factor; 1 in pre-training, 0.9 while fine-tuning.

    Raises:
        ValueError: the poses and the model have different numbers of points.

    Source: keypointgan eq 7
    Differs: as in the official code, 0.9 while fine-tuning, where the paper has 1
    """

    reads = ("prior_landmarks", "batch.poses")

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        read = need(outputs, "prior_landmarks", "a pipeline given data.prior")
        poses = need(batch, "poses")
        if read.xy.shape != poses.shape:
            raise ValueError(
                f"the poses of data.prior have {poses.shape[1]} points, but the model has "
                f"{read.xy.shape[1]}. Set num_landmarks={poses.shape[1]} and the edges between "
                "them."
            )
        return self.weight * (read.xy - poses).square().mean()
