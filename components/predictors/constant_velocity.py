"""The baseline of every predictor: landmarks go on as they last moved."""

from __future__ import annotations

from torch import Tensor, nn

from components.ops.states import constant_velocity
from registry.roles import PREDICTORS


@PREDICTORS.register_module("predictors/constant_velocity")
class ConstantVelocity(nn.Module):
    """The last change, again and again; nothing is learned.

    Shapes:
        states (B, T, K, 5), steps -> (B, T - 1 + steps, K, 5), the predictions of states
        2 ... T + steps
    Source: factorized sec D
    Differs: the change that the paper's LSTM predicts is the last one here
    """

    def forward(self, states: Tensor, steps: int) -> Tensor:
        return constant_velocity(states, steps)
