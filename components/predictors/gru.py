"""Monkey-Net's predictor, the LSTM's baseline: a GRU that receives zeros after the seen states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.ops.grid import at_least_float32
from components.ops.states import NUMBERS, Kind
from registry.roles import PREDICTORS


@PREDICTORS.register_module("predictors/gru")
class Gru(nn.Module):
    """Seen states, then zeros in; whole states out, so only its memory continues the motion.

    Args:
        num_landmarks: K.
        width: channels of the GRU.
        state: kind of state: mean and ``cholesky`` factor, mean and ``covariance`` (predicted as
            A^T A), or mean and ``affine`` map.
        delay: number of zero inputs before its first prediction of an unseen state; 1 in the
            official code.

    Shapes:
        states (B, T, K, S), steps -> (B, T - 1 + steps, K, S), the predictions of states
        2 ... T + steps; S = 5 for ``cholesky``, else 6
    Range:
        means in (-1, 1)
    Source: monkeynet sec 3.5; lee sec 4.2
    Differs: Monkey-Net's official code sees one state, not T; it has neither Cholesky factors nor
        affine maps
    """

    def __init__(
        self, *, num_landmarks: int, width: int = 1024, state: Kind = "cholesky", delay: int = 0
    ) -> None:
        super().__init__()
        self.state, self.delay = state, delay
        numbers = NUMBERS[state]
        self.gru = nn.GRU(numbers * num_landmarks, width, batch_first=True)
        self.linear = nn.Linear(width, numbers * num_landmarks)

    def forward(self, states: Tensor, steps: int) -> Tensor:
        seen = at_least_float32(states).flatten(2)  # (B, T, S K)
        last = states.shape[1] - 1
        fed = nn.functional.pad(seen, (0, 0, 0, steps - 1 + self.delay))
        out = self.linear(self.gru(fed)[0]).to(seen.dtype)
        out = torch.cat((out[:, :last], out[:, last + self.delay :]), dim=1)
        mean, shape = out.unflatten(2, states.shape[2:]).tensor_split((2,), dim=-1)
        if self.state == "covariance":
            a = shape.unflatten(-1, (2, 2))
            shape = (a[..., :, None] * a[..., None, :]).sum(dim=-3).flatten(-2)  # A^T A
        return torch.cat((mean.tanh(), shape), dim=-1)
