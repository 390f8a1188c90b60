"""How far predicted landmark states are from the true ones."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.contract import Batch, Outputs, need
from registry.roles import LOSSES


@LOSSES.register_module("losses/state")
class State(nn.Module):
    """mean (predicted - true)^2 over all predicted steps and all five numbers of a state.

    Source: factorized sec D
    Differs: the paper does not name its loss
    """

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        predicted = need(outputs, "states", "pipelines/forecast")
        true = need(outputs, "true_states", "pipelines/forecast")
        return (at_least_float32(predicted) - at_least_float32(true)).square().mean()
