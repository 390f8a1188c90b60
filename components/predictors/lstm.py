"""The factorized model's predictor of landmark states: an LSTM that predicts their changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.roles import PREDICTORS


@PREDICTORS.register_module("predictors/lstm")
class Lstm(nn.Module):
    """State and last change in, next change out; after the seen states it reads its predictions.

    Args:
        num_landmarks: K.
        width: channels of each LSTM layer.
        depth: LSTM layers.

    Shapes:
        states (B, T, K, 5), steps -> (B, T - 1 + steps, K, 5), the predictions of states
        2 ... T + steps; up to T + 1 from true states, the others from predicted ones
    Source: factorized sec D; factorized fig 8
    Differs: the paper does not define the first change; here 0
    """

    def __init__(self, *, num_landmarks: int, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.lstm = nn.LSTM(10 * num_landmarks, width, depth, batch_first=True)
        self.linear = nn.Linear(width, 5 * num_landmarks)

    def forward(self, states: Tensor, steps: int) -> Tensor:
        state = at_least_float32(states).flatten(2)  # (B, T, 5 K)
        change = torch.diff(state, dim=1, prepend=state[:, :1])
        memory, predicted = None, []
        for _ in range(max(steps, 1)):
            hidden, memory = self.lstm(torch.cat((state, change), dim=-1), memory)
            change = self.linear(hidden)
            predicted.append(state + change)  # after the first pass, one state at a time
            state, change = predicted[-1][:, -1:], change[:, -1:]
        count = states.shape[1] - 1 + steps  # without free steps, the last one is not needed
        return torch.cat(predicted, dim=1)[:, :count].unflatten(2, states.shape[2:])
