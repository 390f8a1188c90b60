"""Distance of predicted landmark states from the true ones."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/state")
class State(nn.Module):
    """Distance of predicted from true states, over all predicted steps.

    Args:
        distance: ``l2``, the mean of (predicted - true)^2 over all numbers of a state, or ``l1``,
            the mean of |predicted - true| over the points plus that over the rest.

    Source: factorized sec D; monkeynet sec 3.5
    Differs: the factorized paper does not name its loss
    """

    reads = ("states", "true_states")

    def __init__(self, *, distance: Literal["l2", "l1"] = "l2") -> None:
        super().__init__()
        self.distance = distance

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        predicted = need(outputs, "states", "pipelines/forecast")
        true = need(outputs, "true_states", "pipelines/forecast")
        error = at_least_float32(predicted) - at_least_float32(true)
        if self.distance == "l2":
            return error.square().mean()
        return error[..., :2].abs().mean() + error[..., 2:].abs().mean()
