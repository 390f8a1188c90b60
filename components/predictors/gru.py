"""Monkey-Net's predictor, the baseline of the LSTM: a GRU that is fed nothing after what it saw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.ops.grid import at_least_float32
from registry.roles import PREDICTORS


@PREDICTORS.register_module("predictors/gru")
class Gru(nn.Module):
    """Seen states, then zeros in; whole states out, so its memory alone carries the motion on.

    Args:
        num_landmarks: K.
        width: channels of the GRU.

    Shapes:
        states (B, T, K, 5), steps -> (B, T - 1 + steps, K, 5), the predictions of states
        2 ... T + steps
    Range:
        means in (-1, 1)
    Source: lee sec 4.2
    Differs: the code of Monkey-Net, where the network comes from, is given one state, not T, and
        predicts a free 2 x 2 matrix A of the covariance A^T A, not its Cholesky factor
    """

    def __init__(self, *, num_landmarks: int, width: int = 1024) -> None:
        super().__init__()
        self.gru = nn.GRU(5 * num_landmarks, width, batch_first=True)
        self.linear = nn.Linear(width, 5 * num_landmarks)

    def forward(self, states: Tensor, steps: int) -> Tensor:
        seen = at_least_float32(states).flatten(2)  # (B, T, 5 K)
        fed = nn.functional.pad(seen, (0, 0, 0, steps - 1))
        found = self.linear(self.gru(fed)[0]).unflatten(2, states.shape[2:])
        return torch.cat((found[..., :2].tanh(), found[..., 2:]), dim=-1).to(seen.dtype)
